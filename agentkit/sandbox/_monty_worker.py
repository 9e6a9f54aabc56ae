"""The blocking end of a Monty session: one worker process, its state, and a copy to go back to.

A worker that was stopped, ran out of time or has filled its memory is not asked again: Monty
promises nothing about its heap then. What was there before the cell is put into a new one.
"""

import ast
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from agentkit.errors import ToolError
from agentkit.sandbox._capture import Capture

SAVED_BYTES = 16 << 20
"""Largest state that is copied before each cell; 0.1 s, where 25 KB take half a millisecond."""

INSTALL_HINT = 'Install the engine: pip install "qwen-agentkit[monty]"'

_MODULES = (
    "asyncio, base64, bisect, collections, copy, csv, dataclasses, datetime, decimal, functools, "
    "hashlib, itertools, json, math, random, re, sys, time, tomllib, typing, unicodedata"
)
_SUBSET = (
    "This engine (Monty) runs a part of Python: no yield, del, inheritance, properties, numpy or "
    f"pandas, and of the modules only {_MODULES}. The other engines run all of it."
)
_VALUE = "_agentkit_value"
_SHOW = "_agentkit_show"
# Names that a cell may take for itself, such as repr and len, are looked up before the first.
_PRELUDE = f"""
def {_SHOW}(value, show=repr, size=len):
    text = show(value)
    left_out = size(text) - 8000
    if left_out <= 0:
        return text
    return text[:4000] + f" [... {{left_out}} characters left out ...] " + text[-4000:]
"""
_FRAME = re.compile(r'^(?=  File ")', re.MULTILINE)
_CARETS = re.compile(r"^ *[~^]+\n", re.MULTILINE)


class Cell:
    """One cell: what goes in, and what is known of it afterwards."""

    def __init__(
        self, code: str, kept_bytes: int, output_bytes: int, end: Callable[[], None]
    ) -> None:
        self.code = code.encode("utf-8", "replace").decode()  # Monty takes no lone surrogates
        self.stdout = Capture(kept_bytes)
        self.stderr = Capture(kept_bytes // 3)
        self.end = end
        self._output_bytes = output_bytes
        self.value: str | None = None
        self.name = ""
        self.error = ""
        self.failure: ToolError | None = None
        self.stopped = False
        self.done = False
        self.overran = False
        self.flooded = False
        self.crash = ""
        self.went_back = False
        self.lost = False

    def take(self, stream: str, text: str) -> None:
        """Keep what it prints; too much ends its process."""
        (self.stderr if stream == "stderr" else self.stdout).add(text.encode("utf-8", "replace"))
        if self.stdout.total + self.stderr.total > self._output_bytes:
            self.error = f"Stopped: it printed more than {self._output_bytes} bytes."
            self.flooded = True
            self.end()  # an error raised here waits until the cell ends by itself
            raise OverflowError(self.error)


class Worker:
    """A pool of one process and its session; one thread at a time, but for `stop`."""

    def __init__(self, memory_bytes: int, longest_seconds: float) -> None:
        self._memory_bytes = memory_bytes
        self._longest_seconds = longest_seconds
        self._monty: Any = None
        self._pool: Any = None
        self._session: Any = None
        self._saved: bytes | None = b""  # nothing has run: nothing can be lost
        self._pid = 0

    def run(self, cell: Cell) -> None:
        """Run a cell; what became of it, and a start that failed, is found in the cell."""
        try:
            self._monty = import_module("pydantic_monty")
            self._open(cell)
            if not cell.stopped:
                self._evaluate(cell)
        except (ImportError, OSError, RuntimeError) as error:
            cell.failure = ToolError(f"Monty cannot be started: {error}.", hint=INSTALL_HINT)
        except self._monty.MontyCrashedError as error:
            cell.crash = "" if cell.stopped or cell.flooded else str(error)
            self._go_back(cell)
        finally:
            self._pid = 0

    def stop(self, cell: Cell) -> None:
        """End the cell by ending its process; from any thread, does not wait."""
        cell.stopped = True  # first: `run` looks at it after the process is known here
        if not cell.done:
            self.kill()

    def kill(self) -> None:
        """End the process, if it works on a cell."""
        if self._pid:
            with suppress(OSError):  # it has ended meanwhile
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def close(self) -> None:
        """End the process."""
        self._leave()
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    def _open(self, cell: Cell) -> None:
        """Have a session with the state of the cells before, and a copy of that state."""
        if self._pool is None:
            pool = self._monty.Monty(min_processes=1, max_processes=1, checkout_timeout=10)
            self._pool = pool.__enter__()
        if self._session is not None:
            self._save(cell)
        if self._session is None:
            self._session = self._check_out()
            self._pid = self._session.worker_pid or 0
            self._restore(cell)

    def _save(self, cell: Cell) -> None:
        """Copy the state, if it is small; a process that died since the last cell is noticed."""
        self._pid = self._session.worker_pid or 0
        try:
            # None marks a state that was too large; it is not looked at again.
            self._saved = None if self._saved is None else self._session.dump()
            if self._saved is not None and len(self._saved) > SAVED_BYTES:
                self._saved = None
        except self._monty.MontyCrashedError:
            if cell.stopped:
                raise
            self._leave()
            self._saved, cell.lost = b"", True

    def _check_out(self) -> Any:
        limits = {
            "max_memory": self._memory_bytes,
            "max_feed_duration_secs": self._longest_seconds,
            "max_suspensions": 1_000_000,
        }
        # A calculation need not sleep; the pool would do it in our thread, deaf to `stop`.
        session = self._pool.checkout(
            script_name="cell", limits=limits, os_policy={"sleep": "zero"}
        )
        return session.__enter__()

    def _restore(self, cell: Cell) -> None:
        if self._saved:
            try:
                self._session.load_session(self._saved)
            except self._monty.MontyRuntimeError:  # it does not read what it has written
                self._saved, cell.lost = b"", True
                self._leave()
                self._open(cell)
        else:
            self._session.feed_run(_PRELUDE)

    def _evaluate(self, cell: Cell) -> None:
        code, name, shows = split(cell.code)
        try:
            self._session.feed_run(code, print_callback=cell.take)
            if shows:
                source = f"None if {_VALUE} is None else {_SHOW}({_VALUE})"
                source = source.replace(_VALUE, name) if name else f"_ = {_VALUE}\n{source}"
                value = self._session.feed_run(source, print_callback=cell.take)
                cell.value, cell.name = (value if isinstance(value, str) else None), name
        except (self._monty.MontySyntaxError, self._monty.MontyRuntimeError) as error:
            self._note(cell, error)
        cell.done = True

    def _note(self, cell: Cell, error: Any) -> None:
        """Say what went wrong, and leave a session that cannot be trusted any more."""
        brief = str(error.display("type-msg"))
        cell.overran = brief.startswith("TimeoutError: feed time limit exceeded")
        if brief.rstrip(": ") != "SystemExit":
            cell.error = cell.error or explain(str(error.display()))
        if (
            cell.overran
            or cell.flooded
            or ("memory limit exceeded" in brief and not self._answers())
        ):
            self._go_back(cell)

    def _answers(self) -> bool:
        """Whether there is memory left to go on with."""
        try:
            self._session.feed_run(f"{_SHOW}([1, 2, 3])")
        except self._monty.MontyError:
            return False
        return True

    def _go_back(self, cell: Cell) -> None:
        """Leave this session; the next one begins with what was there before the cell."""
        self._leave()
        cell.went_back = True
        if self._saved is None:
            self._saved, cell.lost = b"", True

    def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(self._monty.MontyError):  # it is gone already
                session.__exit__(None, None, None)


def split(source: str) -> tuple[str, str, bool]:
    r"""Return code whose last value can be asked for, the variable that has it, and whether.

    >>> split("a = 1\na + 1")
    ('a = 1\n_agentkit_value = a + 1', '', True)
    >>> split("a = 1")
    ('a = 1', 'a', True)
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        last = (ast.parse(source).body or [None])[-1]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return f"{source}\nNone", "", False  # Monty says what is wrong, in its own words
    if isinstance(last, ast.Expr):
        lines = source.encode("utf-8", "replace").split(b"\n")
        before = b"\n".join([*lines[: last.lineno - 1], lines[last.lineno - 1][: last.col_offset]])
        shown = ast.get_source_segment(source, last) or "None"
        return f"{before.decode('utf-8', 'replace')}{_VALUE} = {shown}", "", True
    name = _assigned(last)
    return source, name, bool(name)


def _assigned(last: ast.stmt | None) -> str:
    """Return the variable that the last statement gives a value."""
    target: ast.expr | None = None
    if isinstance(last, ast.Assign) and len(last.targets) == 1:
        target = last.targets[0]
    elif isinstance(last, ast.AugAssign) or (isinstance(last, ast.AnnAssign) and last.value):
        target = last.target
    return target.id if isinstance(target, ast.Name) else ""


def explain(text: str) -> str:
    """Return a traceback as the other engines write it, and what this engine lacks."""
    first, *frames = _FRAME.split(_CARETS.sub("", text.replace(f"{_VALUE} = ", "") + "\n"))
    # Our own function shows in what a __repr__ raises; the exception stands after the last frame.
    frames = [
        frame if _SHOW not in frame else re.sub(r"^ .*\n", "", frame, flags=re.MULTILINE)
        for frame in frames
    ]
    if len(frames) > 6:  # a recursion has a thousand
        frames = [*frames[:3], *frames[-3:]]
    text = "".join([first.replace("Traceback (most recent call last):\n", ""), *frames]).rstrip()
    text = re.sub(r"<python-input-\d+>", "cell", text)
    if len(text) > 8_000:
        text = f"{text[:4_000]} [... {len(text) - 8_000} characters left out ...] {text[-4_000:]}"
    if "The monty syntax parser does not" in text or "ModuleNotFoundError" in text:
        return f"{text}\n{_SUBSET}"
    return text
