"""What one run knows while it goes on."""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio

from agentkit.errors import InvalidOutputError
from agentkit.events import Event, HandedOver, NoticeGiven, Phase, RunTainted
from agentkit.loop._context import Context
from agentkit.loop._guard import Guard
from agentkit.loop._paused import PausedRun
from agentkit.loop._result import Result
from agentkit.loop._taint import READER, Kept, Taint, is_own, source_of
from agentkit.messages import (
    ApprovalRequest,
    Decision,
    JsonObject,
    Message,
    ModelTurn,
    PlanStep,
    Stop,
    SystemMessage,
    ToolResult,
    ToolSpec,
    Usage,
)
from agentkit.policies import PhasedThinking, Policy, Thinking
from agentkit.protocols import Approver, Model, Observer, OpenTool, RunScopedTool, Tool
from agentkit.toolkit import Catalogue, Registry, Shelf

_READ_ON = "[It is longer: read_result reads on, handle={handle!r}]"
_POINTER = re.compile(r"\[It is longer: read_result reads on, handle='(\w+)'\]\Z")


def pointed(text: str, handle: str) -> str:
    r"""Return a shortened text that says where the rest is.

    >>> pointed("Once upon", "7f"), pointed("The end", "")
    ("Once upon\n[It is longer: read_result reads on, handle='7f']", 'The end')
    """
    return f"{text}\n{_READ_ON.format(handle=handle)}" if handle else text


def points(message: Message) -> bool:
    """Tell whether a message says where its rest is."""
    return isinstance(message, ToolResult) and _POINTER.search(message.text) is not None


class Stopped(Exception):  # noqa: N818 - not an error: the named end of a run
    """The run ends here, before an answer was given on the model's own terms."""

    def __init__(self, stop: Stop, reason: str) -> None:
        super().__init__(reason)
        self.stop: Stop = stop
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Output:
    """What the answer has to be: its schema, and how a text becomes a value.

    Attributes:
        schema: of a JSON object.
        parse: raises a ValueError whose text tells the model what to mend.
    """

    schema: Mapping[str, Any]
    parse: Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """An agent that goes on with a run: all that the run takes over of it."""

    agent: str
    description: str
    model: Model
    registry: Registry
    standing: tuple[Message, ...]
    policy: Policy
    thinking: PhasedThinking
    approver: Approver | None
    observe: tuple[Observer, ...]


@dataclass(slots=True, kw_only=True)
class RunState:
    """Everything the steps of a run share. Only the run's own task changes it, and its calls.

    `within` has, for each call under way that a tool has made, the id of that tool's own call;
    `holds`, for each tool of this run alone that others have given untrusted content, its source.
    """

    run_id: str
    conversation_id: str
    task: str
    model: Model
    registry: Registry
    policy: Policy
    thinking: PhasedThinking
    transcript: list[Message]
    emit: Callable[[Event], None]
    agent: str = ""
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    calls: int = 0
    answer: str = ""
    plan: tuple[PlanStep, ...] = ()
    corrections: int = 0
    announced: int = 0
    thought_too_long: bool = False
    keys: int = 0
    output: Output | None = None
    output_value: Any = None
    parent: "RunState | None" = None
    depth: int = 0
    successor: Successor | None = None
    shelf: Shelf | None = None
    shelf_is_used: bool = False
    catalogue: Catalogue | None = None
    context: Context = field(default_factory=Context)
    guard: Guard = field(default_factory=Guard)
    approver: Approver | None = None
    decisions: dict[str, Decision] = field(default_factory=dict[str, Decision])
    waiting: tuple[ApprovalRequest, ...] = ()
    asking: anyio.Lock = field(default_factory=anyio.Lock)
    within: dict[str, str] = field(default_factory=dict[str, str])
    holds: dict[str, str] = field(default_factory=dict[str, str])
    source: str = ""
    found: list[tuple[PlanStep, ToolResult]] = field(
        default_factory=list[tuple[PlanStep, ToolResult]]
    )
    resumed: bool = False
    earlier_seconds: float = 0.0
    abandoned: tuple[str, ...] = ()
    taint: Taint = field(default_factory=Taint)
    held_back: tuple[str, ...] = ()
    refused_calls: int = 0
    wants_stop: bool = False
    result: Result | None = None
    started: float = field(default_factory=anyio.current_time)
    finished: dict[str, ToolResult] = field(default_factory=dict[str, ToolResult])
    _open: dict[str, OpenTool] = field(default_factory=dict[str, OpenTool])

    def __post_init__(self) -> None:
        self.list_deferred()
        if self.parent is not None:
            self.taint = self.parent.taint
        for entry in self.transcript:
            if isinstance(entry, ToolResult) and (found := _POINTER.search(entry.text)):
                self.taint.kept.setdefault(found[1], Kept(entry.source, is_own(entry)))
        if self.parent is None:
            self.taint.recall((*self.transcript, *self.finished.values()))

    def list_deferred(self) -> None:
        """Begin a catalogue of the tools that the registry does not show."""
        deferred = self.registry.deferred
        self.catalogue = Catalogue(deferred, self.transcript) if deferred else None

    def tool(self, name: str) -> Tool:
        """Return the tool of that name, as it is in this run.

        Raises:
            UnknownToolError: there is none.
        """
        if name in self._open:
            return self._open[name]
        if self.shelf is not None and self.shelf_is_used and name == self.shelf.tool.spec.name:
            return self.shelf.tool
        if self.catalogue is not None:
            if name == self.catalogue.tool.spec.name:
                return self.catalogue.tool
            self.catalogue.open(name)
        tool = self.registry[name]
        if not isinstance(tool, RunScopedTool):
            return tool
        self._open[name] = tool.for_run()
        return self._open[name]

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of its tools: more, once it has found some or must read on."""
        specs = self.registry.specs
        if self.catalogue is not None:
            specs = (*specs, self.catalogue.tool.spec, *self.catalogue.found)
        if self.shelf is not None and self.shelf_is_used:
            specs = (*specs, self.shelf.tool.spec)
        return specs

    def shown(self) -> list[Message]:
        """Return what of the transcript the model is shown."""
        return self.context.shown(self.transcript)

    def source_of(self, spec: ToolSpec, arguments: JsonObject) -> str:
        """Return where the result of a call is from, "" for what is not untrusted."""
        if self.shelf is not None and spec.name == READER:
            return self.taint.kept_at(arguments).source
        return source_of(spec, arguments) or self.holds.get(spec.name, "")

    def note_held(self, name: str, source: str) -> None:
        """Take note that a tool was given untrusted content, which its variables may hold."""
        if name in self._open:
            self.holds.setdefault(name, source)

    @property
    def is_attended(self) -> bool:
        """Whether somebody can be asked, here or in a run that this one is a part of."""
        return self.approver is not None or (self.parent is not None and self.parent.is_attended)

    def take_in(self, spec: ToolSpec, arguments: JsonObject, result: ToolResult) -> None:
        """Take note of what a call has brought into the run."""
        if self.taint.finds(spec, arguments):
            opened = spec.effect == "pure" and spec.open_world is True
            self.taint.find(result.text, arguments, opened=opened)
        if self.taint.add(result.source):
            self.tell_taint(result.source)

    def tell_taint(self, source: str) -> None:
        """Tell that this run has read something untrusted, and so has each that it is a part of."""
        run: RunState | None = self
        while run is not None:
            run.emit(RunTainted(step=run.steps, source=source))
            run = run.parent

    async def keep_whole(self, text: str, source: str = "", *, finds: bool = False) -> str:
        """Keep a result whole where the model can read on in it, and return its handle, if any.

        Args:
            text: of the result.
            source: where it is from, if it is untrusted.
            finds: addresses in it count as found, also where the model has not read that far.
        """
        if self.shelf is None:
            return ""
        if found := _POINTER.search(text):  # it is kept already
            return found[1]
        try:
            handle = await self.shelf.keep(text)
        except OSError as error:
            self.notice(f"A long result could not be kept: {error}.")
            return ""
        self.shelf_is_used = True
        self.taint.kept[handle] = Kept(source, finds)
        return handle

    def raise_if_waiting(self) -> None:
        """End the run here where calls wait for a person who cannot be asked.

        Raises:
            Stopped: they do.
        """
        if self.waiting:
            names = ", ".join(dict.fromkeys(request.name for request in self.waiting))
            raise Stopped("approval", f"A person has to approve the call of {names}.")

    def paused(self) -> PausedRun | None:
        """Return what it takes to go on, where calls wait for a person."""
        if not self.waiting:
            return None
        calls = self.open_turn().tool_calls
        return PausedRun(
            run_id=self.run_id,
            conversation_id=self.conversation_id,
            agent=self.agent,
            task=self.task,
            waiting=self.waiting,
            transcript=tuple(self.shown()),
            finished=tuple(self.finished[c.id] for c in calls if c.id in self.finished),
            plan=self.plan,
            source=self.source,
            untrusted=tuple(self.taint.sources),
            found=tuple(self.found),
            usage=self.usage,
            steps=self.steps,
            calls=self.calls,
            keys=self.keys,
            seconds=self.seconds,
        )

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, without those that it was paused."""
        return self.earlier_seconds + anyio.current_time() - self.started

    def open_turn(self) -> ModelTurn:
        """Return the last turn, whose calls wait."""
        last = self.transcript[-1]
        if not isinstance(last, ModelTurn):
            raise TypeError(f"expected a turn with calls, found {last!r}")
        return last

    def thinking_in(self, phase: Phase, usual: Thinking) -> Thinking:
        """Return whether the model thinks in a phase: `usual` where the run leaves it open."""
        said = self.thinking
        if isinstance(said, Mapping):
            said = said.get(phase, "auto")
        return usual if said == "auto" else said

    def spend(self, usage: Usage) -> None:
        """Count tokens, also for the run whose tool has begun this one."""
        self.usage += usage
        if self.parent is not None:
            self.parent.spend(usage)

    def spend_calls(self, calls: int) -> None:
        """Count calls, also for the run whose tool has begun this one."""
        self.calls += calls
        if self.parent is not None:
            self.parent.spend_calls(calls)

    @property
    def calls_left(self) -> int:
        """How many calls may be made."""
        left = max(0, self.policy.limits.calls - self.calls)
        return left if self.parent is None else min(left, self.parent.calls_left)

    @property
    def tokens_are_spent(self) -> bool:
        """Whether this run, or one that it is a part of, has used up its tokens."""
        tokens = self.policy.limits.tokens
        spent = tokens is not None and self.usage.total_tokens >= tokens
        return spent or (self.parent is not None and self.parent.tokens_are_spent)

    def hand_over(self) -> None:
        """Go on with the agent that a call of the last turn has named, if one has."""
        successor = self.successor
        if successor is None:
            return
        self.successor = None
        self.emit(HandedOver(step=self.steps, before=self.agent, after=successor.agent))
        first = 1 if self.transcript and isinstance(self.transcript[0], SystemMessage) else 0
        self.transcript[:first] = successor.standing
        if len(successor.standing) != first:  # places in the transcript have moved
            self.context = Context()
        self.context.forget_count()
        self.agent, self.model, self.registry = successor.agent, successor.model, successor.registry
        self.policy, self.thinking = successor.policy, successor.thinking
        self.approver = successor.approver or self.approver
        self.list_deferred()
        self.guard = Guard()

    def notice(self, text: str) -> None:
        """Report something worth knowing."""
        self.emit(NoticeGiven(step=self.steps, text=text))

    def correct(self, problem: str, output: str) -> None:
        """Count an output that could not be used.

        Raises:
            InvalidOutputError: the model has been told often enough.
        """
        self.corrections += 1
        self.notice(problem)
        if self.corrections > self.policy.limits.corrections:
            raise InvalidOutputError(
                f"The model gave {self.corrections} unusable outputs in a row. The last: {problem}",
                hint="A larger model, or tool_calls='guided', mends this more often than a retry.",
                output=output,
                problem=problem,
            )

    def keep_unfinished(self, text: str) -> None:
        """Keep what the model had said of an answer that was broken off."""
        if text.strip():
            self.answer = text
            self.transcript.append(ModelTurn(text=text, finish="abort"))

    def settle_open_calls(self, reason: str) -> None:
        """Give each call of the last turn a result: its own, or `reason`.

        A transcript must be legal, and what was done before a turn was cut off must not be lost.
        """
        answered: set[str] = set()
        for entry in reversed(self.transcript):
            if isinstance(entry, ToolResult):
                answered.add(entry.call_id)
            elif isinstance(entry, ModelTurn):
                unknown = (
                    self.finished.get(call.id)
                    or ToolResult(call_id=call.id, name=call.name, text=reason, ok=False)
                    for call in entry.tool_calls
                    if call.id not in answered
                )
                self.transcript.extend(unknown)
                return

    async def aclose(self) -> None:
        """Close the tools that this run opened, whatever is being cancelled around it."""
        for tool in self._open.values():
            with anyio.move_on_after(10, shield=True):  # a closing tool may not hold up the run
                await tool.aclose()


CURRENT_RUN: ContextVar[RunState | None] = ContextVar("agentkit run", default=None)
"""The run whose tool is at work."""
