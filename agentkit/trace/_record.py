"""An event as one line of JSON: what `as_record` gives, the time it happened, and no secret.

Written by hand for speed: a run of eight calls makes some forty lines, and `asdict` with
`json.dumps` takes ten times as long for them.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring
from traceback import format_exception_only
from typing import TypeAlias

from pydantic_core import PydanticSerializationError, to_json

from agentkit.events import (
    CallFinished,
    CallStarted,
    Event,
    NestedEvent,
    RunStarted,
    StepStarted,
    UsageReported,
    as_record,
)
from agentkit.trace._redact import Redactor, without_secrets


@dataclass(frozen=True, slots=True)
class Joined:
    """All the pieces of thinking or of text of one step, put together."""

    kind: str
    step: int
    text: str
    discarded: bool = False


Entry: TypeAlias = Event | Joined
"""What becomes a line."""


class LineMaker:
    """Makes lines; remembers the last moment it wrote down."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._millisecond = -1
        self._stamp = ""

    def line(self, at: float, entry: Entry) -> str:
        """Return the line of what happened at `at` (seconds since 1970), without its line end.

        An event that cannot be written becomes an `unwritten` line that says which and why.

        >>> LineMaker(Redactor()).line(1_700_000_000.25, StepStarted(step=1))
        '{"event":"step","step":1,"phase":"act","at":"2023-11-14T22:13:20.250Z"}'
        """
        millisecond = int(at * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._stamp = _stamp(millisecond)
        if isinstance(entry, StepStarted):
            return f'{{"event":"step",{_step(entry)},"at":"{self._stamp}"}}'
        if isinstance(entry, UsageReported):
            return f'{{"event":"usage",{_usage(entry)},"at":"{self._stamp}"}}'
        kind = entry.kind
        try:
            body = _fast_or_patient_body(entry)
        except Exception as error:  # the border to values that are not ours, shared by all runs
            kind, body = "unwritten", _excuse(entry, error)
        return f'{{"event":"{kind}",{self._redact(body)},"at":"{self._stamp}"}}'


def _stamp(millisecond: int) -> str:
    moment = datetime.fromtimestamp(millisecond // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millisecond % 1000:03d}Z"


def _step(event: StepStarted) -> str:
    return f'"step":{event.step},"phase":"{event.phase}"'


def _usage(event: UsageReported) -> str:
    used = event.usage
    return (
        f'"step":{event.step},"usage":{{"prompt_tokens":{used.prompt_tokens},'
        f'"completion_tokens":{used.completion_tokens},"cached_tokens":{used.cached_tokens},'
        f'"reasoning_tokens":{used.reasoning_tokens},"requests":{used.requests}}},'
        f'"seconds":{event.seconds!r},"finish":"{event.finish}"'
    )


def _body(entry: Entry) -> str:
    match entry:
        case CallFinished():
            return (
                f'"step":{entry.step},"call_id":{encode_basestring(entry.call_id)},'
                f'"name":{encode_basestring(entry.name)},"text":{encode_basestring(entry.text)},'
                f'"ok":{"true" if entry.ok else "false"},"seconds":{entry.seconds!r},'
                f'"within":{encode_basestring(entry.within)}'
            )
        case CallStarted():
            return (
                f'"step":{entry.step},"call_id":{encode_basestring(entry.call_id)},'
                f'"name":{encode_basestring(entry.name)},'
                f'"arguments":{to_json(without_secrets(entry.arguments)).decode()},'
                f'"within":{encode_basestring(entry.within)}'
            )
        case Joined():
            extra = ',"discarded":true' if entry.discarded else ""
            return f'"step":{entry.step},"text":{encode_basestring(entry.text)}{extra}'
        case RunStarted():  # the process, so that a reader can tell a crash from a run under way
            return f'{to_json(entry).decode()[1:-1]},"pid":{os.getpid()}'
        case NestedEvent():
            return to_json(as_record(entry)).decode()[1:-1].partition(",")[2]
        case _:
            return to_json(entry).decode()[1:-1]


def _fast_or_patient_body(entry: Entry) -> str:
    try:
        return _body(entry)
    except (PydanticSerializationError, RuntimeError):  # half a surrogate; a changing mapping
        return _patient_body(entry)


def _patient_body(entry: Entry) -> str:
    if isinstance(entry, Joined):
        record: dict[str, object] = {"step": entry.step, "text": entry.text}
    elif isinstance(entry, CallStarted):  # its arguments may hold what cannot be copied
        arguments = without_secrets(dict(entry.arguments))
        record = {"step": entry.step, "call_id": entry.call_id, "name": entry.name}
        record |= {"arguments": arguments, "within": entry.within}
    else:
        record = as_record(entry)
        del record["event"]
    return json.dumps(record, default=str, separators=(",", ":"))[1:-1]


def _excuse(entry: Entry, error: Exception) -> str:
    # Not `str(error)`: it may fail as well, for an error of a foreign `__str__`.
    problem = "".join(format_exception_only(error)).strip()
    record = {"step": getattr(entry, "step", 0), "of": entry.kind, "problem": problem}
    return json.dumps(record, separators=(",", ":"))[1:-1]
