"""Reads files that model-written code has made, without being led anywhere else.

The code owns the folder while we read: a name may be a link to a secret, a device or a pipe by
the time it is opened. So the kernel resolves it below the folder, and what was opened is looked
at before it is read. Nothing is decoded here.
"""

import ctypes
import errno
import os
import stat
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from agentkit.errors import ToolError

_OPENAT2 = 437  # on every architecture of Linux
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS | NO_SYMLINKS | BENEATH: linux/openat2.h
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW
_MOST_LISTED = 200
_DEPTH = 16

Listing: TypeAlias = "dict[str, tuple[int, int]]"
"""Size and time of change by name."""


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that a cell has made or changed.

    Attributes:
        name: below the session's folder; the code has chosen it.
        size: in bytes, when it was seen.
    """

    name: str
    size: int


def list_files(folder: int) -> Listing:
    """Return the regular files that lie directly in a folder; slow where there are very many."""
    found: Listing = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.isprintable():
                continue
            with suppress(OSError):  # gone meanwhile
                seen = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1:
                    found[entry.name] = (seen.st_size, seen.st_mtime_ns)
            if len(found) >= _MOST_LISTED:
                break
    return found


def made_since(before: Listing, now: Listing) -> tuple[MadeFile, ...]:
    """Return what is new or has changed, by name.

    >>> made_since({"a": (1, 5)}, {"a": (1, 5), "b": (2, 7)})
    (MadeFile(name='b', size=2),)
    """
    return tuple(
        MadeFile(name, now[name][0]) for name in sorted(now) if before.get(name) != now[name]
    )


def read_beneath(folder: int, name: str, most: int) -> bytes:
    """Read a regular file below an open folder; blocks.

    Args:
        folder: its descriptor.
        name: relative, without links on the way.
        most: bytes that are read at most.

    Raises:
        ToolError: there is no such file, it is no regular file with one name, or it is too large.
    """
    try:
        fd = _open_beneath(folder, name)
    except (OSError, ValueError) as error:
        raise ToolError(
            f"{name!r} cannot be read from the interpreter's folder: {error}."
        ) from error
    try:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1:
            raise ToolError(f"{name!r} is no regular file of its own: it is not read.")
        data = _read_all(fd, most + 1)  # it may grow while it is read
    finally:
        os.close(fd)
    if len(data) > most:
        raise ToolError(f"{name!r} is too large: more than {most} bytes.")
    return data


def _read_all(fd: int, most: int) -> bytes:
    data = bytearray()
    while len(data) < most and (piece := os.read(fd, most - len(data))):
        data += piece
    return bytes(data)


def _open_beneath(folder: int, name: str) -> int:
    if sys.platform == "linux":
        try:
            return _openat2(folder, name)
        except OSError as error:
            if error.errno not in {errno.ENOSYS, errno.EPERM}:  # an old kernel, or a strict filter
                raise
    return _step_by_step(folder, name)


def _openat2(folder: int, name: str) -> int:
    how = struct.pack("QQQ", _FLAGS, 0, _RESOLVE)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.argtypes = [
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    syscall.restype = ctypes.c_long
    if "\0" in name:
        raise ValueError("a name with a NUL")
    fd = syscall(_OPENAT2, folder, os.fsencode(name), how, len(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def _step_by_step(folder: int, name: str) -> int:
    """Open component by component, following no link at any of them."""
    parts = name.split("/")
    if len(parts) > _DEPTH or any(part in {"", ".", ".."} for part in parts):
        raise ValueError("not a plain relative name")
    here = os.dup(folder)
    try:
        for part in parts[:-1]:
            there = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = there
        return os.open(parts[-1], _FLAGS, dir_fd=here)
    finally:
        os.close(here)
