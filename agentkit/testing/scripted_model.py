"""A model that says what a test wrote down, and complains about every other question."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from agentkit.messages import Message, ModelTurn, ToolCall, Usage
from agentkit.protocols import Emit, ModelProfile, ModelRequest
from agentkit.testing._tokens import count_tokens, pieces

Said: TypeAlias = ModelTurn | str | ToolCall | Sequence[ToolCall] | BaseException
"""What a step says: a turn, a text answer, one call, several calls, or an error to raise."""

Turn: TypeAlias = Said | Callable[[ModelRequest], Said]
"""What a step says, or a function that decides when it sees the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry of a script; made by `step`."""

    turn: Turn
    expect: Callable[[ModelRequest], bool | None] | None = None
    hang: bool = False
    delay: float = 0.0
    partial: str = ""


def call(name: str, /, **arguments: Any) -> ToolCall:
    """Return a call of the tool `name`; the same call always has the same id.

    >>> call("now", zone="Asia/Tokyo").arguments
    '{"zone": "Asia/Tokyo"}'
    >>> call("now").id == call("now").id
    True
    """
    text = json.dumps(arguments, ensure_ascii=False)
    digest = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()
    return ToolCall(f"call_{digest[:24]}", name, text)


def step(
    turn: Turn,
    *,
    expect: Callable[[ModelRequest], bool | None] | None = None,
    hang: bool = False,
    delay: float = 0.0,
    partial: str = "",
) -> Step:
    """Return a step that looks at its request, or takes its time.

    Args:
        turn: what the model says.
        expect: sees the request first; returning False, or raising, fails the test.
        hang: never answer; for tests of time limits and cancellation.
        delay: seconds before the first piece; free of charge under a virtual clock.
        partial: text that is streamed before the step says, raises or hangs.
    """
    return Step(turn=turn, expect=expect, hang=hang, delay=delay, partial=partial)


class ScriptedModel:
    """A `Model` that follows a script.

    A question beyond the script, or one that a step did not expect, raises an `AssertionError`;
    leaving the `with` block raises it again, should anything have swallowed it, and complains
    about steps that were never asked for.

    >>> from agentkit.messages import UserMessage
    >>> async def ask() -> str:
    ...     with ScriptedModel(["Hello!"]) as model:
    ...         request = ModelRequest(messages=[UserMessage("Hi")])
    ...         return (await model.ask(request, lambda kind, text: None)).text
    >>> anyio.run(ask)
    'Hello!'

    Attributes:
        requests: every request so far, with its messages as they were.
    """

    def __init__(
        self,
        turns: Sequence[Step | Turn],
        *,
        name: str = "scripted",
        small: bool = False,
        context_tokens: int | None = None,
    ) -> None:
        self.requests: list[ModelRequest] = []
        self._steps = [turn if isinstance(turn, Step) else Step(turn=turn) for turn in turns]
        self._profile = ModelProfile(
            name=name, backend="scripted", small=small, context_tokens=context_tokens
        )
        self._ids: dict[str, int] = {}
        self._prompt: tuple[Message, ...] = ()
        self._failure: AssertionError | None = None

    @property
    def profile(self) -> ModelProfile:
        """Name, backend "scripted", and whether the model plays a small one."""
        return self._profile

    async def ask(self, request: ModelRequest, emit: Emit) -> ModelTurn:
        """Say what the next step of the script says."""
        request = replace(request, messages=tuple(request.messages))
        self.requests.append(request)
        number = len(self.requests)
        entry = self._next(number, request)
        await checkpoint()
        if entry.delay:
            await anyio.sleep(entry.delay)
        await _emit(emit, "text", entry.partial)
        if entry.hang:
            await anyio.sleep_forever()
        turn = self._turn(entry.turn, request)
        await _emit(emit, "thinking", turn.thinking)
        await _emit(emit, "text", turn.text)
        return turn

    def assert_finished(self) -> None:
        """Fail if a question went wrong, or if steps of the script were never asked for."""
        if self._failure is not None:
            raise self._failure
        unused = len(self._steps) - len(self.requests)
        if unused > 0:
            raise AssertionError(
                f"{unused} of {len(self._steps)} scripted steps unused; the next one is "
                f"{_shorten(self._steps[len(self.requests)].turn)}."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.assert_finished()

    def _next(self, number: int, request: ModelRequest) -> Step:
        if number > len(self._steps):
            raise self._fail(
                f"The script has {len(self._steps)} steps, but step {number} was asked for; "
                f"the last message was {_shorten(request.messages[-1:])}."
            )
        entry = self._steps[number - 1]
        try:
            fits = entry.expect is None or entry.expect(request) is not False
        except AssertionError as error:
            self._failure = error
            raise
        if not fits:
            raise self._fail(
                f"Step {number} did not expect this request; "
                f"the last message was {_shorten(request.messages[-1:])}."
            )
        return entry

    def _fail(self, message: str) -> AssertionError:
        self._failure = AssertionError(message)
        return self._failure

    def _turn(self, turn: Turn, request: ModelRequest) -> ModelTurn:
        said = turn(request) if callable(turn) else turn
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, str):
            said = ModelTurn(text=said)
        elif isinstance(said, ToolCall):
            said = ModelTurn(tool_calls=self._own((said,)), finish="tool_calls")
        elif not isinstance(said, ModelTurn):
            said = ModelTurn(tool_calls=self._own(said), finish="tool_calls")
        if said.usage == Usage():
            said = replace(said, usage=self._usage(request, said))
        self._prompt = tuple(request.messages)
        return said

    def _own(self, calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
        """Give a call that the script repeats an id of its own, as a server would."""
        return tuple(replace(item, id=self._unused(item.id)) for item in calls)

    def _unused(self, call_id: str) -> str:
        uses = self._ids[call_id] = self._ids.get(call_id, 0) + 1
        return call_id if uses == 1 else f"{call_id}_{uses}"

    def _usage(self, request: ModelRequest, turn: ModelTurn) -> Usage:
        sizes = [_size(message) for message in request.messages]
        known = len(self._prompt)
        seen = known > 0 and tuple(request.messages[:known]) == self._prompt
        reasoning = count_tokens(turn.thinking)
        return Usage(
            prompt_tokens=sum(sizes),
            completion_tokens=_size(turn),
            cached_tokens=sum(sizes[:known]) if seen else 0,
            reasoning_tokens=reasoning,
            requests=1,
        )


async def _emit(emit: Emit, kind: Any, text: str) -> None:
    for piece in pieces(text):
        emit(kind, piece)
        await checkpoint()


def _size(message: Message) -> int:
    """Return the tokens of one message, with the four that frame it."""
    if not isinstance(message, ModelTurn):
        return count_tokens(message.text) + 4
    calls = sum(count_tokens(item.name + item.arguments) + 8 for item in message.tool_calls)
    return count_tokens(message.thinking) + count_tokens(message.text) + calls + 4


def _shorten(value: object, limit: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


__all__ = ["ScriptedModel", "Step", "call", "step"]
