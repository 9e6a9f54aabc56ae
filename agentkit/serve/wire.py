"""Where a server meets its clients: stdin and stdout, or a loopback port."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from mcp.server.lowlevel import Server

from agentkit.serve._loopback import open_loopback
from agentkit.serve._stdio import open_stdio

Serve: TypeAlias = Callable[[Server[Any]], Awaitable[None]]
"""Serves until the client has gone, or it is cancelled."""


def open_wire(port: int | None, what: str) -> AbstractAsyncContextManager[Serve]:
    """Take stdin and stdout where there is no port; else the port, on 127.0.0.1 (0: a free one).

    In the block nothing else reads stdin or writes to stdout, so open it before anything that
    might. `what` is served, as a line on stderr says together with the address.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    return open_stdio() if port is None else open_loopback(port, what)
