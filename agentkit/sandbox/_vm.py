"""A Python session at level "vm": in a kernel or a container of its own, with no network at all."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.sandbox._artifacts import Listing, MadeFile, made_since
from agentkit.sandbox._capture import clean
from agentkit.sandbox._frames import BadFrameError
from agentkit.sandbox._report import SandboxReport
from agentkit.sandbox._session import VALUE_CHARS, Outcome
from agentkit.sandbox._setup import CLOSED, WorkerLimits
from agentkit.sandbox._stubs import CellClock, HostCalls, HostTools, next_answer
from agentkit.sandbox._vm_backends import BACKENDS, IMAGE
from agentkit.sandbox._vm_files import listing_of, lost, read_from
from agentkit.sandbox._vm_inputs import check as check_inputs
from agentkit.sandbox._vm_process import Vm

if TYPE_CHECKING:
    from agentkit.messages import JsonObject

ANSWER_SECONDS = 3.0
"""Patience with the answer to an interrupt, which comes after half a second at most."""

_COMMON = (
    "no network",
    "processes and signals: its own",
    "no environment variables",
    "not root",
)
_NOT = ("CPU: all of it may be used until the deadline", "CPU side channels")


class VmInterpreter:
    """A Python session in a container of its own: gVisor (runsc), docker or podman.

    Variables live until it is closed, or the code has to be killed. Nothing is started before
    the first `run`.

    Args:
        limits: of the session; `kept_bytes` of the output are handed on.
        backend: "runsc", "docker", "podman", or "auto" for the first of them that works.
        image: for docker and podman, with Python 3.11 or newer; it is never downloaded.
        inputs: files and folders that the code finds, read-only, by their name in `inputs/`.
    """

    def __init__(
        self,
        limits: WorkerLimits | None = None,
        *,
        backend: str = "auto",
        image: str = IMAGE,
        inputs: Mapping[str, str] | None = None,
    ) -> None:
        if backend not in ("auto", *BACKENDS):
            known = ", ".join(("auto", *BACKENDS))
            raise ValueError(f"{backend!r} is not a backend of level vm. There are: {known}.")
        self._limits = limits or WorkerLimits()
        self._backends = BACKENDS if backend == "auto" else (backend,)
        self._image = image
        self._inputs = dict(inputs or {})
        self._lock = anyio.Lock()
        self._vm: Vm | None = None
        self._engine = ""
        self._cells = 0
        self._files: Listing = {}
        self._lost = False
        self._closed = False

    @property
    def isolation(self) -> SandboxReport:
        """What holds this session; which engine does is known once it has started."""
        limits = self._limits
        inputs = " and the inputs" if self._inputs else ""
        enforced = (
            f"files: Python with the system's libraries{inputs}, read-only, and an empty folder in memory",
            *_COMMON,
            *_HOLDS.get(self._backends[0], ()),
            f"memory of each process: {limits.memory_bytes >> 20} MiB",
            "time",
            "output",
        )
        not_enforced = (*_HOLDS_NOT.get(self._backends[0], ()), *_NOT)
        if self._inputs and "runsc" in self._backends:
            not_enforced = ("permissions to read what is shown", *not_enforced)
        if len(self._backends) > 1:
            not_enforced = ("which backend holds it is known once it has started", *not_enforced)
        return SandboxReport(
            level="vm",
            engine=self._engine or " or ".join(self._backends),
            enforced=enforced,
            not_enforced=not_enforced,
        )

    async def run(self, code: str, seconds: float, tools: HostTools | None = None) -> Outcome:
        """Run a cell for at most `seconds`; cells of several tasks run one after the other.

        A cell that is cancelled is interrupted like one that runs out of time. The clock stands
        still while `tools` work for it, each a function of the cell; see `HostTools`.

        Raises:
            ToolError: the interpreter is closed, or no backend can be started.
            ConfigurationError: an input cannot be shown, or there are too many.
        """
        async with self._lock:
            vm = await self._open()
            self._cells += 1
            clock = CellClock(seconds, tools.seconds if tools else 0.0)
            calls = HostCalls(tools, self._cells, clock, vm) if tools else None
            cell = _Cell(vm, self._cells, calls)
            try:
                with clock.scope:
                    await cell.run(code)
            finally:
                await self._settle(cell)
            lost_before, self._lost = self._lost, False
            timed_out = clock.scope.cancelled_caught
            if cell.gone == "":
                before, self._files = self._files, cell.files
                made = made_since(before, self._files)
                return cell.outcome(timed_out=timed_out, lost=lost_before, files=made)
            killed_by = "host" if self._closed else cell.gone
            return Outcome(timed_out=timed_out, killed_by=killed_by, restarted=True)

    async def read_file(self, name: str, most: int) -> bytes:
        """Return a file that the code has made; no link leads out of the session's folder.

        Args:
            name: relative to the folder.
            most: bytes that are read at most.

        Raises:
            ToolError: there is no such file, or it is not read: no regular file, or too large; or
                the container did not answer as it should, and is ended with all variables.
        """
        async with self._lock:
            if self._vm is None:
                raise ToolError("The code interpreter has no files: it is not running.")
            try:
                return await read_from(self._vm, name, most)
            except BadFrameError as error:
                self._lost = True
                await self._end()
                raise lost(name) from error

    async def aclose(self) -> None:
        """End the container; a running cell ends as killed."""
        self._closed = True
        if self._vm is not None:
            self._vm.hang_up()  # so that a cell of another task lets go of the lock
        with anyio.CancelScope(shield=True):
            # Bounded: a running cell sees the end of its container.
            async with self._lock:
                await self._end()

    async def _open(self) -> Vm:
        self._check_open()
        if self._vm is not None and self._vm.gone:
            await self._end()
            self._lost = True
        if self._vm is None:
            await to_thread.run_sync(check_inputs, self._inputs)
            return await self._start_any()
        return self._vm

    async def _start_any(self) -> Vm:
        reasons: list[str] = []
        for backend in self._backends:
            self._check_open()
            try:
                return await self._start(backend)
            except ToolError as error:
                reasons.append(str(error))
        self._check_open()
        raise ToolError(
            f"No container for the code interpreter. {' '.join(reasons)}",
            hint=f"Install runsc (gVisor), or have docker or podman with {self._image}.",
        )

    def _check_open(self) -> None:
        """Raise ToolError if it is closed, which it may be while it starts."""
        if self._closed:
            raise ToolError(CLOSED)

    async def _start(self, backend: str) -> Vm:
        # Reachable before it starts: a cancel may come, or the end.
        vm = self._vm = Vm(self._limits, self._image, self._inputs)
        try:
            await vm.start(backend)
            self._check_open()
        except BaseException:
            await self._end()
            raise
        self._backends, self._engine = (backend,), vm.engine
        return vm

    async def _end(self) -> None:
        if self._vm is not None:
            await self._vm.end()
            self._vm = None
            self._files = {}

    async def _settle(self, cell: "_Cell") -> None:
        """Leave no cell running: interrupt it, or end its container."""
        if not cell.answered and not cell.gone:
            with anyio.move_on_after(ANSWER_SECONDS, shield=True):
                await cell.interrupt()
            if not cell.answered:
                cell.gone = cell.gone or "time"
        if cell.gone or cell.filled:
            await self._end()
        else:
            await cell.finish()


class _Cell:
    """One cell on its way."""

    def __init__(self, vm: Vm, number: int, calls: HostCalls | None) -> None:
        self._vm = vm
        self._number = number
        self._calls = calls
        self._answer: JsonObject = {}
        self.files: Listing = {}
        self.answered = False
        self.gone = ""

    @property
    def filled(self) -> bool:
        """Whether it has filled what goes empty only with the container: memory, or folders."""
        return self._answer.get("killed_by") in ("memory", "disk")

    async def run(self, code: str) -> None:
        """Send it and wait for the answer; a container that is gone, or lies, is told in `gone`."""
        functions = {"functions": self._calls.described} if self._calls is not None else {}
        await self._exchange({"id": self._number, "code": code, **functions})

    async def interrupt(self) -> None:
        """Interrupt it and wait for the answer."""
        await self._exchange({"interrupt": self._number})

    async def finish(self) -> None:
        """Answer the calls that it has left open."""
        if self._calls is not None:
            await self._calls.finish()

    async def _exchange(self, frame: "JsonObject") -> None:
        async with anyio.create_task_group() as tasks:
            # Side by side: in there, nothing is taken while it waits for us to read.
            tasks.start_soon(self._send, frame)
            try:
                self._believe(await next_answer(self._vm, self._calls, tasks))
            except BadFrameError:
                self.gone = "protocol"
            tasks.cancel_scope.cancel()

    async def _send(self, frame: "JsonObject") -> None:
        await self._vm.send(frame)
        if self._calls is not None and "interrupt" in frame:  # what it waits for does not come
            await self._calls.stop()

    def _believe(self, answer: "JsonObject | None") -> None:
        """Take an answer.

        Raises:
            BadFrameError: it is none to this cell, or its files are none.
        """
        if answer is None:
            self.gone = "exit"
        elif answer.get("id") != self._number:
            raise BadFrameError("an answer to another cell")
        else:
            files = listing_of(answer.get("files"))
            self._answer, self.answered = answer, True
            self.files = {} if self.filled else files  # which go with its container

    def outcome(self, *, timed_out: bool, lost: bool, files: tuple[MadeFile, ...]) -> Outcome:
        """Put together what is known; texts are not believed to be short or clean."""
        killed_by = self._text("killed_by", 40)
        return Outcome(
            stdout=self._text("stdout"),
            stderr=self._text("stderr"),
            value=self._text("value", VALUE_CHARS) if self._answer.get("value") else None,
            name=self._text("name", VALUE_CHARS),
            error=self._text("error", VALUE_CHARS),
            timed_out=timed_out,
            killed_by=killed_by,
            restarted=lost or bool(killed_by) or self._answer.get("restarted") is True,
            files=files,
        )

    def _text(self, key: str, longest: int = 1 << 20) -> str:
        text = self._answer.get(key)
        return clean(text[:longest]) if isinstance(text, str) else ""


_HOLDS: dict[str, tuple[str, ...]] = {
    "runsc": ("system calls: answered by gVisor, not by this kernel", "size of its folders"),
    "docker": ("all memory", "number of processes", "size of its folders"),
    "podman": ("all memory", "number of processes", "size of its folders"),
}
_HOLDS_NOT: dict[str, tuple[str, ...]] = {
    "runsc": (
        "memory, and the number of processes and files: looked at several times a second",
        "flaws of gVisor: its process has the rights of the user",
    ),
    "docker": ("flaws of the kernel: it is this machine's own",),
    "podman": ("flaws of the kernel: it is this machine's own",),
}
