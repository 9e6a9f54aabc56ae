"""A run that waits for a person: all that it takes to go on, as JSON."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from agentkit.errors import InvalidTaskError
from agentkit.messages import (
    ApprovalRequest,
    Image,
    JsonObject,
    Message,
    ModelTurn,
    PlanStep,
    SystemMessage,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
)

_VERSION = 1
_ROLES: Mapping[str, type[Any]] = {
    "system": SystemMessage,
    "user": UserMessage,
    "assistant": ModelTurn,
    "tool": ToolResult,
}
_ROLE_OF = {kind: role for role, kind in _ROLES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedRun:
    """A run that has stopped because calls wait for a person.

    Attributes:
        run_id: stays the same when it goes on.
        waiting: the calls that a person has to decide about.
        agent: name of the agent that it needs to go on.
        task: what the run is about.
        transcript: up to and including the turn that waits.
        finished: what the other calls of that turn gave.
        found: what a planned run of a small model has found out so far.
        untrusted: where it has read untrusted content.
    """

    run_id: str
    conversation_id: str
    agent: str
    task: str
    waiting: tuple[ApprovalRequest, ...]
    transcript: tuple[Message, ...]
    finished: tuple[ToolResult, ...]
    plan: tuple[PlanStep, ...] = ()
    source: str = ""
    untrusted: tuple[str, ...] = ()
    found: tuple[tuple[PlanStep, ToolResult], ...] = ()
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    calls: int = 0
    keys: int = 0
    seconds: float = 0.0

    def to_json(self) -> str:
        """Return it as one JSON object."""
        record = asdict(self)
        record["version"] = _VERSION
        record["transcript"] = messages_as_json(self.transcript)
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "PausedRun":
        """Return what `to_json` has written, here or in another process.

        Raises:
            InvalidTaskError: it is something else, or of another version.
        """
        try:
            record: JsonObject = json.loads(text)
            version = record.pop("version")
            if version != _VERSION:
                raise InvalidTaskError(f"A paused run of version {version} cannot be read here.")
            record |= {
                "waiting": tuple(ApprovalRequest(**one) for one in record["waiting"]),
                "transcript": messages_from_json(record["transcript"]),
                "finished": tuple(ToolResult(**one) for one in record["finished"]),
                "plan": tuple(PlanStep(**one) for one in record["plan"]),
                "found": tuple((PlanStep(**a), ToolResult(**b)) for a, b in record["found"]),
                "usage": Usage(**record["usage"]),
                "untrusted": tuple(record.get("untrusted", ())),
            }
            return cls(**record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidTaskError(f"This is no paused run: {error}.") from error


def messages_as_json(messages: Iterable[Message]) -> list[JsonObject]:
    """Return messages as JSON has them.

    >>> messages_as_json([UserMessage("Hi")])
    [{'role': 'user', 'text': 'Hi', 'images': []}]
    """
    return [{"role": _ROLE_OF[type(message)], **_fields_of(message)} for message in messages]


def messages_from_json(records: Iterable[JsonObject]) -> tuple[Message, ...]:
    """Return the messages that `messages_as_json` has written.

    >>> messages_from_json(messages_as_json([UserMessage("Hi")]))
    (UserMessage(text='Hi', images=()),)
    """
    return tuple(map(_message, records))


def _fields_of(message: Message) -> JsonObject:
    fields = asdict(message)
    for image in fields.get("images", ()):
        image["data"] = b64encode(image["data"]).decode()
    return fields | {"images": list(fields["images"])} if "images" in fields else fields


def _message(record: JsonObject) -> Message:
    fields = dict(record)
    kind = _ROLES[fields.pop("role")]
    if kind is UserMessage:
        fields["images"] = tuple(
            Image(b64decode(one["data"]), one["media_type"], one["url"]) for one in fields["images"]
        )
    if kind is ModelTurn:
        fields["tool_calls"] = tuple(ToolCall(**call) for call in fields["tool_calls"])
        fields["usage"] = Usage(**fields["usage"])
    return kind(**fields)
