"""The levels of isolation, what each of them holds, and what it does not."""

from typing import Literal, TypeAlias

from agentkit.sandbox._report import SandboxReport

Level: TypeAlias = Literal["process", "confined", "namespaced"]
"""From the weakest to the strongest of those that need nothing but this machine.

process: a process tree of its own with limits. It holds accidents, not intent.
confined: as well, Landlock and seccomp: no file but its own, no network, no other process.
namespaced: as well, bubblewrap: nothing else is even there, and all of it ends with one kill.
"""

Isolation: TypeAlias = Literal["auto", "process", "confined", "namespaced", "vm", "monty"]
"""What can be asked for; "auto" is the strongest level that holds on this machine."""

LEVELS: tuple[Level, ...] = ("process", "confined", "namespaced")

_LIMITS = ("memory of each process", "size of files", "open files", "output", "time")
_WATCHED = (
    "total memory, processes and disk are looked at several times a second, not held by the kernel"
)
_SEEN = "names, sizes and times of other files can be seen"
_KERNEL = "faults of the kernel in what it still lets pass"
_CHANNELS = "side channels of the processor"
_CPU = "its share of the processor, beyond the time of a cell"


def report_of(level: Level, *, landlock: int, network: bool) -> SandboxReport:
    """Return what is said of a session at a level.

    Args:
        level: in force.
        landlock: version of its interface that the kernel has, 0 for none.
        network: whether the code was allowed the network.
    """
    open_network = ("the network was allowed",) if network else ()
    if level == "process":
        return SandboxReport(
            level=level,
            enforced=(*_LIMITS, "an environment without secrets", "one kill for the whole tree"),
            not_enforced=(
                "files of the user can be read and changed",
                "the network can be reached",
                "other processes of the user can be signalled and read",
                "shared memory may stay behind",
                _WATCHED,
                _KERNEL,
                _CHANNELS,
                _CPU,
            ),
        )
    held = ["files outside its folder", "system calls for more rights", *_LIMITS]
    held += [] if network else ["the network"]
    gaps = _gaps(landlock)
    if level == "confined":
        return SandboxReport(
            level=level,
            engine=f"Landlock ABI {landlock}, seccomp" if landlock else "Seatbelt (experimental)",
            enforced=tuple(held),
            not_enforced=(*open_network, *gaps, _SEEN, _WATCHED, _KERNEL, _CHANNELS, _CPU),
        )
    return SandboxReport(
        level=level,
        engine=f"bubblewrap, Landlock ABI {landlock}, seccomp",
        enforced=(*held, "processes, mounts, IPC and names of its own", "total size of its files"),
        not_enforced=(
            *open_network,
            "total memory is looked at several times a second, not held by the kernel",
            _KERNEL,
            _CHANNELS,
            _CPU,
        ),
    )


def _gaps(landlock: int) -> tuple[str, ...]:
    return ("signals to other processes of the user",) if landlock < 6 else ()
