"""The interpreter that people hold: finds out what can hold the code here, and runs it there."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from agentkit.errors import ConfigurationError, SandboxUnavailableError, ToolError
from agentkit.sandbox._inputs import name_inputs
from agentkit.sandbox._kernel import landlock_version
from agentkit.sandbox._levels import LEVELS, Isolation, Level, report_of
from agentkit.sandbox._probe import choose_level
from agentkit.sandbox._report import SandboxReport
from agentkit.sandbox._session import Outcome, Session
from agentkit.sandbox._setup import CLOSED, Setup, WorkerLimits
from agentkit.sandbox._spares import Spares
from agentkit.sandbox._stubs import HostTools

if TYPE_CHECKING:
    from agentkit.sandbox._monty import MontyInterpreter
    from agentkit.sandbox._vm import VmInterpreter

_ON_WINDOWS = (
    "Install pure computation: pip install 'qwen-agentkit[monty]'. Or use a container: "
    "AGENTKIT_CODE_ISOLATION=vm."
)

FILE_BYTES = 10 << 20
"""Longest file of the code that is read."""


class Interpreter:
    """A Python session whose variables live until it is closed, held by the strongest isolation.

    Nothing is started before the first `run`. What is in force, and what it does not hold, is in
    `report` from then on.

    Args:
        limits: what the code may use.
        isolation: a level, or "auto" for the strongest that holds on this machine.
        minimum: weakest level that "auto" may come to; below it nothing is run.
        inputs: files and folders that the code finds in `inputs/` under their names, 100 at most.
            From level "confined" on they cannot be changed.
        network: whether the code may reach the network.
        spares: where started sessions are to be had.
    """

    def __init__(
        self,
        limits: WorkerLimits | None = None,
        *,
        isolation: Isolation = "auto",
        minimum: Level = "confined",
        inputs: Sequence[str | Path] = (),
        network: bool = False,
        spares: Spares | None = None,
    ) -> None:
        self._limits = limits or WorkerLimits()
        self._isolation: Isolation = isolation
        self._minimum: Level = minimum
        self._inputs = tuple(inputs)
        self._network = network
        self._spares = spares
        self._session: Session | VmInterpreter | MontyInterpreter | None = None
        self._lock = anyio.Lock()
        self._closed = False
        self.report: SandboxReport | None = None

    async def run(self, code: str, seconds: float, tools: HostTools | None = None) -> Outcome:
        """Run a cell for at most `seconds`; cells of several tasks run one after the other.

        A cell that is cancelled is interrupted like one that runs out of time. The clock stands
        still while `tools` work for it, each a function of the cell; see `HostTools`.

        Raises:
            SandboxUnavailableError: nothing on this machine holds the code as it was asked for.
            ConfigurationError: two inputs have one name, or one does not exist; or there are some,
                or the network is wanted, where code cannot have it.
            ToolError: the interpreter is closed, or cannot be started; or code is to call tools
                at isolation "monty".
        """
        session = await self._opened()
        outcome = await session.run(code, seconds, tools)
        if self.report is None and not isinstance(session, Session):  # it knows by now
            self.report = await to_thread.run_sync(_report_of, session)
        return outcome

    async def read_file(self, name: str, most: int = FILE_BYTES) -> bytes:
        """Return a file that the code has made; no link leads out of its folder.

        Args:
            name: relative to the session's folder.
            most: bytes that are read at most.

        Raises:
            ToolError: there is no such file, or it is not read: no regular file, or too large.
        """
        if self._session is None:
            raise ToolError("The code interpreter has no files: it is not running.")
        return await self._session.read_file(name, most)

    async def aclose(self) -> None:
        """End the session and everything it started; a running cell ends as killed."""
        self._closed = True
        if self._session is not None:
            await self._session.aclose()

    async def _opened(self) -> "Session | VmInterpreter | MontyInterpreter":
        async with self._lock:
            if self._closed:
                raise ToolError(CLOSED)
            if self._session is None:
                session = await self._start()
                if self._closed:  # meanwhile
                    await session.aclose()
                    raise ToolError(CLOSED)
                self._session = session
            return self._session

    async def _start(self) -> "Session | VmInterpreter | MontyInterpreter":
        if self._isolation in {"vm", "monty"} or sys.platform == "win32":
            return await to_thread.run_sync(self._elsewhere)
        setup, self.report = await _settle(
            self._limits,
            isolation=self._isolation,
            minimum=self._minimum,
            inputs=await to_thread.run_sync(name_inputs, self._inputs),
            network=self._network,
        )
        spare = self._spares.take(setup) if self._spares is not None else None
        return spare or Session(setup)

    def _elsewhere(self) -> "VmInterpreter | MontyInterpreter":
        """Return an engine that needs nothing of this system but a program, or a package.

        Raises:
            ConfigurationError: it is to have what it has not, or an input is not there.
            SandboxUnavailableError: nothing on Windows holds it as it was asked for.
        """
        if self._isolation == "vm":
            if self._network:
                raise ConfigurationError("Code has no network at isolation 'vm'.")
            from agentkit.sandbox._vm import VmInterpreter

            return VmInterpreter(self._limits, inputs=name_inputs(self._inputs))
        if self._inputs or self._network:
            raise ConfigurationError(
                f"Code has neither inputs nor the network at isolation {self._isolation!r}: "
                "it is pure computation."
            )
        if self._isolation not in {"auto", "monty"}:
            raise SandboxUnavailableError(
                f"Isolation {self._isolation!r} does not exist on Windows.", hint=_ON_WINDOWS
            )
        if self._isolation == "auto" and not find_spec("pydantic_monty"):
            raise SandboxUnavailableError(
                "Code is not run: Windows has no isolation of its own.", hint=_ON_WINDOWS
            )
        from agentkit.sandbox._monty import MontyInterpreter

        return MontyInterpreter(self._limits)


def _report_of(session: "VmInterpreter | MontyInterpreter") -> SandboxReport:
    return session.isolation  # which may read a version from disk


async def _settle(
    limits: WorkerLimits,
    *,
    isolation: Isolation,
    minimum: Level,
    inputs: dict[str, str],
    network: bool,
) -> tuple[Setup, SandboxReport]:
    """Return how a session is to be held on this machine, and what that is worth.

    Raises:
        SandboxUnavailableError: nothing here holds it as it was asked for.
    """
    wanted: Level | None = next((level for level in LEVELS if level == isolation), None)
    level, bubblewrap = await choose_level(wanted, minimum)
    setup = Setup(
        level=level,
        limits=limits,
        inputs=inputs,
        network=network,
        bubblewrap=bubblewrap if level == "namespaced" else "",
    )
    return setup, report_of(level, landlock=landlock_version(), network=network)
