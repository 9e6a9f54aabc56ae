"""Files of a container, by frames: nothing that it says of them is believed without a look.

No path of this machine is made from what comes out of there, and nothing is decoded but base64.
"""

import binascii
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import anyio

from agentkit.errors import ToolError
from agentkit.sandbox._artifacts import Listing, irregular, too_large, unreadable
from agentkit.sandbox._beneath import MOST_LISTED
from agentkit.sandbox._capture import clean
from agentkit.sandbox._frames import BadFrameError
from agentkit.sandbox._stubs import Channel

if TYPE_CHECKING:
    from agentkit.messages import JsonObject

PIECE_BYTES = 256 * 1024
"""Of a file that travels in one frame."""

PIECE_SECONDS = 3.0
"""Patience with a piece, which comes within milliseconds."""

READ_SECONDS = 60.0
"""Patience with a whole file."""

_NAME_BYTES = 255  # no file system has longer ones
_WHY_CHARS = 300
_LARGEST = 1 << 63


def listing_of(said: object) -> Listing:
    """Return the files that a container tells of; names that cannot be shown are left out.

    >>> listing_of([["a.csv", 3, 17000000000]])
    {'a.csv': (3, 17000000000)}

    Raises:
        BadFrameError: no worker of ours would have said that.
    """
    if not isinstance(said, list) or len(cast("list[object]", said)) > MOST_LISTED:
        raise BadFrameError("a listing that is none")
    found: Listing = {}
    for one in cast("list[object]", said):
        if not _is_entry(one):
            raise BadFrameError("a file that is none")
        name, size, changed = one
        if name.isprintable():  # another Python may know other characters
            found[name] = (size, changed)
    return found


def _is_entry(one: object) -> TypeGuard[tuple[str, int, int]]:
    parts = cast("list[Any]", one) if isinstance(one, list) else []
    fits = [type(part) for part in parts] == [str, int, int]
    return fits and _is_name(parts[0]) and 0 <= parts[1] < _LARGEST


def _is_name(name: str) -> bool:
    """Tell whether a file that lies directly in a folder, and is not hidden, may have the name."""
    size = len(name.encode("utf-8", "surrogatepass"))
    return 0 < size <= _NAME_BYTES and not name.startswith(".") and "/" not in name


async def read_from(channel: Channel, name: str, most: int) -> bytes:
    """Read a file of a container, piece by piece.

    Args:
        channel: to the container; nothing else is under way on it.
        name: relative to the session's folder.
        most: bytes that are read at most.

    Raises:
        ToolError: there is no such file, it is no regular file with one name, or it is too large.
        BadFrameError: the container answers something else, or does not answer, or is gone.
    """
    data = bytearray()
    with anyio.move_on_after(READ_SECONDS) as scope:
        while len(data) <= most:  # one byte more tells of a file that is too large
            wanted = min(PIECE_BYTES, most + 1 - len(data))
            piece = await _piece(channel, name, len(data), wanted)
            data += piece
            if len(piece) < wanted:
                break
    if scope.cancelled_caught:
        raise BadFrameError("an endless file")
    if len(data) > most:
        raise too_large(name, most)
    return bytes(data)


async def _piece(channel: Channel, name: str, start: int, most: int) -> bytes:
    answer: JsonObject | None = None
    # Not left half done by who is cancelled: the answer would be taken for that of the next cell.
    with anyio.move_on_after(PIECE_SECONDS, shield=True):
        await channel.send({"read": start, "name": name, "start": start, "most": most})
        answer = await channel.receive()
    await anyio.lowlevel.checkpoint_if_cancelled()
    if answer is None or answer.pop("read", None) != start or len(answer) != 1:
        raise BadFrameError("no piece of a file")
    if answer.get("irregular") is True:
        raise irregular(name)
    if isinstance(why := answer.get("error"), str):
        raise unreadable(name, clean(why[:_WHY_CHARS]))
    return _decoded(answer.get("data"), most)


def _decoded(text: object, most: int) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else None
    except ValueError as error:
        raise BadFrameError("a piece that is no base64") from error
    if data is None or len(data) > most:
        raise BadFrameError("a piece that was not asked for")
    return data


def lost(name: str) -> ToolError:
    """Return the error of a file whose container had to be ended, or has ended, on the way."""
    return ToolError(
        f"{name!r} cannot be read: the code interpreter did not answer as it should, and has ended."
    )
