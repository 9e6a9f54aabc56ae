"""Agent: instructions, tools and a model, ready to be given tasks."""

import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
from anyio import from_thread

from agentkit.errors import AgentkitError, InvalidTaskError
from agentkit.events import Event
from agentkit.loop import PausedRun, Result, Run, RunState, run_to_end
from agentkit.messages import Decision, Message, ModelTurn, SystemMessage, UserMessage
from agentkit.policies import PhasedThinking, Plan, Policy
from agentkit.protocols import Approver, Model, Observer, Tool
from agentkit.toolkit import FunctionTool, Registry, Shelf

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What a run needs: a model, tools and how to behave. Made by `Runtime.agent`.

    An agent holds nothing open and keeps nothing between runs; any number may go on at once.

    Attributes:
        thinking: "auto", True or False, or one of them for each phase; each run can have its own.
        plan: "auto" plans first where the model is small.
        observers: see every event of every run.
        approver: asks a person about calls that want it; without one, a run with such a call
            stops with "approval", and `resume` goes on.
        results_dir: where tool results are kept whole that are too long to be shown; the model
            reads on in them with a tool. Without one they are cut.
    """

    name: str
    model: Model
    registry: Registry
    instructions: str = ""
    policy: Policy
    thinking: PhasedThinking = "auto"
    plan: Plan = "auto"
    observers: tuple[Observer, ...] = ()
    approver: Approver | None = None
    results_dir: Path | None = None
    call_in_loop: Callable[..., Any] | None = None

    async def run(
        self,
        task: str,
        *,
        history: Sequence[Message] = (),
        thinking: PhasedThinking | None = None,
        plan: Plan | None = None,
        policy: Policy | None = None,
        conversation_id: str | None = None,
    ) -> Result:
        """Do a task and return how it ended; failing is a result too, not an exception.

        Args:
            task: what to do, in words.
            history: earlier messages, as `Result.transcript` has them.
            thinking: overrides the agent's.
            plan: overrides the agent's.
            policy: overrides the agent's.
            conversation_id: 32 characters that keep requests on one prefix cache.

        Raises:
            InvalidTaskError: the task is empty.
        """
        state = self._begin(task, history, thinking, policy, conversation_id)
        return await run_to_end(state, plan=self._plans(plan))

    @asynccontextmanager
    async def start(
        self,
        task: str,
        *,
        history: Sequence[Message] = (),
        thinking: PhasedThinking | None = None,
        plan: Plan | None = None,
        policy: Policy | None = None,
        conversation_id: str | None = None,
        when_done: Callable[[Result], None] = lambda _: None,
    ) -> AsyncGenerator[Run]:
        """Begin a task in the background of this block; leaving the block early cancels it.

        Takes what `run` takes; `when_done` is told the result once.

        Raises:
            InvalidTaskError: the task is empty.
        """
        state = self._begin(task, history, thinking, policy, conversation_id)
        async with _in_background(Run(state, plan=self._plans(plan)), when_done) as run:
            yield run

    async def resume(
        self,
        paused: PausedRun,
        decisions: Mapping[str, Decision],
        *,
        policy: Policy | None = None,
        thinking: PhasedThinking | None = None,
        plan: Plan | None = None,
    ) -> Result:
        """Go on with a run that has stopped with "approval", in this process or another.

        Calls that no decision is about wait on: the run pauses again.

        Args:
            paused: `Result.paused`, or what `PausedRun.from_json` has read.
            decisions: by the id of the call: True, False, or why not.
            policy: overrides the agent's; its time begins anew.
            thinking: overrides the agent's.
            plan: overrides the agent's.

        Raises:
            InvalidTaskError: a decision is about a call that does not wait, or the run is of
                another agent.
        """
        state = self._resumed(paused, decisions, policy, thinking)
        return await run_to_end(state, plan=self._plans(plan))

    @asynccontextmanager
    async def start_resumed(
        self,
        paused: PausedRun,
        decisions: Mapping[str, Decision],
        *,
        policy: Policy | None = None,
        thinking: PhasedThinking | None = None,
        plan: Plan | None = None,
        when_done: Callable[[Result], None] = lambda _: None,
    ) -> AsyncGenerator[Run]:
        """Go on with a run in the background of this block, as `start` does.

        Raises:
            InvalidTaskError: as `resume` does.
        """
        state = self._resumed(paused, decisions, policy, thinking)
        async with _in_background(Run(state, plan=self._plans(plan)), when_done) as run:
            yield run

    def run_sync(self, task: str, **options: Any) -> Result:
        """Do a task from code that is not async, in a notebook as well; takes what `run` takes.

        The agent's runtime must live elsewhere than the calling thread: open it with
        `Runtime.open_sync()`, or call this from a worker thread of the runtime's loop.

        Raises:
            AgentkitError: called in the thread of the runtime's own loop, which it would block.
        """
        job = partial(self.run, task, **options)
        if self.call_in_loop is not None:
            return self.call_in_loop(job)
        try:
            return from_thread.run(job)
        except RuntimeError as error:
            raise AgentkitError(
                f"run_sync cannot run in {threading.current_thread().name}: the runtime's event "
                "loop lives there, or in no thread that can be reached from it.",
                hint="Use `await agent.run(...)`, or open the runtime with Runtime.open_sync().",
            ) from error

    def conversation(self) -> "Conversation":
        """Return a conversation that keeps its turns."""
        return Conversation(self)

    def _plans(self, plan: Plan | None) -> bool:
        wanted = self.plan if plan is None else plan
        return self.model.profile.small and len(self.registry) > 0 if wanted == "auto" else wanted

    def _begin(
        self,
        task: str,
        history: Sequence[Message],
        thinking: PhasedThinking | None,
        policy: Policy | None,
        conversation_id: str | None,
    ) -> RunState:
        if not task.strip():
            raise InvalidTaskError("The task is empty.", hint="Say what to do, in words.")
        run_id = uuid4().hex
        past = [entry for entry in history if not isinstance(entry, SystemMessage)]
        standing = [SystemMessage(self.instructions)] if self.instructions else []
        return RunState(
            run_id=run_id,
            conversation_id=conversation_id or run_id,
            task=task,
            model=self.model,
            registry=self.registry,
            policy=policy or self.policy,
            thinking=self.thinking if thinking is None else thinking,
            transcript=[*standing, *without_thinking(past), UserMessage(task)],
            emit=_to_observers(run_id, self.observers),
            agent=self.name,
            approver=self.approver,
            shelf=self._shelf(conversation_id or run_id),
        )

    def _shelf(self, conversation_id: str) -> Shelf | None:
        if self.results_dir is None:
            return None
        return Shelf(self.results_dir / _UNSAFE.sub("_", conversation_id))

    def _resumed(
        self,
        paused: PausedRun,
        decisions: Mapping[str, Decision],
        policy: Policy | None,
        thinking: PhasedThinking | None,
    ) -> RunState:
        if paused.agent != self.name:
            raise InvalidTaskError(
                f"The run waits for the agent {paused.agent!r}; this one is {self.name!r}."
            )
        strange = set(decisions) - {request.call_id for request in paused.waiting}
        if strange:
            raise InvalidTaskError(f"No call {min(strange)!r} waits for a decision.")
        return RunState(
            run_id=paused.run_id,
            conversation_id=paused.conversation_id,
            task=paused.task,
            model=self.model,
            registry=self.registry,
            policy=policy or self.policy,
            thinking=self.thinking if thinking is None else thinking,
            transcript=list(paused.transcript),
            emit=_to_observers(paused.run_id, self.observers),
            agent=self.name,
            approver=self.approver,
            decisions=dict(decisions),
            shelf=self._shelf(paused.conversation_id),
            finished={result.call_id: result for result in paused.finished},
            usage=paused.usage,
            steps=paused.steps,
            calls=paused.calls,
            keys=paused.keys,
            plan=paused.plan,
            source=paused.source,
            found=list(paused.found),
            earlier_seconds=paused.seconds,
            resumed=True,
        )


@asynccontextmanager
async def _in_background(run: Run, when_done: Callable[[Result], None]) -> AsyncGenerator[Run]:
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(run.drive, when_done)
            try:
                yield run
            finally:
                run.cancel()  # without effect on a run that is over
    except BaseExceptionGroup as problems:
        if len(problems.exceptions) == 1:  # a group of one says no more than its member
            only = problems.exceptions[0]
            raise only from only.__cause__
        raise


class Conversation:
    """Turns with one agent: each run continues where the last one ended.

    Thinking is dropped from turns that are over, as Qwen3 asks.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.id = uuid4().hex
        self.messages: tuple[Message, ...] = ()

    async def run(self, task: str, **options: Any) -> Result:
        """Continue with a task; takes what `Agent.run` takes but `history`.

        Raises:
            InvalidTaskError: the task is empty.
        """
        result = await self.agent.run(
            task, history=self.messages, conversation_id=self.id, **options
        )
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
            history=self.messages,
            conversation_id=self.id,
            when_done=self._keep,
            **options,
        ) as run:
            yield run

    def run_sync(self, task: str, **options: Any) -> Result:
        """Continue from code that is not async, as `Agent.run_sync` does.

        Raises:
            AgentkitError: called in the thread of the runtime's own loop.
        """
        result = self.agent.run_sync(
            task, history=self.messages, conversation_id=self.id, **options
        )
        self._keep(result)
        return result

    def _keep(self, result: Result) -> None:
        kept = (m for m in result.shown if not isinstance(m, SystemMessage))
        self.messages = tuple(without_thinking(kept))


def without_thinking(messages: Iterable[Message]) -> list[Message]:
    """Return the messages with the thinking of model turns dropped.

    >>> without_thinking([ModelTurn(text="4", thinking="2 and 2")])[0].thinking
    ''
    """
    return [
        replace(entry, thinking="") if isinstance(entry, ModelTurn) and entry.thinking else entry
        for entry in messages
    ]


def as_tools(tools: Iterable[Tool | Callable[..., Any]]) -> list[Tool]:
    """Return tools; plain functions become tools as `@tool` makes them.

    Raises:
        ConfigurationError: a function has a parameter without a type.
    """
    return [entry if hasattr(entry, "spec") else FunctionTool(entry) for entry in tools]  # pyright: ignore[reportArgumentType, reportReturnType] - told apart by their spec


def _to_observers(run_id: str, observers: tuple[Observer, ...]) -> Callable[[Event], None]:
    if len(observers) == 1:
        return partial(observers[0].observe, run_id)

    def emit(event: Event) -> None:
        for observer in observers:
            observer.observe(run_id, event)

    return emit
