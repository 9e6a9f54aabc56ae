"""Reads the calls of a turn: what may run, what was lost, what the model has to mend."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from jiter import from_json

from agentkit.messages import ToolCall

_SHOWN = 200


@dataclass(slots=True)
class RawCall:
    """A call as it came, not yet looked at."""

    name: str = ""
    arguments: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class ReadCalls:
    """The calls of a turn.

    Attributes:
        calls: those whose arguments are a JSON object.
        problem: what the model has to mend; empty if nothing.
        lost: whether the server, not the model, seems to have cut arguments off.
    """

    calls: tuple[ToolCall, ...]
    problem: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class _Arguments:
    text: str = ""
    problem: str = ""
    lost: bool = False


def new_call_id() -> str:
    """Return an id for a call that came without one."""
    return f"call_{uuid4().hex[:24]}"


def read_calls(raw: Iterable[RawCall], schemas: Mapping[str, Mapping[str, Any]]) -> ReadCalls:
    """Return the calls in order, without immediate repetitions of the same call."""
    calls: list[ToolCall] = []
    problems: list[str] = []
    lost = False
    for call in raw:
        read = _read_arguments(call, schemas)
        lost = lost or read.lost
        if read.problem:
            problems.append(read.problem)
        elif not (calls and calls[-1].name == call.name and calls[-1].arguments == read.text):
            calls.append(ToolCall(_fresh_id(call.id, calls), call.name, read.text))
    return ReadCalls(tuple(calls), " ".join(problems), lost)


def as_written(raw: Iterable[RawCall]) -> tuple[ToolCall, ...]:
    """Return calls of a turn that was cut off: for the record, never to be run."""
    return tuple(ToolCall(call.id or new_call_id(), call.name, call.arguments) for call in raw)


def _fresh_id(given: str, calls: list[ToolCall]) -> str:
    taken = any(call.id == given for call in calls)
    return new_call_id() if taken or not given else given


def _read_arguments(call: RawCall, schemas: Mapping[str, Mapping[str, Any]]) -> _Arguments:
    if not call.name:
        return _Arguments(problem="A call had no tool name. Nothing was run for it.")
    text = call.arguments
    if text.strip() in {"", "null"}:
        if not schemas.get(call.name, {}).get("required"):
            return _Arguments("{}")
        return _Arguments(problem=f"The call of {call.name!r} came without arguments.", lost=True)
    try:
        value: Any = from_json(text.encode(), allow_inf_nan=False)
    except ValueError as error:
        return _Arguments(
            problem=f"The arguments of {call.name!r} are not valid JSON ({error}): "
            f"{_shown(text)}. Nothing was run. Write the call again with one JSON object.",
            lost="EOF" in str(error),
        )
    if isinstance(value, str):  # a string inside a string: decode a second time
        text = value
        value = _object_in(value)
    if isinstance(value, dict):
        return _Arguments(text)
    return _Arguments(
        problem=f"The arguments of {call.name!r} must be one JSON object, not {_shown(text)}. "
        "Nothing was run. Write the call again."
    )


def _object_in(text: str) -> object:
    try:
        return from_json(text.encode("utf-8", "replace"), allow_inf_nan=False)
    except ValueError:
        return None


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
