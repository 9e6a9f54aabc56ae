"""What became of the servers of a configuration."""

from dataclasses import dataclass
from typing import Literal

from agentkit.protocols import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What became of a server.

    Attributes:
        name: as in the configuration.
        status: "ready" offers its tools; "failed" does not, and says why; "disabled" is not wanted.
        error: the reason it failed.
        hint: how to mend that.
        tools: names of its tools, as the model sees them.
        seconds: from start to ready or failed.
        notes: tools that were left out or renamed, and why.
    """

    name: str
    status: Literal["ready", "failed", "disabled"]
    error: str = ""
    hint: str = ""
    tools: tuple[str, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServers:
    """The servers of a session.

    Attributes:
        tools: of all servers that are ready, in an order that is the same in each run.
        states: one for each server of the configuration, in its order.
    """

    tools: tuple[Tool, ...] = ()
    states: tuple[ServerState, ...] = ()
