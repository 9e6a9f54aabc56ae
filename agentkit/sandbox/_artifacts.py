"""Files that model-written code has made: what is told of them, and how they are read."""

from dataclasses import dataclass
from typing import TypeAlias

from agentkit.errors import ToolError
from agentkit.sandbox._beneath import IrregularFileError, read_regular

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
        data = read_regular(folder, name, 0, most + 1)  # it may grow while it is read
    except IrregularFileError as error:
        raise irregular(name) from error
    except (OSError, ValueError) as error:
        raise unreadable(name, str(error)) from error
    if len(data) > most:
        raise too_large(name, most)
    return data


def unreadable(name: str, why: str) -> ToolError:
    """Return the error of a file that is not there, or cannot be opened."""
    return ToolError(f"{name!r} cannot be read from the interpreter's folder: {why}.")


def irregular(name: str) -> ToolError:
    """Return the error of a link, a pipe, a folder, a device."""
    return ToolError(f"{name!r} is no regular file of its own: it is not read.")


def too_large(name: str, most: int) -> ToolError:
    """Return the error of a file of more than `most` bytes."""
    return ToolError(f"{name!r} is too large: more than {most} bytes.")
