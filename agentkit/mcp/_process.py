"""Ends a server with everything it has started."""

import os
import signal
import sys
from contextlib import suppress

import anyio
from anyio import to_thread
from anyio.abc import Process

from agentkit.mcp._launch import MARK
from agentkit.mcp.guard_servers import kill_marked

_KILLED_SECONDS = 1.0
"""Until what was killed is gone; longer, and it is stuck in the kernel."""

_POLL_SECONDS = 0.01
_LINUX = sys.platform == "linux"


async def stop_tree(process: Process, mark: str, grace_seconds: float) -> None:
    """End the process and its descendants; every wait is bounded.

    The order is the protocol's: its input ends, then SIGTERM, then SIGKILL, to the whole group.

    Args:
        process: leader of its own group.
        mark: value of the marking variable, which descendants in other sessions carry too.
        grace_seconds: between these.
    """
    if process.stdin is not None:
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    if not await _exited(process, grace_seconds):
        _signal_group(process, signal.SIGTERM)
        await _exited(process, grace_seconds)
    _signal_group(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    await _exited(process, _KILLED_SECONDS)
    if _LINUX:
        await to_thread.run_sync(kill_marked, f"{MARK}={mark}")


async def _exited(process: Process, seconds: float) -> bool:
    # Not process.wait(): it also waits for the pipes, which a grandchild may hold open.
    with anyio.move_on_after(seconds):
        while process.returncode is None:  # noqa: ASYNC110 - no event tells of an exit alone
            await anyio.sleep(_POLL_SECONDS)
    return process.returncode is not None


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.kill()


def describe_exit(code: int | None) -> str:
    """Return what became of a process, in words.

    >>> describe_exit(3), describe_exit(-9), describe_exit(None)
    ('exit code 3', 'killed by SIGKILL', 'still running')
    """
    if code is None:
        return "still running"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
