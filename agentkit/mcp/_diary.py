"""The last words of a server, and its log file."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from anyio import to_thread

from agentkit.mcp._text import clean, one_line

_KEPT_LINES = 40
_KEPT_LINE_CHARS = 2000
_HELD_BYTES = 16_384  # of a line; more than is kept, so that no secret is cut before it is hidden
_FILE_BYTES = 1024 * 1024


def _as_it_is(text: str) -> str:
    return text


class Diary:
    """Keeps a bounded tail of what a server says beside the protocol; optionally in a file too.

    Args:
        path: a file for our eyes only, that is begun anew and never grows beyond 1 MiB.
        redact: takes the secrets out of a line.
    """

    def __init__(self, path: Path | None = None, redact: Callable[[str], str] = _as_it_is) -> None:
        self._path = path
        self._redact = redact
        self._room = _FILE_BYTES
        self._begun = path is None
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._open = b""

    async def begin(self) -> None:
        """Take away what the file holds of an earlier time; once, and before anything is added."""
        path, begun, self._begun = self._path, self._begun, True
        if path is not None and not begun:
            await to_thread.run_sync(self._clear, path)

    async def add(self, chunk: bytes) -> None:
        """Take the next bytes; the file gets whole lines, for half a secret would not be found."""
        *ended, rest = (self._open + chunk).split(b"\n")
        self._open = rest[:_HELD_BYTES]
        await self._take(ended)

    async def finish(self) -> None:
        """Take the line that was begun as it is: nothing more will come.

        Of a server that has said nothing, no file says otherwise.
        """
        await self.begin()
        rest, self._open = self._open, b""
        if rest:
            await self._take([rest])

    def note(self, line: bytes) -> None:
        """Take a line for the tail alone."""
        self._keep([self._fit(line)])

    def tail(self, lines: int = 5, limit: int = 600) -> str:
        """Return the last lines, cleaned and joined; empty if nothing was said."""
        every = [*self._lines, self._fit(self._open)] if self._open.strip() else [*self._lines]
        texts = [one_line(line) for line in every[-lines:]]
        return " | ".join(text for text in texts if text)[-limit:]

    async def _take(self, ended: Sequence[bytes]) -> None:
        lines = [self._fit(line) for line in ended]
        self._keep(lines)
        await self.begin()
        if lines and self._path is not None and self._room > 0:
            text = "".join(f"{line}\n" for line in lines)
            await to_thread.run_sync(self._write, self._path, text)

    def _keep(self, lines: Sequence[str]) -> None:
        self._lines.extend(line for line in lines if line.strip())

    def _fit(self, line: bytes) -> str:
        text = clean(line[:_HELD_BYTES].decode("utf-8", "replace"))
        return self._redact(text)[:_KEPT_LINE_CHARS]

    def _write(self, path: Path, text: str) -> None:
        data = text.encode()[: self._room]
        self._room -= len(data)
        try:
            # A server may say in clear what is secret in a way that we do not know.
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with open(file, "ab") as log:  # noqa: PTH123 - a descriptor has no path
                log.write(data)
        except OSError:  # a full disk must not end a server; the tail is still there
            self._room = 0

    def _clear(self, path: Path) -> None:
        try:
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.parent.chmod(0o700)  # it may be older than this care
            path.unlink(missing_ok=True)  # not emptied: a file of others would stay open to them
        except OSError:
            self._room = 0
