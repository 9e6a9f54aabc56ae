"""Splits what a server writes into lines without ever holding more than the limit."""

from collections.abc import Iterator
from dataclasses import dataclass

_KEPT_OF_OVERSIZED = 4096


@dataclass(frozen=True, slots=True)
class Oversized:
    """A line that was too long: its size, its first and its last bytes."""

    size: int
    head: bytes
    tail: bytes


class LineSplitter:
    r"""Collects chunks; linear in their size, whatever the length of a line.

    >>> splitter = LineSplitter(limit=5)
    >>> [*splitter.feed(b"one\ntw"), *splitter.feed(b"o\ntoo long\n")]
    [b'one', b'two', Oversized(size=8, head=b'too long', tail=b'too long')]
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._head = b""
        self._tail = b""

    @property
    def pending(self) -> int:
        """Bytes of the line that has not ended yet, kept or not."""
        return self._size

    def feed(self, chunk: bytes) -> Iterator[bytes | Oversized]:
        """Yield the lines that `chunk` completes, without their newlines."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._add(part)
            yield self._finish()
        if rest:
            self._add(rest)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._limit:
            self._parts.append(part)
            return
        if self._parts or not self._head:
            self._head = (b"".join(self._parts) + part)[:_KEPT_OF_OVERSIZED]
            self._tail = b"".join(self._parts)[-_KEPT_OF_OVERSIZED:]
            self._parts = []
        self._tail = (self._tail + part)[-_KEPT_OF_OVERSIZED:]

    def _finish(self) -> bytes | Oversized:
        size, parts, head, tail = self._size, self._parts, self._head, self._tail
        self._parts, self._size, self._head, self._tail = [], 0, b"", b""
        if size > self._limit:
            return Oversized(size, head, tail)
        return parts[0] if len(parts) == 1 else b"".join(parts)
