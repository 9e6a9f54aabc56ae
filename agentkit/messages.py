"""What is said between user, model and tools: frozen values, no behaviour.

Messages can be weakly referenced, so that an encoder may remember their bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from agentkit.text import fenced

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object as Python has it."""

Finish: TypeAlias = Literal["stop", "tool_calls", "length", "abort"]
"""Why the model stopped writing a turn."""

Stop: TypeAlias = Literal["done", "limit", "deadline", "loop", "approval", "cancelled", "failed"]
"""Why a run ended."""

Effect: TypeAlias = Literal["pure", "idempotent", "keyed", "once"]
"""What a call changes: nothing; the same however often it is made; the same where the key of the
call is the same; something else each time, or nobody knows. Only a call "once" is never repeated."""

Approval: TypeAlias = Literal["never", "always"] | Callable[[JsonObject], bool]
"""Whether a person is asked before a call: a function decides by its arguments."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SystemMessage:
    """Standing instructions."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture for a model that sees: bytes of a file, or an address that the server can reach.

    Attributes:
        data: of a PNG, JPEG, WebP or GIF file.
        media_type: of the data, such as "image/png".
        url: instead of data.
    """

    data: bytes = field(default=b"", repr=False)
    media_type: str = "image/png"
    url: str = ""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UserMessage:
    """Something a person said, and showed."""

    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ToolCall:
    """A call the model asked for.

    `arguments` is the JSON text as the model wrote it (mended only where it did not parse), so
    that what goes back to the server has the same bytes.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request, or of many added up.

    `cached_tokens` is the part of `prompt_tokens` that the prefix cache served;
    `reasoning_tokens` the part of `completion_tokens` spent on thinking.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together.

        >>> Usage(prompt_tokens=2, completion_tokens=3).total_tokens
        5
        """
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            requests=self.requests + other.requests,
        )


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class ModelTurn:
    """One turn of the model: text, thinking, calls.

    Attributes:
        text: the visible answer, without thinking.
        thinking: the reasoning, without surrounding newlines.
        tool_calls: in the order in which the model wrote them.
        finish: why the model stopped; calls of a turn that ended in "length" or "abort" are
            never executed.
        usage: tokens of the request that gave this turn.
        problem: what was wrong with a call that could not be read; shown to the model.
    """

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: Finish = "stop"
    usage: Usage = Usage()
    problem: str = ""


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class ToolResult:
    """What a call gave: a value, or an error that the model can read.

    Attributes:
        source: where untrusted content is from; "" for what a tool of ours says.
        mark: the random word that the model sees around it.
    """

    call_id: str
    name: str
    text: str
    ok: bool = True
    source: str = ""
    mark: str = ""

    @property
    def told(self) -> str:
        r"""The text as the model reads it: between markers, where it is from outside.

        >>> ToolResult(call_id="a", name="now", text="noon").told
        'noon'
        >>> ToolResult(call_id="a", name="get", text="Buy!", source="get", mark="kqzwv").told
        '[data kqzwv get]\nBuy!\n[/kqzwv]'
        """
        return fenced(self.text, self.source, self.mark) if self.source else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A call that a person is asked about.

    Attributes:
        reason: why, where it is not the tool's own rule.
    """

    run_id: str
    call_id: str
    name: str
    arguments: JsonObject
    reason: str = ""


Decision: TypeAlias = bool | str
"""What a person says of a call: yes, no, or no and why."""


Message: TypeAlias = SystemMessage | UserMessage | ModelTurn | ToolResult
"""One entry of a transcript."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One entry of a plan: what is needed, and the tool that gets it ("" for none)."""

    need: str
    tool: str = ""


@dataclass(frozen=True, slots=True)
class PlanExample:
    """A task, and the steps of a good plan for it. Not a task that a benchmark asks."""

    task: str
    steps: tuple[PlanStep, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ToolSpec:
    """What a model is told about a tool.

    Attributes:
        name: matches `^[A-Za-z0-9_-]{1,64}$`.
        description: one short paragraph.
        parameters: JSON schema of the arguments, of type object.
        timeout_seconds: limit of one call; `None` leaves it to the policy of the run.
        examples: plans that use the tool; a small model is shown them when it plans.
        effect: what a call changes; decides whether one that failed on the way is repeated.
        approval: whether a person is asked first.
        untrusted: what it returns is from outside: anybody may have written it.
        composes: its results may be put together from what the model has written, as a program's
            are: where they are untrusted, no address in them counts as found.
        open_world: whether it reaches anything outside of the run. False makes a call harmless,
            whatever its effect; where nobody says, all but a pure one counts as reaching it.
        allowed: a person has said beforehand that it needs no approval, not even in a run that has
            read untrusted content.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    timeout_seconds: float | None = None
    examples: tuple[PlanExample, ...] = ()
    effect: Effect = "once"
    approval: Approval = "never"
    untrusted: bool = False
    composes: bool = False
    open_world: bool | None = None
    allowed: bool = False

    def needs_approval(self, arguments: JsonObject) -> bool:
        """Tell whether a person is asked before a call with these arguments."""
        if callable(self.approval):
            return bool(self.approval(arguments))
        return self.approval == "always"
