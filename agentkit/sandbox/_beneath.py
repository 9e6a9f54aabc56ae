"""Finds and reads files that model-written code has made, without being led anywhere else.

The code owns the folder while we read: a name may be a link to a secret, a device or a pipe by
the time it is opened. So the kernel resolves it below the folder, and what was opened is looked
at before it is read. Nothing is decoded here.

Imports nothing of agentkit: it is sent into containers as it is.
"""

import ctypes
import errno
import os
import stat
import struct
import sys
from contextlib import suppress
from itertools import islice

MOST_LISTED = 200
"""Files that are told."""

_MOST_LOOKED_AT = 20_000
_OPENAT2 = 437  # on every architecture of Linux
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS | NO_SYMLINKS | BENEATH: linux/openat2.h
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW
_DEPTH = 16


class IrregularFileError(Exception):
    """It is no regular file with one name."""


def list_files(folder: int) -> dict[str, tuple[int, int]]:
    """Return size and time of change, in nanoseconds, of the regular files directly in a folder.

    Of those whose names can be shown the first 200 are told, out of the first 20,000 entries.
    """
    found: dict[str, tuple[int, int]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _MOST_LOOKED_AT):
            if entry.name.startswith(".") or not entry.name.isprintable():
                continue
            with suppress(OSError):  # gone meanwhile
                seen = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1:
                    found[entry.name] = (seen.st_size, seen.st_mtime_ns)
            if len(found) >= MOST_LISTED:
                break
    return found


def read_regular(folder: int, name: str, start: int, most: int) -> bytes:
    """Read a piece of a regular file below an open folder; blocks for the disk.

    Args:
        folder: its descriptor.
        name: relative, without links on the way.
        start: byte at which the piece begins.
        most: bytes that are read at most; fewer are the end of the file.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no name of a file below the folder.
        IrregularFileError: it is no regular file with one name.
    """
    fd = _open_beneath(folder, name)
    try:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1:
            raise IrregularFileError(name)
        return _read_all(fd, start, most)
    finally:
        os.close(fd)


def _read_all(fd: int, start: int, most: int) -> bytes:
    data = bytearray()
    while len(data) < most and (piece := os.pread(fd, most - len(data), start + len(data))):
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
            # Not O_DIRECTORY: with it, gVisor follows a link in spite of O_NOFOLLOW.
            there = os.open(part, _FLAGS, dir_fd=here)
            os.close(here)
            here = there
        return os.open(parts[-1], _FLAGS, dir_fd=here)
    finally:
        os.close(here)
