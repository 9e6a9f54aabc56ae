"""Where the lines of a conversation come from: a prompt with history, or a pipe."""

import os
import stat
import sys
from pathlib import Path
from typing import Protocol

import anyio

from agentkit.cli._stdin import is_open

COMMANDS = ("/help", "/tools", "/think", "/usage", "/save", "/quit")


class Lines(Protocol):
    """A source of lines."""

    is_prompt: bool

    async def read(self) -> str | None:
        """Return the next line; `None` at the end."""
        ...


def open_lines(state_dir: Path) -> Lines:
    """Return a prompt on a terminal, and the lines of stdin elsewhere."""
    if not is_open():
        return NoLines()
    if sys.stdin.isatty() and sys.stderr.isatty():
        return PromptLines(state_dir / "chat_history")
    return PipeLines(sys.stdin.fileno())


class PipeLines:
    """The lines of stdin; waiting for one can be cancelled."""

    is_prompt = False

    def __init__(self, file: int) -> None:
        self._file = file
        self._waits = not stat.S_ISREG(os.fstat(file).st_mode)  # a file is always ready
        self._held = b""
        self._over = False

    async def read(self) -> str | None:
        """Return the next line; `None` at the end."""
        while b"\n" not in self._held and not self._over:
            await self._wait()
            piece = os.read(self._file, 65_536)
            self._over = not piece
            self._held += piece
        if not self._held:
            return None
        line, _, self._held = self._held.partition(b"\n")
        return line.decode(errors="replace")

    async def _wait(self) -> None:
        if self._waits:
            try:
                await anyio.wait_readable(self._file)
            except PermissionError:  # epoll refuses /dev/null and what else is always ready
                self._waits = False


class NoLines:
    """A stdin that is closed."""

    is_prompt = False

    async def read(self) -> str | None:
        """Return nothing: this is the end."""
        return None


class PromptLines:
    """A prompt with history and completion; Ctrl-C clears the line, Ctrl-D ends."""

    is_prompt = True

    def __init__(self, history: Path) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.output import create_output

        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)) if _is_ours(history) else InMemoryHistory(),
            completer=WordCompleter(list(COMMANDS), sentence=True),
            complete_while_typing=False,
            output=create_output(stdout=sys.stderr),  # stdout is for answers
        )

    async def read(self) -> str | None:
        """Return the next line; `None` at the end."""
        while True:
            try:
                # Signals are heard elsewhere already; two listeners would unseat each other.
                return await self._session.prompt_async("> ", handle_sigint=False)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None


def _is_ours(history: Path) -> bool:
    """Make a history that only its owner can read."""
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        history.touch(mode=0o600)
    except OSError:  # a read-only home: then without history
        return False
    return True
