"""One client, on stdin and stdout."""

import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, redirect_stdout, suppress
from typing import Any, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from agentkit.serve._groups import bare

LINE_BYTES = 16 << 20
"""Longest message on stdin; a client that sends more is cut off."""


@asynccontextmanager
async def open_stdio() -> AsyncGenerator[Callable[[Server[Any]], Awaitable[None]]]:
    """Take stdin and stdout for messages alone, and give what serves one client there.

    A client that no longer reads has gone, as one has that ended its input.
    """
    try:
        with bare():
            async with _own_stdin() as lines, stdio_server(stdin=lines) as (read, write):

                async def serve(server: Server[Any]) -> None:
                    await server.run(read, write, server.create_initialization_options())

                with _own_stdout():
                    yield serve
    except (BrokenPipeError, ConnectionResetError):
        return


@contextmanager
def _own_stdout() -> Generator[None]:
    """Let what is printed go to stderr, where fd 1 leads while the SDK has the real one."""
    before = sys.stdout
    with redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            before.flush()  # of somebody who has kept it; later it would end up among messages


@asynccontextmanager
async def _own_stdin() -> AsyncGenerator[anyio.AsyncFile[str]]:
    """Take stdin for messages alone: whoever else reads fd 0 meanwhile gets the end of the file.

    The SDK's own reader sits in a thread that no cancellation reaches, so that a signal would
    only be obeyed after the next message.
    """
    private = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        yield cast("anyio.AsyncFile[str]", _Lines(private))
    finally:
        os.dup2(private, 0)
        os.close(private)


class _Lines:
    """Lines of a file descriptor; waiting for one can be cancelled."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __aiter__(self) -> AsyncIterator[str]:
        pending = bytearray()
        while data := await self._read():
            # Look for the end of the line in the new part only: a long line comes in many.
            head, newline, rest = data.rpartition(b"\n")
            pending += head if newline else data
            if newline:
                for line in pending.split(b"\n"):
                    yield line.decode("utf-8", "replace")
                pending = bytearray(rest)
            elif len(pending) > LINE_BYTES:
                return

    async def _read(self) -> bytes:
        with suppress(PermissionError):  # a plain file is always readable, and epoll refuses it
            await anyio.wait_readable(self._fd)
        return os.read(self._fd, 1 << 16)
