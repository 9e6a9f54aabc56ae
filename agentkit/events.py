"""What a run reports while it happens: frozen values, one union.

Console, trace and every other surface are projections of this one stream.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from agentkit.messages import Finish, JsonObject, PlanStep, Stop, Usage

Phase: TypeAlias = Literal["plan", "act", "answer", "check", "summary"]
"""What a step is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run begins."""

    kind: ClassVar[str] = "run"
    run_id: str
    task: str
    model: str
    tools: tuple[str, ...]
    agent: str = ""
    backend: str = ""
    conversation_id: str = ""
    parent_run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """A plan was written, or revised (`revision` counts from 0)."""

    kind: ClassVar[str] = "plan"
    step: int
    steps: tuple[PlanStep, ...]
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """The model is asked; steps count from 1."""

    kind: ClassVar[str] = "step"
    step: int
    phase: Phase = "act"


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """The next piece of thinking."""

    kind: ClassVar[str] = "thinking"
    step: int
    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of visible text."""

    kind: ClassVar[str] = "text"
    step: int
    text: str


@dataclass(frozen=True, slots=True)
class TextReplaced:
    """What this step has streamed as text was not meant as such: `text` is what there is of it."""

    kind: ClassVar[str] = "replaced"
    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked:
    """A call waits for a person."""

    kind: ClassVar[str] = "approval"
    step: int
    call_id: str
    name: str
    arguments: JsonObject
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven:
    """A person has decided about a call."""

    kind: ClassVar[str] = "decision"
    step: int
    call_id: str
    name: str
    approved: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A tool begins; the arguments are validated already.

    `within` is the id of the call whose tool has made this one; empty for a call of the model.
    """

    kind: ClassVar[str] = "call"
    step: int
    call_id: str
    name: str
    arguments: JsonObject
    within: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProgressed:
    """A tool says how far it is: `done` of `total` (`None` where nobody knows), and in words."""

    kind: ClassVar[str] = "progress"
    step: int
    call_id: str
    name: str
    done: float
    total: float | None = None
    text: str = ""
    within: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """A call has its result. A call that was refused before it ran has no `CallStarted`."""

    kind: ClassVar[str] = "result"
    step: int
    call_id: str
    name: str
    text: str
    ok: bool
    seconds: float = 0.0
    within: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """A model call failed and is repeated after `delay_seconds`.

    `discard_text` says that this step has streamed text before it failed: throw that text away.
    """

    kind: ClassVar[str] = "retry"
    step: int
    attempt: int
    delay_seconds: float
    reason: str
    discard_text: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReported:
    """Tokens of one model call, the seconds it took and why the model stopped writing."""

    kind: ClassVar[str] = "usage"
    step: int
    usage: Usage
    seconds: float = 0.0
    finish: Finish = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeGiven:
    """Something worth knowing that ends nothing: a mended call, a missing server."""

    kind: ClassVar[str] = "notice"
    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTainted:
    """The run has read untrusted content for the first time: some calls want approval from now on."""

    kind: ClassVar[str] = "tainted"
    step: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """Another agent goes on with the run."""

    kind: ClassVar[str] = "handover"
    step: int
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedEvent:
    """An event of a run that a tool of this run has begun."""

    kind: ClassVar[str] = "nested"
    step: int
    call_id: str
    run_id: str
    agent: str
    event: "Event"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run is over; the last event, always."""

    kind: ClassVar[str] = "end"
    run_id: str
    stop: Stop
    text: str
    steps: int
    usage: Usage
    seconds: float
    error: str = ""


Event: TypeAlias = (
    RunStarted
    | PlanMade
    | StepStarted
    | ThinkingDelta
    | TextDelta
    | TextReplaced
    | ApprovalAsked
    | ApprovalGiven
    | CallStarted
    | CallProgressed
    | CallFinished
    | RetryScheduled
    | UsageReported
    | NoticeGiven
    | RunTainted
    | HandedOver
    | NestedEvent
    | RunEnded
)
"""Everything a run can report."""


def as_record(event: Event) -> dict[str, Any]:
    """Return the event as a JSON-ready mapping whose first key is `event`.

    >>> as_record(TextDelta(1, "hi"))
    {'event': 'text', 'step': 1, 'text': 'hi'}
    """
    if isinstance(event, NestedEvent):
        head = {"step": event.step, "call_id": event.call_id, "run_id": event.run_id}
        inner = as_record(event.event)
        return {"event": event.kind, **head, "agent": event.agent, "nested": inner}
    return {"event": event.kind, **asdict(event)}
