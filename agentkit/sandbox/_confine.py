"""Confines this process to a few folders and the calls a calculation needs: Linux, without root.

Runs in the process that is about to run model-written code, which has one thread and is the
worker's own. Nothing is undone. `process` isolation goes before: limits, environment, files.

What stays open is said in the report, never left out: a level that is not reached in full is
worth knowing.
"""
# ruff: noqa: PTH208 - pathlib would double the start

import errno
import os
from collections.abc import Sequence

import _kernel
import _landlock
import _seccomp
import _user
from _kernel import available
from _readable import readable_paths
from _user import drop_user

__all__ = ["available", "confine", "drop_user", "readable_paths"]

DEVICES = ("/dev/null", "/dev/zero")

ENFORCED = (
    "files are read below the given folders only",
    "files are made, changed and removed below the given folders only",
    "no new privileges, namespaces or mounts",
    "no tracing and no memory of other processes",
    "no session or process group of its own",
    "nothing kept in the kernel: System V IPC, message queues, keys, memory files",
    "no sockets in the file system, raw sockets or netlink",
    "no terminal input, no change of clock, host name or kernel",
)

NOT_ENFORCED = (
    "names, sizes and times of files outside can be seen",
    "times of files outside that belong to this user can be set",
    "faults of the kernel and of the processor",
)


def confine(
    *,
    read: Sequence[str],
    write: Sequence[str],
    network: bool = False,
    protect: Sequence[int] = (),
    own_user: bool = False,
) -> dict[str, object]:
    """Confine this process and all that it starts, for good.

    Root's capabilities go too, but that of reading, so that RLIMITs hold (RLIMIT_NPROC holds
    no root all the same: `drop_user` before). `/dev/null` and `/dev/zero` can be written.

    Args:
        read: files and folders to read and execute, as of `readable_paths`; what does not exist
            is left out.
        write: folders to change as well, of no device files.
        network: allow TCP and UDP.
        protect: processes to which no signal is sent, as the host: for kernels whose Landlock
            does not bound signals.
        own_user: this user owns no file outside. Else a change of a file's mode is answered as
            done and not made, for it could not be bound to the folders.

    Returns:
        `landlock` (its version), `seccomp` (True), `enforced` and `not_enforced` (sentences).

    Raises:
        OSError: a step, named in the message, failed. The process may be confined in part: it
            has to end.
    """
    version = _require()
    _require_one_thread()
    _user.forbid_new_privileges()
    _user.drop_capabilities()
    _landlock.restrict(version, read, [*write, *DEVICES], network=network)
    _seccomp.install(network=network, protect=protect, own_user=own_user, landlock=version)
    enforced, not_enforced = _say(version, network=network, own_user=own_user)
    return {
        "landlock": version,
        "seccomp": True,
        "enforced": enforced,
        "not_enforced": not_enforced,
    }


def _require() -> int:
    """Return Landlock's version; refuse, before anything is applied, where a part is missing."""
    if _kernel.audit_machine() is None:
        raise OSError(errno.ENOSYS, f"seccomp: not known on this machine ({os.uname().machine})")
    if not _kernel.available()["seccomp"]:
        raise OSError(errno.ENOSYS, "seccomp: this kernel has none")
    version = _kernel.landlock_version()
    if not version:
        raise OSError(errno.ENOSYS, "Landlock: this kernel has none, or has it switched off")
    return version


def _require_one_thread() -> None:
    """Refuse to confine one of several threads: Landlock holds the calling one alone."""
    try:
        threads = os.listdir("/proc/self/task")
    except OSError:  # no /proc here: the caller has promised
        return
    if len(threads) != 1:
        raise OSError(errno.EBUSY, f"Landlock: {len(threads)} threads run, and it holds only one")


def _say(version: int, *, network: bool, own_user: bool) -> tuple[list[str], list[str]]:
    """Return what is enforced, and what is not."""
    judged = [
        (version >= 3, "files that can be read are not truncated", 3),
        (version >= 5, "no commands to devices", 5),
        (version >= 6, "no signals to processes outside", 6),
    ]
    enforced: list[str] = [*ENFORCED]
    not_enforced: list[str] = [*NOT_ENFORCED]
    for held, sentence, since in judged:
        if held:
            enforced.append(sentence)
        else:
            not_enforced.append(f"{sentence} (needs Landlock {since}, this kernel has {version})")
    if network:
        not_enforced.append("TCP and UDP are allowed, to this machine and its network as well")
    else:
        enforced.append("no network")
    if not own_user:
        enforced.append("modes of files do not change")
    if os.geteuid() == 0:
        not_enforced.append("the number of processes: limits of a user do not hold root")
    return enforced, not_enforced
