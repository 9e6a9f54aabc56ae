"""A Python session in a child process: its variables live until it is closed, or killed."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from agentkit.errors import ToolError
from agentkit.sandbox._artifacts import Listing, MadeFile, made_since, read_beneath
from agentkit.sandbox._beneath import list_files
from agentkit.sandbox._capture import Capture, clean
from agentkit.sandbox._child import Child
from agentkit.sandbox._frames import BadFrameError
from agentkit.sandbox._janitor import describe_exit
from agentkit.sandbox._setup import CLOSED, Setup, WorkerLimits
from agentkit.sandbox._stubs import CellClock, HostCalls, HostTools, next_answer

if TYPE_CHECKING:
    from agentkit.messages import JsonObject

GRACE_SECONDS = 0.5
"""Between the interrupt, which keeps the variables, and the kill, which does not."""

CLOSED_SECONDS = 2.0
"""How long a worker may be seen alive after its channel closed."""

DRAIN_BYTES = 1 << 20
"""Read after a cell has ended: more than a pipe holds, less than a runaway thread writes."""

VALUE_CHARS = 8_400
"""Longest value or error that is believed; the worker shortens its own to less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one cell.

    Attributes:
        stdout: what it printed, shortened in the middle, without control sequences.
        stderr: the same for standard error.
        value: `repr` of its last expression, or of the variable its last line assigns.
        name: that variable; empty for an expression.
        error: the traceback of the cell, shortened.
        timed_out: it ran out of time.
        killed_by: why the process had to go: "time", "memory", "processes", "disk", "output", "protocol",
            "exit 3", "SIGSEGV", "janitor", "host" (closed); empty if it is still there.
        restarted: variables of earlier cells are lost, now (`killed_by`) or since the last cell.
        files: what it has made or changed in the session's folder.
    """

    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    name: str = ""
    error: str = ""
    timed_out: bool = False
    killed_by: str = ""
    restarted: bool = False
    files: tuple[MadeFile, ...] = ()


class Session:
    """A Python session at one level of isolation; nothing is started before it is used."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._lock = anyio.Lock()
        self._child: Child | None = None
        self._cells = 0
        self._closed = False
        self._files: Listing = {}

    async def run(self, code: str, seconds: float, tools: HostTools | None = None) -> Outcome:
        """Run a cell for at most `seconds`; cells of several tasks run one after the other.

        A cell that is cancelled is interrupted like one that runs out of time. The clock stands
        still while `tools` work for it, each a function of the cell; see `HostTools`.

        Raises:
            ToolError: the interpreter is closed, or cannot be started.
        """
        async with self._lock:
            lost = await self._end_if_dead()
            child = await self._open()
            self._cells += 1
            clock = CellClock(seconds, tools.seconds if tools else 0.0)
            calls = HostCalls(tools, self._cells, clock, child) if tools else None
            cell = _Cell(child, self._cells, code, self.setup.limits, calls)
            child.tell(b"B")
            try:
                with clock.scope:
                    await cell.go_on()
            finally:
                killed_by = await self._settle(child, cell)
            made = () if killed_by else await self._look_for_files(child)
            return cell.outcome(
                timed_out=clock.scope.cancelled_caught,
                killed_by=killed_by,
                restarted=lost,
                files=made,
            )

    async def start(self, modules: Sequence[str] = ()) -> None:
        """Start before there is a cell, and load modules into the process.

        Raises:
            ToolError: the session is closed, or cannot be started.
        """
        async with self._lock:
            child = await self._open()
            if modules:
                await child.send({"id": 0, "warm": list(modules)})
                with suppress(BadFrameError):  # the first cell finds out
                    await child.receive()
                for fd in (child.stdout, child.stderr):  # what modules print is nobody's output
                    while _read(fd):
                        pass

    async def read_file(self, name: str, most: int) -> bytes:
        """Return a file that the code has made; no link leads out of the session's folder.

        Args:
            name: relative to the folder.
            most: bytes that are read at most.

        Raises:
            ToolError: there is no such file, or it is not read: no regular file, or too large.
        """
        async with self._lock:
            if self._child is None or self._child.folder < 0:
                raise ToolError("The code interpreter has no files: it is not running.")
            folder = self._child.folder
            # Not abandoned when cancelled: the descriptor is closed by whoever comes next.
            return await to_thread.run_sync(read_beneath, folder, name, most)

    async def aclose(self) -> None:
        """End the session and everything it started; a running cell ends as killed."""
        self._closed = True
        if self._child is not None:
            self._child.tell(b"K")  # so that a cell of another task lets go of the lock
        with anyio.CancelScope(shield=True):
            # Bounded: a running cell sees the end of its process at once.
            async with self._lock:
                await self._end()

    async def _open(self) -> Child:
        if self._closed:
            raise ToolError(CLOSED)
        if self._child is None:
            self._child = Child(self.setup)  # reachable before it starts: a cancel may come
            try:
                await self._child.start()
            except BaseException:
                await self._end()
                raise
            if self._closed:  # which had nobody to tell of it yet
                await self._end()
                raise ToolError(CLOSED)
        return self._child

    async def _look_for_files(self, child: Child) -> tuple[MadeFile, ...]:
        before, self._files = self._files, await to_thread.run_sync(list_files, child.folder)
        return made_since(before, self._files)

    async def _end_if_dead(self) -> bool:
        """Clear up a session that died between two cells; whether a cell has been run in it."""
        if self._child is None or not self._child.look():
            return False
        await self._end()
        return self._cells > 0

    async def _end(self) -> None:
        if self._child is not None:
            await self._child.end()
            self._child = None
            self._files = {}

    async def _settle(self, child: Child, cell: "_Cell") -> str:
        """Leave no cell running: interrupt it, or end its session and say why."""
        if cell.answered:
            await cell.finish()
            return ""
        reason = cell.reason() or "time"
        if not child.gone and reason in ("time", "output"):
            child.tell(b"I")
            with anyio.move_on_after(GRACE_SECONDS, shield=True):
                await cell.go_on()
            if cell.answered:
                await cell.finish()
                return ""
            reason = cell.reason() or reason
        with anyio.move_on_after(2 * GRACE_SECONDS, shield=True):
            child.tell(b"K")
            await child.wait_gone()
        cell.drain()
        await self._end()
        return reason


class _Cell:
    """One cell on its way through the worker."""

    def __init__(
        self,
        child: Child,
        number: int,
        code: str,
        limits: WorkerLimits,
        calls: HostCalls | None = None,
    ) -> None:
        self._child = child
        self._number = number
        self._frame: JsonObject | None = {"id": number, "code": code}
        self._calls = calls
        if calls is not None:
            self._frame["functions"] = calls.described
        self._limits = limits
        self._answer: JsonObject = {}
        self._broken = ""
        self._flooded = False
        self._stdout = Capture(limits.kept_bytes)
        self._stderr = Capture(limits.kept_bytes // 3)
        self.answered = False

    async def go_on(self) -> None:
        """Read what comes until there is an answer, the process is gone, or it went too far."""
        async with anyio.create_task_group() as tasks:

            async def until(step: Callable[[], Awaitable[None]]) -> None:
                await step()
                tasks.cancel_scope.cancel()

            tasks.start_soon(until, partial(self._exchange, tasks))
            tasks.start_soon(until, self._child.wait_gone)
            tasks.start_soon(until, partial(self._pump, self._child.stdout, self._stdout))
            tasks.start_soon(until, partial(self._pump, self._child.stderr, self._stderr))

    async def _exchange(self, tasks: TaskGroup) -> None:
        if self._frame is not None:
            frame, self._frame = self._frame, None
            await self._child.send(frame)
        elif self._calls is not None:  # interrupted: what it waits for does not come
            await self._calls.stop()
        try:
            answer = await next_answer(self._child, self._calls, tasks)
        except BadFrameError as error:
            self._broken = str(error)
            return
        if answer is None:
            await anyio.sleep(CLOSED_SECONDS)  # cancelled as soon as the janitor says why
            self._broken = "a closed channel"
        elif answer.get("id") != self._number:
            self._broken = "an answer to another cell"
        else:
            self._answer, self.answered = answer, True

    async def _pump(self, fd: int, capture: Capture) -> None:
        """Read one output until it is too much; returns only then."""
        while True:
            await anyio.wait_readable(fd)
            data = _read(fd)
            if data == b"":  # closed by everyone; the session ends or has ended
                await anyio.sleep_forever()
            capture.add(data or b"")
            if capture.total > self._limits.output_bytes and not self._flooded:
                self._flooded = True
                return

    async def finish(self) -> None:
        """Settle what belongs to a cell that has its answer: its open calls, and its output."""
        self._child.tell(b"E")
        if self._calls is not None:
            await self._calls.finish()
        self.drain()

    def drain(self) -> None:
        """Take what was printed before the end and not read yet."""
        for fd, capture in ((self._child.stdout, self._stdout), (self._child.stderr, self._stderr)):
            limit = capture.total + DRAIN_BYTES
            while capture.total < limit and (data := _read(fd)):
                capture.add(data)

    def reason(self) -> str:
        """Why the session cannot go on; empty if the cell only takes long."""
        if self._child.gone:
            code = self._child.exit
            return self._child.by or ("unknown" if code is None else describe_exit(code))
        if self._broken:
            return "protocol"
        return "output" if self._flooded else ""

    def outcome(
        self, *, timed_out: bool, killed_by: str, restarted: bool, files: tuple[MadeFile, ...]
    ) -> Outcome:
        """Put together what is known; texts of the worker are not believed to be short or clean."""
        value, name, error = (self._text(key) for key in ("value", "name", "error"))
        if self._flooded:
            error = f"Stopped: it printed more than {self._limits.output_bytes} bytes."
        return Outcome(
            stdout=self._stdout.text(),
            stderr=self._stderr.text(),
            value=value,
            name=name or "",
            error=error or "",
            timed_out=timed_out,
            killed_by=killed_by,
            restarted=restarted or bool(killed_by),
            files=files,
        )

    def _text(self, key: str) -> str | None:
        text = self._answer.get(key)
        return clean(text[:VALUE_CHARS]) if isinstance(text, str) else None


def _read(fd: int) -> bytes | None:
    """Return what is there, `b""` at the end, `None` if there is nothing yet."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None
