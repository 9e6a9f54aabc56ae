"""Has a process of its own watch over us while servers run, see `guard_servers`."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from uuid import uuid4

import anyio
from anyio.abc import Process

from agentkit.mcp._launch import SESSION

_LEAVE_SECONDS = 2.0


@asynccontextmanager
async def guarded(*, wanted: bool) -> AsyncGenerator[str]:
    """Yield the mark of a session: what carries it ends with us, whatever ends us; on Linux."""
    mark = uuid4().hex
    process = await _start(mark) if wanted and sys.platform == "linux" else None
    try:
        yield mark
    finally:
        if process is not None:
            with anyio.CancelScope(shield=True):
                await _dismiss(process)


async def _start(mark: str) -> Process | None:
    spec = find_spec("agentkit.mcp.guard_servers")
    if spec is None or spec.origin is None:
        return None
    try:
        # Cancelled halfway, it would run and nobody know of it. Starting is bounded.
        with anyio.CancelScope(shield=True):
            return await anyio.open_process(
                [sys.executable, "-I", "-S", spec.origin, f"{SESSION}={mark}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={},
            )
    except OSError:  # no process can be started at all: the servers will say so
        return None


async def _dismiss(process: Process) -> None:
    """Let it look for what is left, and end."""
    if process.stdin is not None:
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    with anyio.move_on_after(_LEAVE_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
