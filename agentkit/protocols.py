"""The seams: what the loop needs of a model, a tool and an observer, and nothing more."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from agentkit.errors import ToolError
from agentkit.events import Event
from agentkit.messages import (
    ApprovalRequest,
    Decision,
    JsonObject,
    Message,
    ModelTurn,
    ToolSpec,
)
from agentkit.policies import Thinking, Timeouts

ToolChoice: TypeAlias = Literal["auto", "required", "none"]
"""Whether a step may, must or must not call a tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """What the loop may know about a model.

    Attributes:
        name: as the server calls it.
        backend: "sglang", "vllm", "llamacpp", "openai" or "scripted".
        context_tokens: size of the context, if the server says.
        small: the model is too small to decide by itself when it is done; plan for it.
        schema_after_thought: a schema holds what follows a thought, so that both are possible.
    """

    name: str
    backend: str = "openai"
    context_tokens: int | None = None
    small: bool = False
    schema_after_thought: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One question to a model.

    Attributes:
        messages: the whole conversation; within a conversation it only grows.
        tools: in an order that never changes within a conversation.
        tool_choice: "none" keeps `tools` for the sake of the prefix, but asks for text.
        thinking: "auto" leaves it to the model's preset.
        schema: the answer's JSON schema, for a step that must give an object.
        max_tokens: limit of the completion.
        least_tokens: room for a completion without which the prompt counts as too long.
        thinking_tokens: limit of the thinking in it, where the server can hold it to one.
        timeouts: the clocks `connect`, `first_token`, `idle` and `model` apply.
        conversation_id: fixed-length id; keeps requests of a conversation on one cache.
        varied: another try at what failed, for which a small model is sampled as widely as its
            family; else it would write the same again.
        guided: the step must be one JSON object, a call or an answer, whatever the server's parser
            makes of calls otherwise.
    """

    messages: Sequence[Message]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    thinking: Thinking = "auto"
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    least_tokens: int = 64
    thinking_tokens: int | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    conversation_id: str = ""
    varied: bool = False
    guided: bool = False


class Emit(Protocol):
    """Called with each piece of a turn as it arrives."""

    def __call__(self, kind: Literal["thinking", "text", "notice"], text: str, /) -> None:
        """Take the next piece; never blocks.

        What it raises goes through the model and ends the request: the rest is not wanted.
        """
        ...


class Model(Protocol):
    """Something that answers a request."""

    @property
    def profile(self) -> ModelProfile:
        """What the loop may know about this model."""
        ...

    async def ask(self, request: ModelRequest, emit: Emit) -> ModelTurn:
        """Ask once, streaming pieces to `emit`; never repeats by itself.

        Cancelling the caller closes the connection, which aborts the request on the server; so
        does an `emit` that raises.

        Raises:
            ModelError: the request failed; `retryable` says whether to repeat it.
        """
        ...


async def _call_nothing(name: str, _arguments: JsonObject) -> str:
    raise ToolError(f"{name} cannot be called from here: there is no run, or this call is nested.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What a tool may know about the call it is doing; `current_call` has it.

    Attributes:
        run_id: of the run.
        call_id: of the call, as the model's turn has it.
        key: names the call for good: the same on each attempt, and in no other call.
        attempt: counts from 1.
        report: tells whoever watches how far the call is: how much is done, of how much in all
            (`None` where nobody knows), and in words. Never blocks.
        keep_file: keeps a file that the call has made, by the name it had, for whoever started the
            run, and returns its path; raises OSError. `None` where there is no place for it.
        tools: the other tools of the run, for a tool that calls some itself.
        call_tool: calls one of them with arguments, and returns its whole result (up to a million
            characters). The call is checked, asked about, limited, repeated and traced like one
            of the model, and counts as one; any number may go on at once. Raises a `ToolError`
            that says what the model would have read. A call made like this can make no others.
        attended: somebody can be asked during the run.
    """

    run_id: str
    call_id: str
    key: str
    attempt: int = 1
    report: Callable[[float, float | None, str], None] = lambda _done, _total, _text: None
    keep_file: Callable[[bytes, str], Awaitable[Path]] | None = None
    tools: tuple[ToolSpec, ...] = ()
    call_tool: Callable[[str, JsonObject], Awaitable[str]] = _call_nothing
    attended: bool = True


CURRENT_CALL: ContextVar[CallContext | None] = ContextVar("agentkit call", default=None)
"""The call that is being done, within a tool."""


def current_call() -> CallContext | None:
    """Return the call that is being done; `None` outside of a tool.

    A tool of effect "keyed" sends `key` along, so that a call which arrives twice counts once.
    """
    return CURRENT_CALL.get()


class Tool(Protocol):
    """Something the model can call."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        ...

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments as they will be used.

        Raises:
            ToolInputError: they do not fit; the message tells the model what to mend.
        """
        ...

    async def call(self, arguments: JsonObject) -> str:
        """Do the work; the text is what the model reads.

        Raises:
            ToolError: it could not be done; the model reads why.
        """
        ...


class ToolSource(Protocol):
    """Tools that come and go while a program goes on."""

    @property
    def version(self) -> int:
        """Another number once the tools, or what is missing, have changed."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools of the moment, in an order that is the same in each run."""
        ...

    @property
    def missing(self) -> str:
        """What a model should know is not there, in a few lines; empty if all is."""
        ...


@runtime_checkable
class SharedTool(Protocol):
    """A tool that holds something for as long as a runtime is open, beyond single runs."""

    def opened(self) -> AbstractAsyncContextManager[Tool]:
        """Return a context whose tool is used in this one's place; leaving it lets go of all."""
        ...


@runtime_checkable
class RunScopedTool(Protocol):
    """A tool with state of its own for each run (an interpreter, a browser)."""

    def for_run(self) -> "OpenTool":
        """Return a tool for one run; nothing is started before its first call."""
        ...


class OpenTool(Tool, Protocol):
    """A tool that holds something until it is closed."""

    async def aclose(self) -> None:
        """Let go of everything; never raises, safe to call twice, from any task."""
        ...


@runtime_checkable
class ToolCaller(Protocol):
    """A tool that calls others of its run, and tells the model which."""

    def beside(self, others: tuple[ToolSpec, ...]) -> Tool:
        """Return the tool as the model is told of it where these others are there, too."""
        ...


Approver: TypeAlias = Callable[[ApprovalRequest], Awaitable[Decision]]
"""Asks a person about a call."""


class Observer(Protocol):
    """Sees each event of each run, in order."""

    def observe(self, run_id: str, event: Event) -> None:
        """Take note; never blocks, never raises."""
        ...
