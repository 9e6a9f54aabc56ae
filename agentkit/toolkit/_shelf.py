"""Results that are too long for a prompt: kept whole on disk, read piece by piece."""

import re
import shutil
import time
from contextlib import suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from uuid import uuid4

from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.toolkit._function import FunctionTool

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_FILES = "files"
_NAME_CHARS = 100
_MOST_CHARS = 20_000_000  # of one result
_KEPT_SECONDS = 14 * 24 * 3600.0
_HANDLE_CHARS = 8
_LONGEST_PAGE = 20_000


class Shelf:
    """The long results of one conversation, in a folder of its own."""

    def __init__(self, parent: Path, name: str) -> None:
        self._parent = parent
        self._name = name

    @property
    def _folder(self) -> Path:
        return self._parent / _UNSAFE.sub("_", self._name)

    @cached_property
    def tool(self) -> FunctionTool:
        """What reads them; made, and offered, once there is something to read."""
        return FunctionTool(self.read_result, effect="pure", open_world=False)

    async def keep(self, text: str) -> str:
        """Write a result and return its handle.

        Raises:
            OSError: it cannot be written.
        """
        return await to_thread.run_sync(self._write, text[:_MOST_CHARS])

    async def keep_file(self, data: bytes, name: str) -> Path:
        """Write a file that a tool has made, and return its path; earlier ones are left alone.

        Args:
            data: its content.
            name: as the tool calls it; a path in it does not count.

        Raises:
            OSError: it cannot be written.
        """
        return await to_thread.run_sync(self._write_file, data, name)

    async def read_result(self, handle: str, start: int = 0, length: int = 8_000) -> str:
        """Read on in a tool result that was too long to be shown whole.

        Args:
            handle: as the shortened result names it
            start: first character to read, from 0
            length: how many characters
        """
        length = max(1, min(length, _LONGEST_PAGE))
        text = await to_thread.run_sync(self._read, handle)
        start = max(0, start)
        if start >= len(text):
            raise ToolError(f"It has {len(text)} characters: start must be less.")
        end = min(len(text), start + length)
        return f"[characters {start} to {end} of {len(text)}]\n{text[start:end]}"

    def _begin(self) -> None:
        if not self._folder.is_dir():
            self._parent.mkdir(parents=True, exist_ok=True)
            _tidy_up(self._parent)
            self._folder.mkdir(mode=0o700)

    def _write_file(self, data: bytes, name: str) -> Path:
        self._begin()
        folder = self._folder / _FILES
        folder.mkdir(mode=0o700, exist_ok=True)
        given = Path(_UNSAFE_NAME.sub("_", Path(name).name)[-_NAME_CHARS:].lstrip(".") or "file")
        for number in count(1):
            path = folder / (f"{given.stem}-{number}{given.suffix}" if number > 1 else given.name)
            with suppress(FileExistsError), path.open("xb") as file:
                path.chmod(0o600)
                file.write(data)
                return path
        raise AssertionError("counting does not end")

    def _write(self, text: str) -> str:
        self._begin()
        handle = uuid4().hex[:_HANDLE_CHARS]
        path = self._folder / handle
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        return handle

    def _read(self, handle: str) -> str:
        known = [
            path
            for path in self._folder.glob("*")
            if path.name == handle.strip() and path.is_file()
        ]
        if not known:
            raise ToolError(f"There is no result {handle!r}.")
        return known[0].read_text(encoding="utf-8", errors="replace")


def _tidy_up(folder: Path) -> None:
    """Remove what nobody has written to for long."""
    for old in folder.iterdir():
        try:
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        except OSError:  # somebody else was quicker
            continue
