"""A tree of processes from which nobody escapes: for the scripts that own one.

Imported by scripts that are run by path, so that nothing but the standard library is needed.
Linux has the calls for it; elsewhere a process group has to do.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h, and so the next
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process with its parent, also across an exec; at once if it is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # the parent died before the line above


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent dies, instead of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_all(group: int | None, seconds: float = 10.0) -> None:
    """Kill a process group and every child of this process, adopted ones too; wait for their end.

    A process that hangs in a driver cannot be waited for: after `seconds` it is left to the kernel.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_POLL_SECONDS)


def _children() -> list[int]:
    found: list[int] = []
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text(encoding="ascii").split())
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
