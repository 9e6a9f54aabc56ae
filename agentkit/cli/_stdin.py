"""What a command is given on stdin, as text."""

import sys

from agentkit.errors import InvalidTaskError


def is_typed() -> bool:
    """Tell whether somebody sits at stdin."""
    return is_open() and sys.stdin.isatty()


def is_open() -> bool:
    """Tell whether there is a stdin at all: `<&-` starts a program without one."""
    return sys.stdin is not None


def read_stdin(what: str) -> str:
    """Return all of stdin, whatever the locale says; empty if it is closed.

    Raises:
        InvalidTaskError: it is not UTF-8; `what` names it.
    """
    if not is_open():
        return ""
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidTaskError(
            f"{what} on stdin is not UTF-8: byte {error.start} (0x{data[error.start]:02x}, "
            f"line {line}) begins no character.",
            hint="Convert it first, for example: iconv -f latin1 -t utf-8 FILE | agentkit ...",
        ) from error
