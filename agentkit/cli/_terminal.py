"""The terminal: stdout for answers, stderr for everything else, and nothing harmful on either."""

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

from agentkit.cli._exit import Exit, exit_of_error
from agentkit.errors import AgentkitError

if TYPE_CHECKING:
    from rich.console import Console


_PIPE_WIDTH = 400


def is_plain() -> bool:
    """Return whether stderr gets bare lines: it is no terminal, or colour is not wanted."""
    return _unstyled() or sys.stderr is None or not sys.stderr.isatty()


def _unstyled() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def stderr_console() -> "Console":
    """Return a console for everything that is not the answer."""
    from rich.console import Console

    colours = None if is_plain() else "auto"  # None sends no bold either
    return Console(stderr=True, highlight=False, soft_wrap=is_plain(), color_system=colours)


def stdout_console() -> "Console":
    """Return a console for tables and trees that were asked for."""
    from rich.console import Console

    # In a pipe nothing is cut: whoever reads it has lines of any length.
    stdout = _Stdout()
    width = None if stdout.isatty() else _PIPE_WIDTH
    colours = None if _unstyled() else "auto"
    console = Console(
        file=cast("IO[str]", stdout), highlight=False, width=width, color_system=colours
    )
    console.on_broken_pipe = (
        _raise_broken_pipe  # rich itself would leave the program, out of a task
    )
    return console


def _raise_broken_pipe() -> NoReturn:
    raise BrokenPipeError


def say(text: str = "", *, end: str = "\n") -> None:
    """Write to stdout, where the answer goes; a terminal is spared control characters."""
    from agentkit.trace.words import printable

    stdout = _Stdout()
    safe = printable(text) if stdout.isatty() else text
    encoding = stdout.encoding or "utf-8"
    stdout.write(safe.encode(encoding, "replace").decode(encoding) + end)
    stdout.flush()


class _StdoutError(Exception):
    """Stdout does not take what is written: it is closed, or its disk is full."""


class _Stdout:
    """Stdout as it is now; a write that fails says that it was one.

    Raises:
        _StdoutError: it is closed.
    """

    def __init__(self) -> None:
        if sys.stdout is None:  # `>&-` starts a program without one
            raise _StdoutError("it is closed")
        self._stream = sys.stdout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _blaming_stdout():
            return self._stream.write(text)

    def flush(self) -> None:
        with _blaming_stdout():
            self._stream.flush()


@contextmanager
def _blaming_stdout() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:  # whoever reads has had enough, which is no trouble
        raise
    except OSError as error:
        raise _StdoutError(error.strerror or str(error)) from error


def say_apart(text: str) -> None:
    """Write an answer to stdout, with air around it where a person sees it among other lines."""
    among_lines = sys.stdout.isatty() and not is_plain()
    if among_lines:
        note("")
    say(text)
    if among_lines:
        note("")


def note(text: str) -> None:
    """Write a line to stderr; to nobody where it is closed."""
    from agentkit.trace.words import printable

    if sys.stderr is None:
        return
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(printable(text).encode(encoding, "replace").decode(encoding) + "\n")
    sys.stderr.flush()


def report(error: BaseException, *, where: str = "") -> None:
    """Say what went wrong, where, and how to mend it, in three lines at most."""
    what = " ".join(str(error).split()) or type(error).__name__
    note(f"✗ {what}")
    if where:
        note(f"  Where: {where}")
    hint = getattr(error, "hint", "")
    if hint:
        note(f"  Fix: {' '.join(hint.split())}")


def tell_json(error: BaseException) -> None:
    """Write an error as the one JSON document of a command that promised one."""
    from agentkit.cli._outcome import as_error, print_json

    print_json({"error": as_error(error)})


def tell_nobody(_error: BaseException) -> None:
    """Leave stdout empty: a person reads stderr."""


def tell_if(as_json: bool) -> Callable[[BaseException], None]:
    """Return who tells of an error: a program where it asked for JSON."""
    return tell_json if as_json else tell_nobody


@contextmanager
def ending(
    *, verbose: bool = False, tell: Callable[[BaseException], None] = tell_nobody
) -> Generator[None]:
    """Turn an error that leaves a command into a message and an exit code; `tell` programs.

    Raises:
        SystemExit: the code.
    """
    try:
        yield
    except BrokenPipeError:
        silence_stdout()
        raise SystemExit(Exit.PIPE.value) from None
    except _StdoutError as error:
        silence_stdout()
        note(f"✗ Nothing can be written to stdout: {error}.")
        raise SystemExit(Exit.PIPE.value) from error
    except KeyboardInterrupt:
        note("✗ Interrupted.")
        raise SystemExit(Exit.INTERRUPTED.value) from None
    except AgentkitError as error:
        if verbose:
            _traceback()
        tell(error)
        report(error)
        raise SystemExit(exit_of_error(error).value) from error
    except Exception as error:
        if verbose:
            _traceback()
        tell(error)
        report(error, where=_place(error))
        note("  This is a bug in agentkit. Run again with --verbose for the traceback.")
        raise SystemExit(Exit.BUG.value) from error


def silence_stdout() -> None:
    """Make sure that nothing more is written to a pipe that nobody reads."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _traceback() -> None:
    import traceback

    note(traceback.format_exc())


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_qualname}, line {trace.tb_lineno}"
