"""What `mcp_servers.json` says, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from agentkit.mcp._oauth_config import OAuthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One server: a command that is started, or a URL that is spoken to.

    What may hold a secret is left out of `repr`.

    Attributes:
        name: unique in its file.
        command: a program, found like a shell would, our own scripts first.
        args: its arguments; never a shell.
        env: variables on top of the harmless part of our own environment.
        cwd: folder it runs in; `None` is ours.
        url: address of a server that runs already, instead of a command.
        transport: how it is spoken to at `url`: "http", streamable HTTP, or "sse", the way of old
            servers; "" tries the first, and the second where a server refuses that.
        headers: sent with each request to `url`.
        oauth: how it is logged in to at `url`; `None` is no login.
        disabled: keep the entry, do not start it.
        required: without this server nothing starts at all.
        include: the only tools wanted, by the server's own names; empty means all.
        exclude: tools not wanted; wins over `include`.
        trusted: believe what it says of the effects of its tools, and take what they return for
            the word of a tool of ours: not for content from outside.
        approval: whether a person is asked before a call.
        approved: tools that need no approval, by the server's own names.
        prefix: always name the tools `server__tool`.
        connect_seconds: until its tools are known; `None` leaves it to the policy.
        call_seconds: limit of one call; `None` leaves it to the policy.
        idle_seconds: a server that nobody has called for so long is ended, and started again by the
            next call; `None` keeps it.
        close_seconds: for a server to leave by itself before it is made to; `None` is 1 s for a
            program, 5 s for an address.
        pins: which definitions of tools are trusted: those of the "first-use", and of changes what
            a person has approved; only what is "approved"; or "off", whatever it says.
        resources: whether the model may list and read its resources, by tools of their own.
        prompts: the same for its prompts.
        roots: folders that the server is told it is about, if it asks.
        max_memory_bytes: address space of the program and of what it starts, each; Linux.
        max_result_chars: longest text of a result; head and tail are kept. `None` leaves it to the
            run, which keeps the whole where the model can read on.
        max_message_bytes: a longer message is dropped and its call fails.
        problem: why this server cannot be used, found while reading; empty if nothing is wrong.
        hint: what to do about the problem.
        secrets: values that never appear in a message.
    """

    name: str
    command: str = field(default="", repr=False)
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: Path | None = None
    url: str = field(default="", repr=False)
    transport: Literal["", "http", "sse"] = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    oauth: OAuthConfig | None = None
    disabled: bool = False
    required: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    trusted: bool = False
    approval: Literal["never", "always"] = "never"
    approved: tuple[str, ...] = ()
    prefix: bool = False
    connect_seconds: float | None = None
    call_seconds: float | None = None
    idle_seconds: float | None = None
    close_seconds: float | None = None
    pins: Literal["first-use", "approved", "off"] = "first-use"
    resources: bool = False
    prompts: bool = False
    roots: tuple[Path, ...] = ()
    max_memory_bytes: int | None = None
    max_result_chars: int | None = None
    max_message_bytes: int = 8 * 1024 * 1024
    problem: str = ""
    hint: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def target(self) -> str:
        """What is started or spoken to, fit to be shown.

        >>> ServerConfig(name="a", url="https://me:pw@example.org/mcp?key=1").target
        'https://example.org/mcp'
        """
        if not self.url:
            return self.redact(" ".join((self.command, *self.args)))
        parts = urlsplit(self.url)
        return self.redact(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")

    @property
    def identity(self) -> str:
        r"""What makes it this server and no other: what is started and where, or the address.

        >>> here = ServerConfig(name="a", command="node", args=("server.js",), cwd=Path("/srv"))
        >>> here.identity
        'node server.js\n/srv'
        """
        if self.url or self.cwd is None:
            return self.target
        return f"{self.target}\n{self.redact(str(self.cwd))}"

    def redact(self, text: str) -> str:
        """Return `text` with every secret of this server replaced."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def wants(self, tool: str) -> bool:
        """Say whether the tool, by the server's own name, is to be offered."""
        return tool not in self.exclude and (not self.include or tool in self.include)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpConfig:
    """All servers of a file, in its order.

    Attributes:
        warnings: what was read but has no effect.
        path: where it was read; `None` if it was made by hand.
    """

    servers: tuple[ServerConfig, ...] = ()
    warnings: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """Servers that cannot be used, each with the reason."""
        return tuple((server.name, server.problem) for server in self.servers if server.problem)
