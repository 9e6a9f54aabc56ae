"""Bounds which files and ports a process reaches, by Landlock: for good, and for its children.

What Landlock does not know, it does not bound: looking at files by name (`stat`), their modes,
owners and times, and sockets in the file system. The filter of system calls has to.
"""

import os
import stat
import struct
from collections.abc import Sequence

import _kernel

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << n for n in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (
    1 << n for n in range(6, 13)
)
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15  # from versions 2, 3 and 5
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1  # from version 4
ABSTRACT_UNIX_SOCKET, SIGNAL = 1 << 0, 1 << 1  # from version 6

READING = EXECUTE | READ_FILE | READ_DIR
WRITING = (
    READING
    | WRITE_FILE
    | TRUNCATE
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SYM
    | MAKE_FIFO
    | MAKE_SOCK
    | REFER
)
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
"""The kernel refuses a rule for a file that grants what only a folder can have."""

RULE_PATH_BENEATH = 1

O_PATH = getattr(os, "O_PATH", 0)  # Linux alone has it, and alone needs it


def handled_files(version: int) -> int:
    """Return all rights to files that this version knows; what is not granted is denied."""
    rights = (MAKE_SYM << 1) - 1
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        if version >= since:
            rights |= right
    return rights


def restrict(version: int, read: Sequence[str], write: Sequence[str], *, network: bool) -> None:
    """Leave this process and its children only these files, and no TCP unless `network`.

    Args:
        version: of the kernel's interface, at least 1.
        read: files and folders to read and execute; those that cannot be reached are left out.
        write: the same, to be changed as well. Device files are made nowhere.
        network: leave TCP as it is.

    Raises:
        OSError: a step failed, which its message names. no_new_privs has to be set before.
    """
    handled = handled_files(version)
    attributes = struct.pack(
        "<QQQ",
        handled,
        0 if network else BIND_TCP | CONNECT_TCP,
        ABSTRACT_UNIX_SOCKET | SIGNAL,
    )
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _kernel.call(
        "landlock_create_ruleset", attributes, size, None, step="Landlock: making the rules"
    )
    try:
        for paths, rights in ((read, READING), (write, WRITING)):
            for path in paths:
                _allow(rules, path, rights & handled)
        _kernel.call("landlock_restrict_self", rules, None, step="Landlock: applying the rules")
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # nothing to allow: it is not there, or not for this user
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= OF_FILES
        _kernel.call(
            "landlock_add_rule",
            rules,
            RULE_PATH_BENEATH,
            struct.pack("<Qi", rights, fd),
            None,
            step=f"Landlock: allowing {path}",
        )
    finally:
        os.close(fd)
