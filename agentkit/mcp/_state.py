"""What became of the servers of a configuration."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from agentkit.messages import JsonObject
from agentkit.protocols import ToolSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What became of a server, as of now.

    Attributes:
        name: as in the configuration.
        status: "ready" offers its tools; "failed" does not, and says why; "disabled" is not wanted.
        error: the reason it failed.
        hint: how to mend that.
        tools: names of its tools, as the model sees them.
        names: the same by the server's own names.
        trial: a tool that needs no arguments and says that it only reads, if there is one.
        withheld: tools that wait for approval, by the server's own names: new ones, changed ones.
        seconds: from start to ready or failed.
        restarts: how often it was started again because it had ended by itself.
        schema_chars: length of what a model is told of its tools; about four are a token.
        protocol: the revision that is spoken with it, such as "2025-11-25".
        notes: tools that were left out or renamed, and why.
    """

    name: str
    status: Literal["ready", "failed", "disabled"]
    error: str = ""
    hint: str = ""
    tools: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    trial: str = ""
    withheld: tuple[str, ...] = ()
    seconds: float = 0.0
    restarts: int = 0
    schema_chars: int = 0
    protocol: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A tool that is not as it was approved.

    Attributes:
        name: the server's own.
        kind: "new", "changed" or "gone".
        before: its definition as it was approved; `None` for a new one.
        after: its definition now; `None` for one that is gone.
    """

    name: str
    kind: Literal["new", "changed", "gone"]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that a server lets read.

    Attributes:
        uri: what to read; of a template, with `{placeholders}`.
        size: in bytes, if the server says.
    """

    uri: str
    name: str = ""
    description: str = ""
    media_type: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A text that a server writes on demand.

    Attributes:
        arguments: names, each with whether it is required.
    """

    name: str
    description: str = ""
    arguments: Mapping[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a server asks a person while it works on a call.

    Attributes:
        server: who asks.
        message: what it wants to know; untrusted text.
        schema: JSON schema of the answer: an object of texts, numbers and choices.
        url: a page that the person is to visit instead; it is never opened by itself.
    """

    server: str
    message: str
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    url: str = ""


Answerer: TypeAlias = Callable[[Question], Awaitable[JsonObject | None]]
"""Answers a server's question; `None` declines. The call that it belongs to goes on waiting, within
its own limit."""


class McpServers(ToolSource, Protocol):
    """The servers of a session; what they offer may change while it goes on."""

    @property
    def states(self) -> Sequence[ServerState]:
        """One for each server of the configuration, in its order."""
        ...

    async def ping(self, name: str) -> float:
        """Return the seconds in which a server answers.

        Raises:
            ToolError: it does not.
        """
        ...

    async def review(self, name: str) -> Sequence[Difference]:
        """Return what of a server's tools is not as it was approved.

        Raises:
            ToolError: the server is not there.
        """
        ...

    async def approve(self, name: str) -> None:
        """Approve the tools of a server as they were reviewed last, or as they are now.

        Raises:
            ToolError: the server is not there.
            OSError: it cannot be written down.
        """
        ...

    async def resources(self, name: str) -> Sequence[Resource]:
        """Return what a server lets read, templates last.

        Raises:
            ToolError: the server is not there, or has none.
        """
        ...

    async def read(self, name: str, uri: str) -> str:
        """Return a resource as text.

        Raises:
            ToolError: the server is not there, or does not know it.
        """
        ...

    async def prompts(self, name: str) -> Sequence[Prompt]:
        """Return the prompts that a server writes.

        Raises:
            ToolError: the server is not there, or has none.
        """
        ...

    async def prompt(self, name: str, prompt: str, arguments: Mapping[str, str]) -> str:
        """Return a prompt, written with these arguments.

        Raises:
            ToolError: the server is not there, or does not write it.
        """
        ...
