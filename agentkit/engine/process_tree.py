"""A tree of processes from which nobody escapes: for the scripts that own one.

Imported by scripts that are run by path, so that nothing but the standard library is needed.
Linux has the calls for it; elsewhere a process group has to do.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h, and so the next
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02
_SHARED_MEMORY = re.compile(r"^\S+ \S+ \S+ \S+ (\d+) +/dev/shm/", re.MULTILINE)


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


def shared_memory_of(session: int, since: float) -> set[str]:
    """Return the shared memory that the processes of a session have mapped and somebody made since.

    Servers that are killed leave it behind, until there is none for the next one: SGLang 0.5.23 does
    so even when it ends by itself.
    """
    mapped: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(process.name)) == session:
                text = (process / "maps").read_text(encoding="utf-8", errors="replace")
                mapped.update(map(int, _SHARED_MEMORY.findall(text)))
    return set(_named(mapped, since))


def remove_shared_memory(paths: Iterable[str]) -> None:
    """Remove what nobody uses any more."""
    for path in paths:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _named(inodes: set[int], since: float) -> Iterator[str]:
    """Yield where they are: a semaphore is mapped under another name than it gets."""
    for path in Path("/dev/shm").glob("*") if inodes else ():  # noqa: S108 - of the kernel
        with contextlib.suppress(OSError):
            found = path.stat()
            if found.st_ino in inodes and found.st_uid == os.getuid() and found.st_ctime >= since:
                yield str(path)


def _children() -> list[int]:
    found: list[int] = []
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text(encoding="ascii").split())
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
