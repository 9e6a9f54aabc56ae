"""How many threads an engine should use here."""

import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def count_cores() -> int:
    """Return the physical cores this process may use, a container's quota taken into account."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    usable = set[int](affinity(0)) if affinity else set(range(os.cpu_count() or 1))
    siblings = {_siblings(cpu) for cpu in usable}  # two threads on one core share its arithmetic
    return max(1, min(len(siblings), _quota() or len(siblings)))


def _siblings(cpu: int) -> str:
    try:
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    try:
        allowed, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, int(allowed) // int(period))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return None
