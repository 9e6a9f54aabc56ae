"""Turns with one agent that continue one another."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from agentkit.loop import Result, Run
from agentkit.messages import Message, ModelTurn, SystemMessage

if TYPE_CHECKING:
    from agentkit.agent._agent import Agent


class Conversation:
    """Turns with one agent: each run continues where the last one ended.

    Thinking is dropped from turns that are over, as Qwen3 asks.
    """

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        self.id = uuid4().hex
        self.messages: tuple[Message, ...] = ()
        self.untrusted: tuple[str, ...] = ()

    async def run(self, task: str, **options: Any) -> Result:
        """Continue with a task; takes what `Agent.run` takes but `history`.

        Raises:
            InvalidTaskError: the task is empty.
        """
        result = await self.agent.run(task, **self._before(), **options)
        self._keep(result)
        return result

    @asynccontextmanager
    async def start(self, task: str, **options: Any) -> AsyncGenerator[Run]:
        """Continue with a task in the background of this block, as `Agent.start` does.

        Raises:
            InvalidTaskError: the task is empty.
        """
        async with self.agent.start(
            task,
            **self._before(),
            when_done=self._keep,
            **options,
        ) as run:
            yield run

    def run_sync(self, task: str, **options: Any) -> Result:
        """Continue from code that is not async, as `Agent.run_sync` does.

        Raises:
            AgentkitError: called in the thread of the runtime's own loop.
        """
        result = self.agent.run_sync(task, **self._before(), **options)
        self._keep(result)
        return result

    def _before(self) -> dict[str, Any]:
        return {
            "history": self.messages,
            "conversation_id": self.id,
            "untrusted": self.untrusted,
        }

    def _keep(self, result: Result) -> None:
        kept = (m for m in result.shown if not isinstance(m, SystemMessage))
        self.messages = tuple(without_thinking(kept))
        self.untrusted = result.untrusted


def without_thinking(messages: Iterable[Message]) -> list[Message]:
    """Return the messages with the thinking of model turns dropped.

    >>> without_thinking([ModelTurn(text="4", thinking="2 and 2")])[0].thinking
    ''
    """
    return [
        replace(entry, thinking="") if isinstance(entry, ModelTurn) and entry.thinking else entry
        for entry in messages
    ]
