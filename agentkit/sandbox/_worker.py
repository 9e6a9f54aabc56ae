"""Runs cells inside the child process: read a frame, run the code, answer with a frame.

Lives in the process that runs model-written code, so it imports nothing of agentkit, and puts
back after each cell what a cell replaces by accident; on purpose it can only end itself. A frame is a 4-byte big-endian length and that
many bytes of JSON: `{"id", "code"}` in, `{"id", "value", "name", "error"}` out. Between them,
frames of calls go both ways if the cell may call tools: see `_tool_stubs.py`. `{"warm"}` loads
modules before anybody waits for them.
"""

from __future__ import annotations

import _ast
import builtins
import contextlib
import fcntl
import io
import json
import linecache
import os
import resource
import signal
import site
import struct
import sys
import types
import warnings

TYPE_CHECKING = False  # the module that defines it would cost a start 3 ms
if TYPE_CHECKING:
    from traceback import FrameSummary
    from typing import Any, NoReturn

TEXT_CHARS = 8_000
"""Longest value or error that is sent; the middle is left out."""

HIDDEN_FD = 200
"""Files of the worker itself live from here on, so that a cell's own start at 3."""

CANNOT_START = 70
"""Exit code of a worker that could not be held as it should be; its stderr says why."""

MOST_PLOTS = 10
"""Figures of one cell that are saved."""

_ONLY_AST = 0x400  # `ast.PyCF_ONLY_AST`: the module `ast` would cost a start 2 ms

_PATHS = tuple(sys.path)  # of the standard library alone, and of this file

_PLACE = ("lineno", "col_offset", "end_lineno", "end_col_offset")

INT_DIGITS = 100_000
"""Digits of an integer that may be printed; converting more takes long."""


class Worker:
    """The namespace of one session, and the channel to the host."""

    def __init__(self, control: int, stdout: int, stderr: int) -> None:
        self._control = control
        self._saved = {1: stdout, 2: stderr}
        self._streams: dict[int, io.TextIOWrapper] = {}
        self._main = types.ModuleType("__main__")
        self._builtins: dict[str, Any] = builtins.__dict__
        self._builtins_at_start = self._builtins.copy()
        self._cells = 0
        self._running = False
        self._calls = _tool_calls(self._send, self._receive)

    def serve(self) -> None:
        """Run cells until the host closes the channel."""
        sys.modules["__main__"] = self._main
        self._main.__dict__["__builtins__"] = builtins
        self._mend()
        while (frame := self._receive()) is not None:
            self._calls.begin(frame, self._main.__dict__)
            answer = self._execute(str(frame["code"])) if "code" in frame else warm(frame["warm"])
            self._calls.end()
            self._mend()
            self._send({"id": frame["id"], **answer})
            self._calls.wait()
            _load_explanations()

    def _receive(self) -> dict[str, Any] | None:
        header = self._exactly(4)
        body = self._exactly(struct.unpack(">I", header)[0]) if header else b""
        return json.loads(body) if body else None

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = os.read(self._control, count - len(data))
            if not piece:
                return b""
            data += piece
        return bytes(data)

    def _send(self, frame: dict[str, Any]) -> None:
        body = json.dumps(frame).encode()
        rest = memoryview(struct.pack(">I", len(body)) + body)
        while rest:
            rest = rest[os.write(self._control, rest) :]

    def _mend(self) -> None:
        """Put back what a cell may have closed or replaced: builtins, output, the interrupt."""
        self._builtins.update(self._builtins_at_start)
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
            stream = self._streams.get(fd)
            if stream is None or stream.closed:
                raw = open(fd, "wb", buffering=8192, closefd=False)  # noqa: SIM115 - kept open
                self._streams[fd] = io.TextIOWrapper(
                    raw, encoding="utf-8", errors="backslashreplace", line_buffering=True
                )
        sys.stdout = sys.__stdout__ = self._streams[1]
        sys.stderr = sys.__stderr__ = self._streams[2]
        signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, _signal: int, _frame: object) -> None:
        if self._running:  # else the cell ended while the signal was on its way
            raise KeyboardInterrupt

    def _execute(self, source: str) -> dict[str, str | None]:
        answer: dict[str, str | None] = {"value": None, "name": None, "error": None}
        self._cells += 1
        filename = f"<cell {self._cells}>"
        lines = source.splitlines(keepends=True)
        linecache.cache[filename] = (len(source), None, lines, filename)
        try:
            self._running = True
            try:
                answer["name"], value = self._evaluate(source, filename)
                if value is not None:
                    self._main.__dict__["_"] = value
                    answer["value"] = shorten(repr(value))
                save_plots(self._cells)
                for stream in (sys.stdout, sys.stderr, *self._streams.values()):
                    stream.flush()
            finally:
                self._running = False
        except SystemExit as error:
            if error.code not in (None, 0):
                answer["error"] = shorten(f"SystemExit: {error.code}")
        except BaseException as error:  # whatever a cell raises is its answer
            answer["value"] = None
            answer["error"] = explain(error, filename)
        # A cell that was interrupted while printing leaves its text in a buffer: it belongs here,
        # not to the next cell. The interrupt is deaf by now, and the host still reads.
        with contextlib.suppress(Exception):
            for stream in self._streams.values():
                stream.flush()
        return answer

    def _evaluate(self, source: str, filename: str) -> tuple[str | None, object]:
        tree: Any = compile(source, filename, "exec", _ONLY_AST, dont_inherit=True)
        name, last = _last_value(tree)
        namespace = self._main.__dict__
        code = compile(tree, filename, "exec", dont_inherit=True)  # of what this file imports
        exec(code, namespace)  # noqa: S102 - running it is the purpose
        if last is None:
            return None, None
        code = compile(last, filename, "eval", dont_inherit=True)
        return name, eval(code, namespace)  # noqa: S307 - as above


def warm(modules: list[str]) -> dict[str, Any]:
    """Load modules where they are installed; whatever one of them does is its own affair."""
    for name in modules:
        with contextlib.suppress(BaseException):
            __import__(name)
    return {}


def save_plots(cell: int) -> None:
    """Save the figures that are open as files of the session's folder, and close them."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    for place, number in enumerate(pyplot.get_fignums()[:MOST_PLOTS], 1):
        pyplot.figure(number).savefig(f"plot-{cell}-{place}.png")
    pyplot.close("all")


def _last_value(tree: _ast.Module) -> tuple[str | None, _ast.Expression | None]:
    """Take a last expression off the tree; a last assignment stays, and its name is looked up."""
    last = tree.body[-1] if tree.body else None
    if isinstance(last, _ast.Expr):
        tree.body.pop()
        return None, _ast.Expression(last.value)
    target: _ast.expr | None = None
    if isinstance(last, _ast.Assign) and len(last.targets) == 1:
        target = last.targets[0]
    elif isinstance(last, _ast.AugAssign) or (isinstance(last, _ast.AnnAssign) and last.value):
        target = last.target
    if not isinstance(target, _ast.Name):
        return None, None
    place = {name: getattr(target, name) for name in _PLACE}
    return target.id, _ast.Expression(_ast.Name(target.id, _ast.Load(), **place))


def shorten(text: str) -> str:
    """Leave out the middle of a long text."""
    if len(text) <= TEXT_CHARS:
        return text
    half = TEXT_CHARS // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters left out ...] {text[-half:]}"


def explain(error: BaseException, filename: str) -> str:
    """Return the traceback of a cell, without the frames of the worker and of libraries."""
    try:
        traceback = _load_own("traceback")
        story = traceback.TracebackException.from_exception(error, limit=-50)
        stack = [frame for frame in story.stack if frame.filename.startswith("<cell ")]
        story.stack = traceback.StackSummary.from_list(_few(stack))
        story.__cause__ = story.__context__ = None
        text = "".join(story.format()).rstrip()
    except BaseException as failure:  # an exception whose __str__ raises, or worse
        text = f"{type(error).__name__} (and showing it raised {type(failure).__name__})"
        with contextlib.suppress(BaseException):  # too many files are open, so nothing was loaded
            text = f"{type(error).__name__}: {error}"
    return shorten(
        text.replace("Traceback (most recent call last):\n", "").replace(filename, "cell")
    )


def _load_explanations() -> None:
    """Load what `explain` needs after the first answer, when nobody waits for it any more."""
    with contextlib.suppress(BaseException):  # a cell has left no memory: it is tried again
        _load_own("traceback")


def _load_own(name: str) -> Any:
    """Load a module of the standard library, whatever lies in the folder under that name."""
    paths, sys.path = sys.path, [*_PATHS]
    try:
        return __import__(name)
    finally:
        sys.path = paths


def _few(stack: list[FrameSummary]) -> list[FrameSummary]:
    return stack if len(stack) <= 6 else stack[:3] + stack[-3:]


def _tool_calls(*channel: Any) -> Any:
    import _tool_stubs  # loaded by whoever has started this: it cannot be found from here

    return _tool_stubs.ToolCalls(*channel)


def run(config: dict[str, Any], folder: str) -> NoReturn:
    """Turn this freshly forked process into a worker; never returns."""
    code = CANNOT_START
    try:
        control = _arrange_files(config)
        _arrange_process(config, folder)
        if config.get("confine") is not None:
            _confine_process(config, folder)
        os.register_at_fork(
            after_in_child=lambda: os.close(control)
        )  # a child must not answer in our name
        worker = Worker(control, HIDDEN_FD + 1, HIDDEN_FD + 2)
        code = 1
        worker.serve()
        code = 0
    except BaseException as error:  # in place of our parent's: this process is a copy of it
        if code == CANNOT_START:
            os.write(config["stderr"], f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)  # no atexit, no waiting for threads: the session is over


def _arrange_files(config: dict[str, Any]) -> int:
    """Keep the channel and the two outputs, out of the way; close everything else."""
    names = ("control", "stdout", "stderr")
    # First out of the way: a host with many open files may have used the numbers we want.
    kept = [fcntl.fcntl(config[name], fcntl.F_DUPFD_CLOEXEC, HIDDEN_FD + 3) for name in names]
    for offset, fd in enumerate(kept):
        os.dup2(fd, HIDDEN_FD + offset, inheritable=False)
    config["stderr"] = HIDDEN_FD + 2
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.closerange(3, HIDDEN_FD)
    os.closerange(HIDDEN_FD + 3, os.sysconf("SC_OPEN_MAX"))
    return HIDDEN_FD


def _arrange_process(config: dict[str, Any], folder: str) -> None:
    """Start a session of our own, in our folder, with an environment and limits of our own."""
    os.setsid()
    os.umask(0o077)
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for kind, value in config["rlimits"].items():
        _limit(getattr(resource, kind), value)
    _volunteer_for_oom()
    warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive", UserWarning)
    sys.argv = [""]
    sys.path[:] = ["", *(path for path in sys.path if path), *config["paths"]]
    sys.dont_write_bytecode = True
    sys.set_int_max_str_digits(INT_DIGITS)
    site.setquit()
    site.sethelper()


def _confine_process(config: dict[str, Any], folder: str) -> None:
    """Give up what the code could do harm with; what cannot be given up ends the process."""
    import _confine

    rules = config["confine"]
    if config["uid"]:
        _confine.drop_user(config["uid"], keep_reading=rules["keep_reading"])
    _confine.confine(
        read=rules["read"],
        write=[folder],
        network=rules["network"],
        protect=[pid for pid in (config["host"], os.getppid()) if pid],
        own_user=bool(config["uid"]),
    )


def _limit(kind: int, value: int) -> None:
    _soft, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows RLIMIT_AS and refuses to set it
        resource.setrlimit(kind, (value, value))


def _volunteer_for_oom() -> None:
    """Let the kernel take this process before the host when memory runs out (Linux)."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs 10 ms of start
            file.write("500")
    except OSError:  # not Linux, or the container forbids it: only a preference
        return
