"""Plan: ask the model for its next turn."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import anyio

from agentkit.errors import AgentkitError, ContextOverflowError, DeadlineExceededError
from agentkit.events import (
    NoticeGiven,
    Phase,
    RetryScheduled,
    StepStarted,
    TextDelta,
    TextReplaced,
    ThinkingDelta,
    UsageReported,
)
from agentkit.loop._cut import CutShort, Watch
from agentkit.loop._observe import check_limits
from agentkit.loop._room import LEAST_ANSWER, fits, least_answer, make_more_room, make_room
from agentkit.loop._state import RunState
from agentkit.messages import Message, ModelTurn, ToolSpec, Usage
from agentkit.policies import Thinking
from agentkit.protocols import ModelRequest, ToolChoice
from agentkit.resilience import deadline, retrying

_NO_DEADLINE = nullcontext()


def step_deadline(state: RunState) -> AbstractContextManager[None]:
    """Return a block that holds a step, the model's turn and its calls, to the time of a step.

    Raises:
        DeadlineExceededError: leaving the block, which took longer.
    """
    seconds = state.policy.timeouts.step
    if seconds is None:
        return _NO_DEADLINE
    return deadline(seconds, DeadlineExceededError(f"A step took longer than {seconds} seconds."))


async def ask(
    state: RunState,
    phase: Phase = "act",
    *,
    messages: Sequence[Message] | None = None,
    aside: Message | None = None,
    tools: tuple[ToolSpec, ...] | None = None,
    choice: ToolChoice = "auto",
    schema: Mapping[str, Any] | None = None,
    thinking: Thinking | None = None,
    usually: Thinking = "auto",
    limited: bool = True,
    varied: bool = False,
    guided: bool = False,
) -> ModelTurn:
    """Take one step: ask the model, streaming what it says, repeating what failed in passing.

    Whether the model thinks is as the run has it, `usually` where that leaves it open; `thinking`
    overrides both. A turn that goes in circles, or thinks beyond its budget, is cut and asked for
    again without thinking. Where no `messages` are given, the model is shown the transcript, or
    less of it if that is too long, with the question `aside` after it.

    Raises:
        Stopped: a limit has been reached; nothing was asked.
        ModelError: the model could not be asked.
        InvalidOutputError: what it wrote went in circles too often.
    """
    is_tight = messages is not None
    while True:
        if limited:
            check_limits(state)
        if messages is None and not fits(state):
            await make_room(state, _ask_for_summary)
        shown = messages if messages is not None else state.shown()
        request = ModelRequest(
            messages=shown if aside is None else [*shown, aside],
            tools=state.specs if tools is None else tools,
            tool_choice=choice,
            thinking=state.thinking_in(phase, usually) if thinking is None else thinking,
            schema=schema,
            max_tokens=state.policy.limits.answer_tokens,
            least_tokens=LEAST_ANSWER if is_tight else least_answer(state),
            thinking_tokens=state.policy.limits.thinking_tokens,
            timeouts=state.policy.timeouts,
            conversation_id=state.conversation_id,
            varied=varied,
            guided=guided,
        )
        try:
            turn, cut = await _ask_once(
                state, phase, request, keeps=messages is None and aside is None
            )
        except ContextOverflowError as error:
            if is_tight:
                raise
            # Without more to leave out, a short answer is better than none.
            is_tight = not await make_more_room(state, _ask_for_summary)
            state.notice(f"The prompt was too long: {error}")
            continue
        if not cut:
            return turn
        state.correct(f"{cut} It is asked again, without thinking.", turn.text or turn.thinking)
        thinking, varied = False, True


async def _ask_for_summary(state: RunState, messages: Sequence[Message]) -> ModelTurn:
    return await ask(state, "summary", messages=messages, tools=(), thinking=False, limited=False)


async def _ask_once(
    state: RunState, phase: Phase, request: ModelRequest, *, keeps: bool
) -> tuple[ModelTurn, str]:
    """Return a turn, and why it was cut off by us; "" if it was not."""
    state.steps += 1
    state.emit(StepStarted(step=state.steps, phase=phase))
    stream = _Stream(state)
    began = anyio.current_time()
    try:
        turn = await retrying(
            state.policy.retry, partial(state.model.ask, request, stream), stream.restart
        )
    except CutShort:
        turn = stream.cut_turn()
    except BaseException:  # a deadline, a cancellation: what was said until then is not lost
        if keeps:
            state.keep_unfinished(stream.text)
        raise
    if stream.has_spoken and not stream.cut and stream.text != turn.text:
        state.emit(TextReplaced(state.steps, turn.text))  # a tag that leaked, a call as text
    state.spend(turn.usage)
    if keeps and not stream.cut:
        state.context.counted(request.messages, request.tools, turn.usage)
    seconds = anyio.current_time() - began
    state.emit(
        UsageReported(step=state.steps, usage=turn.usage, seconds=seconds, finish=turn.finish)
    )
    return turn, stream.cut


class _Stream:
    """Pieces of a turn on their way to events; remembers those that were text."""

    __slots__ = ("_emit", "_step", "_texts", "_thoughts", "_tokens", "cut", "watch")

    def __init__(self, state: RunState) -> None:
        self._emit = state.emit
        self._step = state.steps
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._tokens = state.policy.limits.thinking_tokens
        self.watch = Watch(self._tokens)
        self.cut = ""

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def has_spoken(self) -> bool:
        return bool(self._texts)

    def cut_turn(self) -> ModelTurn:
        """Return what there is of a turn that was cut; nobody has told its tokens."""
        self.cut = self.watch.reason
        text, thinking = self.text, "".join(self._thoughts)
        if text:
            self._restarted(1, 0.0, self.watch.reason)
        tokens = self.watch.thinking_tokens
        usage = Usage(
            completion_tokens=tokens + len(text) // 4, reasoning_tokens=tokens, requests=1
        )
        return ModelTurn(text=text, thinking=thinking, finish="abort", usage=usage)

    def __call__(self, kind: Literal["thinking", "text", "notice"], text: str, /) -> None:
        if kind == "notice":
            self._emit(NoticeGiven(step=self._step, text=text))
            return
        if kind == "text":
            self._texts.append(text)
            self._emit(TextDelta(self._step, text))
        else:
            self._thoughts.append(text)
            self._emit(ThinkingDelta(self._step, text))
        if self.watch.take(kind, text):
            raise CutShort(self.watch.reason)

    def restart(self, attempt: int, delay: float, error: AgentkitError) -> None:
        self._restarted(attempt, delay, str(error))
        self._texts.clear()
        self._thoughts.clear()
        self.watch = Watch(self._tokens)

    def _restarted(self, attempt: int, delay: float, reason: str) -> None:
        self._emit(
            RetryScheduled(
                step=self._step,
                attempt=attempt,
                delay_seconds=delay,
                reason=reason,
                discard_text=bool(self._texts),
            )
        )
