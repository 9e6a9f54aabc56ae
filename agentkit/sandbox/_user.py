"""Becomes a user of its own where the host is root, and lets go of root's privileges."""

import ctypes
import os
import struct

import _kernel

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2  # linux/prctl.h
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4

CAP_DAC_READ_SEARCH = 2  # linux/capability.h
CAP_SETPCAP = 8
HEADER = struct.pack("<II", 0x20080522, 0)  # version 3 of the structure, this process


def drop_user(uid: int, *, keep_reading: bool) -> None:
    """Become the user and group `uid`, for good: no groups, no privileges, no way to get any.

    RLIMIT_NPROC, which does not hold root, holds from here on. The folder of the process has to
    be that user's before.

    Args:
        uid: not 0, and best of no other process: limits are counted by user.
        keep_reading: still read and enter what only root can, as where the interpreter lies
            below root's home. Confine the process then: nothing else bounds what it reads.

    Raises:
        OSError: a step failed; the process may be half way, and has to end.
        ValueError: `uid` is root's.
    """
    if uid <= 0:
        raise ValueError(f"{uid} is not a user to drop to: give a number above 0.")
    parent, death_signal = os.getppid(), _death_signal()
    kept = 1 << CAP_DAC_READ_SEARCH if keep_reading else 0
    _limit_to(kept)
    if kept:
        _kernel.prctl(PR_SET_KEEPCAPS, 1, step="keeping the right to read")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _set_capabilities(kept)
    if kept:  # ambient, so that a program that is started can read its libraries too
        _kernel.prctl(
            PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, step="keeping to read"
        )
    forbid_new_privileges()
    _restore(death_signal, parent)


def forbid_new_privileges() -> None:
    """Let no program that is started (sudo, ping) have more rights than this process."""
    _kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, step="no_new_privs")


def drop_capabilities() -> None:
    """Let go of root's privileges but that of reading, which Landlock bounds; the user stays.

    Raises:
        OSError: a step failed.
    """
    permitted = _permitted()
    kept = permitted & 1 << CAP_DAC_READ_SEARCH
    if permitted == kept:
        return
    if permitted & 1 << CAP_SETPCAP:  # who may not cannot get any back either: no_new_privs
        _limit_to(kept)
    _kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, step="dropping capabilities")
    _set_capabilities(kept)


def _permitted() -> int:
    data = ctypes.create_string_buffer(24)
    _kernel.call("capget", HEADER, data, step="reading capabilities")
    _, low, _, _, high, _ = struct.unpack("<6I", data.raw)
    return low | high << 32


def _set_capabilities(kept: int) -> None:
    data = struct.pack("<6I", kept, kept, kept, 0, 0, 0)  # no capability above 31 is kept
    _kernel.call("capset", HEADER, data, step="dropping capabilities")


def _limit_to(kept: int) -> None:
    """Take every capability but those kept out of what this process could ever get."""
    for capability in range(64):
        try:
            held = _kernel.prctl(PR_CAPBSET_READ, capability)
        except OSError:  # above the last one of this kernel
            return
        if held and not kept & 1 << capability:
            _kernel.prctl(PR_CAPBSET_DROP, capability, step="dropping capabilities")


def _death_signal() -> int:
    number = ctypes.c_int()
    _kernel.prctl(PR_GET_PDEATHSIG, ctypes.byref(number), step="reading the death signal")
    return number.value


def _restore(death_signal: int, parent: int) -> None:
    """Ask again to end with the parent: the kernel forgets it when the user changes."""
    if not death_signal:
        return
    _kernel.prctl(PR_SET_PDEATHSIG, death_signal, step="ending with the parent")
    if os.getppid() != parent:  # it ended while nobody would have told us
        os.kill(os.getpid(), death_signal)
