"""The last words of a server, and its log file."""

from collections import deque
from pathlib import Path

from anyio import to_thread

from agentkit.mcp._text import one_line

_KEPT_LINES = 40
_KEPT_LINE_BYTES = 2000
_FILE_BYTES = 1024 * 1024


class Diary:
    """Keeps a bounded tail of what a server says beside the protocol; optionally in a file too.

    Args:
        path: a file that is begun anew and never grows beyond 1 MiB.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._room = _FILE_BYTES
        self._lines: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._open = b""

    async def add(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self.note(chunk)
        if self._path is not None and self._room > 0:
            await to_thread.run_sync(self._write, self._path, chunk[: self._room])

    def note(self, chunk: bytes) -> None:
        """Take the next bytes, for the tail alone."""
        *ended, rest = (self._open + chunk).split(b"\n")
        self._lines.extend(line[:_KEPT_LINE_BYTES] for line in ended if line.strip())
        self._open = rest[:_KEPT_LINE_BYTES]

    def _write(self, path: Path, chunk: bytes) -> None:
        fresh = self._room == _FILE_BYTES
        self._room -= len(chunk)
        try:
            if fresh:
                path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb" if fresh else "ab") as file:
                file.write(chunk)
        except OSError:  # a full disk must not end a server; the tail is still there
            self._room = 0

    def tail(self, lines: int = 5, limit: int = 600) -> str:
        """Return the last lines, cleaned and joined; empty if nothing was said."""
        every = [*self._lines, self._open] if self._open.strip() else [*self._lines]
        texts = [one_line(line.decode("utf-8", "replace")) for line in every[-lines:]]
        return " | ".join(text for text in texts if text)[-limit:]
