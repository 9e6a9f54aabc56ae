"""A Python session at level "vm": in a kernel or a container of its own, with no network at all."""

from typing import TYPE_CHECKING

import anyio

from agentkit.errors import ToolError
from agentkit.sandbox._capture import clean
from agentkit.sandbox._frames import BadFrameError
from agentkit.sandbox._report import SandboxReport
from agentkit.sandbox._session import VALUE_CHARS, Outcome
from agentkit.sandbox._setup import WorkerLimits
from agentkit.sandbox._vm_backends import BACKENDS, IMAGE
from agentkit.sandbox._vm_process import Vm

if TYPE_CHECKING:
    from agentkit.messages import JsonObject

ANSWER_SECONDS = 3.0
"""Patience with the answer to an interrupt, which comes after half a second at most."""

SEND_SECONDS = 3.0
"""Patience with a container that does not take its cell, which it does within milliseconds."""

_COMMON = (
    "files: Python itself, read-only, and an empty folder in memory",
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
    """

    def __init__(
        self, limits: WorkerLimits | None = None, *, backend: str = "auto", image: str = IMAGE
    ) -> None:
        if backend not in ("auto", *BACKENDS):
            known = ", ".join(("auto", *BACKENDS))
            raise ValueError(f"{backend!r} is not a backend of level vm. There are: {known}.")
        self._limits = limits or WorkerLimits()
        self._backends = BACKENDS if backend == "auto" else (backend,)
        self._image = image
        self._lock = anyio.Lock()
        self._vm: Vm | None = None
        self._engine = ""
        self._cells = 0
        self._lost = False
        self._closed = False

    @property
    def isolation(self) -> SandboxReport:
        """What holds this session; which engine does is known once it has started."""
        limits = self._limits
        enforced = (
            *_COMMON,
            *_HOLDS.get(self._backends[0], ()),
            f"memory of each process: {limits.memory_bytes >> 20} MiB",
            "time",
            "output",
        )
        not_enforced = (*_HOLDS_NOT.get(self._backends[0], ()), *_NOT)
        if len(self._backends) > 1:
            not_enforced = ("which backend holds it is known once it has started", *not_enforced)
        return SandboxReport(
            level="vm",
            engine=self._engine or " or ".join(self._backends),
            enforced=enforced,
            not_enforced=not_enforced,
        )

    async def run(self, code: str, seconds: float) -> Outcome:
        """Run a cell for at most `seconds`; cells of several tasks run one after the other.

        A cell that is cancelled is interrupted like one that runs out of time.

        Raises:
            ToolError: the interpreter is closed, or no backend can be started.
        """
        async with self._lock:
            vm = await self._open()
            self._cells += 1
            cell = _Cell(vm, self._cells)
            try:
                with anyio.move_on_after(seconds) as scope:
                    with anyio.move_on_after(SEND_SECONDS, shield=True):
                        # Half a frame would spoil the interrupt that follows it.
                        await vm.send({"id": cell.number, "code": code})
                    await cell.receive()
            finally:
                await self._settle(vm, cell)
            lost, self._lost = self._lost, False
            if cell.gone == "":
                return cell.outcome(timed_out=scope.cancelled_caught, lost=lost)
            killed_by = "host" if self._closed else cell.gone
            return Outcome(timed_out=scope.cancelled_caught, killed_by=killed_by, restarted=True)

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
        if self._closed:
            raise ToolError("The code interpreter is closed.")
        if self._vm is not None and self._vm.gone:
            await self._end()
            self._lost = True
        reasons: list[str] = []
        for backend in self._backends:
            if self._vm is not None:
                break
            try:
                await self._start(backend)
            except ToolError as error:
                reasons.append(str(error))
        if self._vm is None:
            raise ToolError(
                f"No container for the code interpreter. {' '.join(reasons)}",
                hint=f"Install runsc (gVisor), or have docker or podman with {self._image}.",
            )
        return self._vm

    async def _start(self, backend: str) -> None:
        self._vm = Vm(self._limits, self._image)  # reachable before it starts: a cancel may come
        try:
            await self._vm.start(backend)
        except BaseException:
            await self._end()
            raise
        self._backends, self._engine = (backend,), self._vm.engine

    async def _end(self) -> None:
        if self._vm is not None:
            await self._vm.end()
            self._vm = None

    async def _settle(self, vm: Vm, cell: "_Cell") -> None:
        """Leave no cell running: interrupt it, or end its container."""
        if not cell.answered and not cell.gone:
            with anyio.move_on_after(ANSWER_SECONDS, shield=True):
                await vm.send({"interrupt": cell.number})
                await cell.receive()
            if not cell.answered:
                cell.gone = cell.gone or "time"
        if cell.gone or cell.filled:
            await self._end()


class _Cell:
    """One cell on its way."""

    def __init__(self, vm: Vm, number: int) -> None:
        self._vm = vm
        self._answer: JsonObject = {}
        self.number = number
        self.answered = False
        self.gone = ""

    @property
    def filled(self) -> bool:
        """Whether it has filled what goes empty only with the container: memory, or folders."""
        return self._answer.get("killed_by") in ("memory", "disk")

    async def receive(self) -> None:
        """Wait for the answer; a container that is gone, or lies, is told in `gone`."""
        try:
            answer = await self._vm.receive()
        except BadFrameError:
            self.gone = "protocol"
            return
        if answer is None:
            self.gone = "exit"
        elif answer.get("id") != self.number:
            self.gone = "protocol"
        else:
            self._answer, self.answered = answer, True

    def outcome(self, *, timed_out: bool, lost: bool) -> Outcome:
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
