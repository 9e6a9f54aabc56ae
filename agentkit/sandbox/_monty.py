"""Python as a pure calculation, by Monty: an interpreter that has no files and no network at all.

Monty is written in Rust and knows a part of Python. It is kept from the machine not by the
kernel but by what it lacks, and runs in a process of its own, on every operating system.
"""

from importlib import metadata

import anyio
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.sandbox._capture import clean
from agentkit.sandbox._monty_worker import Cell, Worker
from agentkit.sandbox._report import SandboxReport
from agentkit.sandbox._session import VALUE_CHARS, Outcome
from agentkit.sandbox._setup import CLOSED, WorkerLimits
from agentkit.sandbox._stubs import HostTools

MEMORY_BYTES = 256 << 20
"""Most memory of a session, whatever the limits allow: the host may hold a copy of it for a while."""

LONGEST_SECONDS = 60.0
"""Longest cell; the process ends it by itself then, also where the host was killed."""

_BACK = "Variables are as they were before this cell."


class MontyInterpreter:
    """A session of Monty: variables are kept, and a cell that is stopped leaves them as they were.

    Of the limits it knows `memory_bytes` (256 MiB at most), `output_bytes` and `kept_bytes`.
    `sleep` takes no time, the clock is UTC. Nothing is started before the first `run`.
    """

    def __init__(
        self, limits: WorkerLimits | None = None, *, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        self._limits = limits or WorkerLimits()
        self._memory_bytes = min(self._limits.memory_bytes, MEMORY_BYTES)
        self._longest_seconds = longest_seconds
        self._worker = Worker(self._memory_bytes, longest_seconds)
        self._lock = anyio.Lock()
        self._cell: Cell | None = None
        self._closed = False
        self._engine = ""

    @property
    def isolation(self) -> SandboxReport:
        """What holds this session; before the first cell the engine's version is read from disk."""
        return SandboxReport(
            level="monty",
            engine=self._engine or _engine(),
            enforced=(
                "no files",
                "no network",
                "no processes",
                "no environment variables",
                f"memory: {self._memory_bytes >> 20} MiB",
                "time: its process is killed at the deadline",
                "output",
            ),
            not_enforced=(
                "flaws of the interpreter: its process has the rights of the user",
                f"host killed during a cell: it ends after {self._longest_seconds:g} s at most",
                "CPU side channels",
            ),
        )

    async def run(self, code: str, seconds: float, tools: HostTools | None = None) -> Outcome:
        """Run a cell for at most `seconds`; cells of several tasks run one after the other.

        Raises:
            ToolError: the interpreter is closed, Monty cannot be started, or code is to call
                `tools`, which it cannot.
        """
        if tools is not None:
            raise ToolError("Code cannot call tools at isolation 'monty': it is pure computation.")
        async with self._lock:
            if self._closed:
                raise ToolError(CLOSED)
            self._engine = self._engine or await to_thread.run_sync(_engine)
            limits = self._limits
            cell = Cell(code, limits.kept_bytes, limits.output_bytes, self._worker.kill)
            self._cell = cell
            try:
                with anyio.move_on_after(seconds):
                    await self._finish(cell)
            finally:
                self._cell = None
            if cell.failure is not None:
                raise cell.failure
            return _outcome(cell, closed=self._closed)

    async def read_file(self, name: str, _most: int) -> bytes:
        """Refuse to read a file.

        Raises:
            ToolError: always.
        """
        raise ToolError(f"{name!r} cannot be read: at isolation 'monty' there are no files.")

    async def aclose(self) -> None:
        """End the session and its process; a running cell ends as killed."""
        self._closed = True
        if self._cell is not None:
            self._worker.stop(self._cell)
        with anyio.CancelScope(shield=True):
            # Bounded: a running cell ends with its process, and an idle process at once.
            async with self._lock:
                await to_thread.run_sync(self._worker.close)

    async def _finish(self, cell: Cell) -> None:
        """Wait for a cell in its thread; who is cancelled ends the process, and so the thread."""
        done = anyio.Event()

        async def work() -> None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._worker.run, cell)
            done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            try:
                await done.wait()
            finally:
                if not done.is_set():
                    self._worker.stop(cell)


def _outcome(cell: Cell, *, closed: bool) -> Outcome:
    value = cell.value if cell.value is None else clean(cell.value[:VALUE_CHARS])
    timed_out = cell.overran or (cell.stopped and not cell.done and not closed)
    killed_by = _killed_by(cell, closed=closed, timed_out=timed_out)
    error, stderr = cell.error, cell.stderr.text()
    if cell.crash and not killed_by:
        error = f"It crashed the interpreter ({cell.crash})."
    if cell.went_back and not killed_by:
        if timed_out:
            stderr += _BACK
        else:
            error += f"\n{_BACK}"
    return Outcome(
        stdout=cell.stdout.text(),
        stderr=stderr,
        value=value,
        name=cell.name,
        error=clean(error[:VALUE_CHARS]),
        timed_out=timed_out,
        killed_by=killed_by,
        restarted=cell.lost or bool(killed_by),
    )


def _killed_by(cell: Cell, *, closed: bool, timed_out: bool) -> str:
    """Why variables of earlier cells are lost; empty if they are kept."""
    if closed and not cell.done:
        return "host"
    if not cell.lost or not cell.went_back:
        return ""
    if timed_out:
        return "time"
    return "output" if cell.flooded else "crash" if cell.crash else "memory"


def _engine() -> str:
    try:
        return f"Monty {metadata.version('pydantic-monty')}"
    except metadata.PackageNotFoundError:
        return "Monty"
