"""Frames on a stream of bytes: a 4-byte big-endian length and that many bytes of a JSON object.

Imports nothing of agentkit: it is sent into containers as it is.
"""

import json
import struct
from typing import Any, cast


class BadFrameError(Exception):
    """Somebody sends what is no frame."""


def pack(frame: dict[str, Any]) -> bytes:
    r"""Return a frame as bytes.

    >>> pack({"id": 1})
    b'\x00\x00\x00\t{"id": 1}'
    """
    body = json.dumps(frame).encode()
    return struct.pack(">I", len(body)) + body


def take_one(buffer: bytearray, limit: int) -> dict[str, Any] | None:
    """Take the first frame off the beginning of a buffer; `None` if it is not complete.

    Args:
        buffer: what has been received.
        limit: bytes of a frame that is believed.

    Raises:
        BadFrameError: it is too long, or not a JSON object.
    """
    if len(buffer) < 4:
        return None
    size = int(struct.unpack_from(">I", buffer)[0])
    if size > limit:
        raise BadFrameError(f"a frame of {size} bytes")
    if len(buffer) < 4 + size:
        return None
    body = bytes(buffer[4 : 4 + size])
    del buffer[: 4 + size]
    return _parse(body)


def take(buffer: bytearray, limit: int) -> list[dict[str, Any]]:
    """Take the complete frames off the beginning of a buffer.

    Args:
        buffer: what has been received.
        limit: bytes of a frame that is believed.

    Raises:
        BadFrameError: one is too long, or not a JSON object.
    """
    found: list[dict[str, Any]] = []
    while (frame := take_one(buffer, limit)) is not None:
        found.append(frame)
    return found


def _parse(body: bytes) -> dict[str, Any]:
    try:
        frame: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFrameError("a frame that is not JSON") from error
    if not isinstance(frame, dict):
        raise BadFrameError("a frame that is not an object")
    return cast("dict[str, Any]", frame)
