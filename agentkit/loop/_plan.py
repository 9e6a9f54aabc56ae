"""Plan: ask the model for its next turn."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import anyio

from agentkit.errors import AgentkitError, DeadlineExceededError
from agentkit.events import (
    NoticeGiven,
    Phase,
    RetryScheduled,
    StepStarted,
    TextDelta,
    ThinkingDelta,
    UsageReported,
)
from agentkit.loop._observe import check_limits
from agentkit.loop._state import RunState
from agentkit.messages import Message, ModelTurn, ToolSpec
from agentkit.policies import Thinking
from agentkit.protocols import ModelRequest, ToolChoice
from agentkit.resilience import deadline, retrying


@contextmanager
def step_deadline(state: RunState) -> Generator[None]:
    """Hold a step, the model's turn and the calls it makes, to the time of a step.

    Raises:
        DeadlineExceededError: it took longer.
    """
    seconds = state.policy.timeouts.step
    with deadline(seconds, DeadlineExceededError(f"A step took longer than {seconds} seconds.")):
        yield


async def ask(
    state: RunState,
    phase: Phase = "act",
    *,
    messages: Sequence[Message] | None = None,
    tools: tuple[ToolSpec, ...] | None = None,
    choice: ToolChoice = "auto",
    schema: Mapping[str, Any] | None = None,
    thinking: Thinking | None = None,
    usually: Thinking = "auto",
    limited: bool = True,
    varied: bool = False,
) -> ModelTurn:
    """Take one step: ask the model, streaming what it says, repeating what failed in passing.

    Whether the model thinks is as the run has it, `usually` where that leaves it open; `thinking`
    overrides both.

    Raises:
        Stopped: a limit has been reached; nothing was asked.
        ModelError: the model could not be asked.
    """
    if limited:
        check_limits(state)
    state.steps += 1
    state.emit(StepStarted(step=state.steps, phase=phase))
    request = ModelRequest(
        messages=state.transcript if messages is None else messages,
        tools=state.registry.specs if tools is None else tools,
        tool_choice=choice,
        thinking=state.thinking_in(phase, usually) if thinking is None else thinking,
        schema=schema,
        max_tokens=state.policy.limits.answer_tokens,
        thinking_tokens=state.policy.limits.thinking_tokens,
        timeouts=state.policy.timeouts,
        conversation_id=state.conversation_id,
        varied=varied,
    )
    stream = _Stream(state)
    began = anyio.current_time()
    try:
        turn = await retrying(
            state.policy.retry, partial(state.model.ask, request, stream), stream.restart
        )
    except BaseException:  # a deadline, a cancellation: what was said until then is not lost
        if messages is None:
            state.keep_unfinished(stream.text)
        raise
    state.usage += turn.usage
    seconds = anyio.current_time() - began
    state.emit(
        UsageReported(step=state.steps, usage=turn.usage, seconds=seconds, finish=turn.finish)
    )
    return turn


class _Stream:
    """Pieces of a turn on their way to events; remembers those that were text."""

    __slots__ = ("_emit", "_step", "_texts")

    def __init__(self, state: RunState) -> None:
        self._emit = state.emit
        self._step = state.steps
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def __call__(self, kind: Literal["thinking", "text", "notice"], text: str, /) -> None:
        if kind == "text":
            self._texts.append(text)
            self._emit(TextDelta(self._step, text))
        elif kind == "thinking":
            self._emit(ThinkingDelta(self._step, text))
        else:
            self._emit(NoticeGiven(step=self._step, text=text))

    def restart(self, attempt: int, delay: float, error: AgentkitError) -> None:
        self._emit(
            RetryScheduled(
                step=self._step,
                attempt=attempt,
                delay_seconds=delay,
                reason=str(error),
                discard_text=bool(self._texts),
            )
        )
        self._texts.clear()
