"""The host's end of a janitor and its worker: a process, four files, and frames of JSON."""

import json
import os
import signal
import site
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.messages import JsonObject
from agentkit.sandbox._janitor import remove_folder

FRAME_BYTES = 256 * 1024
"""Longest answer of a worker; a longer one is a forgery."""

START_SECONDS = 20.0
"""Patience with a janitor on a machine that is busy with something else."""

STOP_SECONDS = 8.0
"""Patience with a janitor that ends its tree, which takes a few milliseconds."""

_JANITOR = Path(__file__).with_name("_janitor.py")
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What the worker and its children may use.

    Attributes:
        memory_bytes: address space of each process (RLIMIT_AS), and resident memory of all of
            them together, looked at ten times a second.
        file_bytes: size of each file (RLIMIT_FSIZE).
        open_files: of each process (RLIMIT_NOFILE).
        processes: below the janitor, looked at ten times a second.
        output_bytes: printed by one cell.
        kept_bytes: of that, handed on; head and tail are kept.
    """

    memory_bytes: int = 2 << 30
    file_bytes: int = 256 << 20
    open_files: int = 256
    processes: int = 64
    output_bytes: int = 64 << 20
    kept_bytes: int = 12_000


class BrokenFrameError(Exception):
    """The worker's channel carries something that no worker sends."""


class Child:
    """One janitor with its worker. Opened by `start`, ended by `end`; used by one task at a time."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._life: socket.socket | None = None
        self._received = bytearray()
        self._unsent = bytearray()
        self._sending = anyio.Lock()
        self._reported = bytearray()
        self._worker = 0
        self._folder = ""
        self.stdout = -1
        self.stderr = -1
        self.gone = False
        self.exit: int | None = None
        self.by = ""

    async def start(self) -> None:
        """Start the janitor and wait until the worker is there.

        Raises:
            ToolError: it cannot be started.
        """
        try:
            # Popen waits for the exec of its child: that is for a thread.
            await to_thread.run_sync(self._spawn)
            with anyio.move_on_after(START_SECONDS):
                if "pid" in await self._report():
                    return
                raise ConnectionError("its janitor has no worker")
        except OSError as error:
            raise ToolError(
                f"The code interpreter cannot be started: {error!r}.",
                hint=f"Check that {sys.executable} runs and {tempfile.gettempdir()} is writable.",
            ) from error
        raise ToolError(f"The code interpreter did not start within {START_SECONDS:.0f} s.")

    def _spawn(self) -> None:
        """Start the process; everything it opened is reachable from `end` at any moment."""
        self._control, control = socket.socketpair()
        self._life, life = socket.socketpair()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        theirs = (control.detach(), life.detach(), stdout, stderr)
        try:
            for fd in (self.stdout, self.stderr):
                os.set_blocking(fd, False)
            self._control.setblocking(False)
            self._life.setblocking(False)
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", "-S", "-X", "utf8", str(_JANITOR), self._config(*theirs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=theirs,
                env=_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is not for the worker
            )
        finally:
            for fd in theirs:
                os.close(fd)

    def _config(self, control: int, life: int, stdout: int, stderr: int) -> str:
        limits = self._limits
        config: JsonObject = {
            "control": control,
            "life": life,
            "stdout": stdout,
            "stderr": stderr,
            "host": os.getpid(),
            "parent": tempfile.gettempdir(),
            "paths": _package_paths(),
            "memory": limits.memory_bytes,
            "processes": limits.processes,
            "rlimits": {
                "RLIMIT_AS": limits.memory_bytes,
                "RLIMIT_FSIZE": limits.file_bytes,
                "RLIMIT_NOFILE": limits.open_files,
                "RLIMIT_CORE": 0,
            },
        }
        return json.dumps(config)

    def tell(self, letters: bytes) -> None:
        """Send the janitor its letters; one that is gone needs no telling."""
        if self._life is not None:
            try:
                self._life.send(letters)
            except OSError:
                return

    async def send(self, frame: JsonObject) -> None:
        """Send the worker a frame; one that died on the way is reported by `wait_gone`.

        Frames are sent whole, in the order of these calls, from any number of tasks: the rest of
        one that was cancelled goes with the next.
        """
        body = json.dumps(frame).encode()
        self._unsent += struct.pack(">I", len(body)) + body
        await self.flush()

    async def flush(self) -> None:
        """Send what is left of frames whose sending was cancelled."""
        control = _opened(self._control)
        async with self._sending:
            while self._unsent:
                await anyio.wait_writable(control)
                try:
                    del self._unsent[: control.send(self._unsent)]
                except BlockingIOError:
                    continue
                except OSError:
                    return

    async def receive(self) -> JsonObject | None:
        """Return the next frame of the worker, `None` if it closed the channel.

        Raises:
            BrokenFrameError: too long, or not a JSON object.
        """
        while True:
            size = struct.unpack_from(">I", self._received)[0] if len(self._received) >= 4 else 0
            if size > FRAME_BYTES:
                raise BrokenFrameError(f"a frame of {size} bytes")
            if len(self._received) >= 4 + size > 4:
                body = bytes(self._received[4 : 4 + size])
                del self._received[: 4 + size]
                return _parse(body)
            if not await _receive_into(_opened(self._control), self._received):
                return None

    async def wait_gone(self) -> None:
        """Wait until janitor, worker and all below them have ended; tells how in `exit` and `by`."""
        if self.gone:
            return
        try:
            report = await self._report()
            while "exit" not in report:  # a start that was cancelled has not read who is there
                report = await self._report()
            self.exit, self.by = report["exit"], str(report["by"])
        except OSError:
            self.by = "janitor"  # it was killed, so it could not clear up
        self.gone = True

    def look(self) -> bool:
        """Return whether the janitor has already reported the end, without waiting."""
        life = _opened(self._life)
        try:
            life.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return bool(self._reported)
        except OSError:
            return True
        return True

    async def _report(self) -> JsonObject:
        """Return the next line of the janitor.

        Raises:
            OSError: it is gone.
        """
        while b"\n" not in self._reported:
            if not await _receive_into(_opened(self._life), self._reported):
                raise ConnectionError("its janitor has ended")
        line, _, rest = self._reported.partition(b"\n")
        self._reported = rest
        report = cast("JsonObject", json.loads(line))
        if "pid" in report:
            self._worker, self._folder = int(report["pid"]), str(report["folder"])
        return report

    async def end(self) -> None:
        """End the tree, remove its folder, close and reap; bounded, never raises."""
        self.tell(b"K")
        with anyio.move_on_after(STOP_SECONDS, shield=True):
            if self._process is not None:
                await self.wait_gone()
        with anyio.CancelScope(shield=True):
            # Bounded: the kill is certain, and the folder is small.
            await to_thread.run_sync(self._clear)

    def _clear(self) -> None:
        for channel in (self._control, self._life):
            if channel is not None:
                channel.close()
        for fd in (self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)
        self.stdout = self.stderr = -1
        if self._process is None:
            return
        if self.by == "janitor" or not self.gone:
            self._clear_after_janitor()
        self._process.wait()

    def _clear_after_janitor(self) -> None:
        """Do what a killed or stuck janitor did not do; daemons in sessions of their own remain."""
        process = self._process
        if process is not None:
            process.kill()
        if self._worker:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._worker, signal.SIGKILL)
        if self._folder:
            remove_folder(self._folder)


def _parse(body: bytes) -> JsonObject:
    try:
        frame: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenFrameError("a frame that is not JSON") from error
    if not isinstance(frame, dict):
        raise BrokenFrameError("a frame that is not an object")
    return cast("JsonObject", frame)


async def _receive_into(channel: socket.socket, buffer: bytearray) -> bool:
    """Wait for data and add it to the buffer; False at the end of the stream."""
    while True:
        await anyio.wait_readable(channel)
        try:
            data = channel.recv(65536)
        except BlockingIOError:
            continue
        except OSError:
            return False
        buffer += data
        return bool(data)


def _opened(channel: socket.socket | None) -> socket.socket:
    if channel is None:
        raise ToolError("The code interpreter was not started.")
    return channel


def _environment() -> dict[str, str]:
    """Return what the worker inherits: nothing that could be a secret."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # Address space grows with the threads of a BLAS, and the worker's is limited.
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    return {"LANG": "C.UTF-8", **kept, **threads, "MPLBACKEND": "Agg"}


def _package_paths() -> list[str]:
    """Return where installed packages are, so that cells can import what the host has."""
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return folders
