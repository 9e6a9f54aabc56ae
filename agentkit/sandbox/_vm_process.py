"""The host's end of a container: a command whose stdin and stdout carry frames of JSON."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import anyio
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.messages import JsonObject
from agentkit.sandbox._capture import Capture
from agentkit.sandbox._frames import BadFrameError, take
from agentkit.sandbox._outbox import Outbox
from agentkit.sandbox._setup import WorkerLimits
from agentkit.sandbox._vm_backends import FOLDER, Launch, Order, prepare

START_SECONDS = 30.0
"""Patience with a runtime; a container starts within a second or two."""

END_SECONDS = 3.0
"""Patience with a container whose stdin has ended, before its runtime is killed."""

FRAME_BYTES = 512 * 1024
"""Longest frame, beside what a cell has printed: the value and 200 names, or a piece of a file."""

_HERE = Path(__file__).parent
_SENT = {"agentkit.text": _HERE.parent / "text.py"} | {
    name: _HERE / f"{name}.py"
    for name in (
        *("_capture", "_frames", "_janitor", "_beneath"),
        *("_tool_stubs", "_worker", "_vm_worker"),
    )
}
_KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "USER",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "CONTAINER_HOST",
)


class Vm:
    """One container. Opened by `start`, ended by `end`; used by one task at a time."""

    def __init__(self, limits: WorkerLimits, image: str, inputs: Mapping[str, str]) -> None:
        self._limits = limits
        self._inputs = inputs
        self._image = image
        self._process: subprocess.Popen[bytes] | None = None
        self._launch: Launch | None = None
        self._folder: Path | None = None
        self._received = bytearray()
        self._ready: list[JsonObject] = []
        self._bad: BadFrameError | None = None
        self._said = Capture(4_000)
        self._hung_up = False
        self._outbox = Outbox()
        # A kept character takes at most six in JSON.
        self._frame_bytes = FRAME_BYTES + 8 * limits.kept_bytes
        self._hello: JsonObject = {}
        self.engine = ""

    async def start(self, backend: str) -> None:
        """Start the runtime and wait until Python is there.

        Raises:
            ToolError: it cannot be started; the message has the runtime's own words.
        """
        await to_thread.run_sync(self._spawn, backend)
        with anyio.move_on_after(START_SECONDS):
            await self.send(self._hello)
            with suppress(BadFrameError):  # what it says instead is told below
                if await self.receive() is not None:
                    return
        self._said.add(_read(self._fd("stderr")) or b"")
        reason = self._said.text().strip()[-800:] or "it said nothing"
        raise ToolError(f"{backend} cannot run Python: {reason}")

    def _spawn(self, backend: str) -> None:
        """Start the process; everything it opened is reachable from `end` at any moment."""
        self._folder = Path(tempfile.gettempdir()) / f"agentkit-vm-{token_hex(8)}"
        order = Order(
            folder=self._folder, limits=self._limits, image=self._image, inputs=self._inputs
        )
        self._launch = prepare(backend, order)
        self.engine = self._launch.engine
        self._hello = self._first_frame(self._launch)
        self._process = subprocess.Popen(  # noqa: S603 - a runtime found in the PATH, no shell
            self._launch.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        if self._hung_up:  # before there was a process to end
            _kill(self._process)

    def _first_frame(self, launch: Launch) -> JsonObject:
        """Return the sources of the first program, and its settings."""
        limits = self._limits
        return {
            "modules": {name: path.read_text(encoding="utf-8") for name, path in _SENT.items()},
            "config": {
                "folder": FOLDER,
                "paths": list(launch.paths),
                "memory": limits.memory_bytes,
                "processes": limits.processes,
                "files": limits.folder_files,
                "output_bytes": limits.output_bytes,
                "kept_bytes": limits.kept_bytes,
                "rlimits": {
                    "RLIMIT_AS": limits.memory_bytes,
                    "RLIMIT_FSIZE": limits.file_bytes,
                    "RLIMIT_NOFILE": limits.open_files,
                    "RLIMIT_CORE": 0,
                },
            },
        }

    @property
    def gone(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    async def send(self, frame: JsonObject) -> None:
        """Send a frame; a container that is gone is noticed by `receive`."""
        await self._outbox.send(self._fd("stdin"), frame)

    async def flush(self) -> None:
        """Send what is left of frames whose sending was cancelled."""
        await self._outbox.flush(self._fd("stdin"))

    async def receive(self) -> JsonObject | None:
        """Return the next frame, `None` if the container is gone.

        Raises:
            BadFrameError: too long, or not a JSON object.
        """
        async with anyio.create_task_group() as tasks:
            # Read what the runtime says too, so that it never waits for us.
            tasks.start_soon(self._listen)
            try:
                await self._fill()
            finally:
                tasks.cancel_scope.cancel()
        # Only here: a frame taken inside would be lost to a cancel that comes at that moment, and
        # an error raised inside would come in a group.
        if self._bad is not None:
            raise self._bad
        return self._ready.pop(0) if self._ready else None

    async def _fill(self) -> None:
        """Wait until there is a frame, or there will be none."""
        fd = self._fd("stdout")
        while not self._ready and self._bad is None:
            await anyio.wait_readable(fd)
            data = _read(fd)
            if data == b"":
                return
            self._received += data or b""
            try:
                self._ready += take(self._received, self._frame_bytes)
            except BadFrameError as error:
                self._bad = error

    async def _listen(self) -> None:
        fd = self._fd("stderr")
        while True:
            await anyio.wait_readable(fd)
            data = _read(fd)
            if data == b"":
                return
            self._said.add(data or b"")

    def _fd(self, name: str) -> int:
        pipe = getattr(self._process, name)
        if pipe is None or pipe.closed:
            raise ToolError("The code interpreter was not started.")
        return pipe.fileno()

    def hang_up(self) -> None:
        """End the runtime at once, so that who waits for it need not; `end` does the rest."""
        self._hung_up = True
        if self._process is not None:
            _kill(self._process)

    async def end(self) -> None:
        """End the container, remove its folder, close and reap; bounded, never raises."""
        with anyio.CancelScope(shield=True):
            # Bounded: by END_SECONDS, a kill, and the patience with one command.
            await to_thread.run_sync(self._end)

    def _end(self) -> None:
        process = self._process
        if process is not None:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()  # the container ends with it
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                _kill(process)
                process.wait()
            if process.returncode:
                self._make_sure()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _make_sure(self) -> None:
        """End a container that may have outlived the command that started it."""
        if self._launch is not None and self._launch.end:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(  # noqa: S603 - as above
                    self._launch.end, capture_output=True, timeout=10, check=False
                )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the runtime's command with its group, which is its own."""
    if process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _read(fd: int) -> bytes | None:
    """Return what is there, `b""` at the end, `None` if there is nothing yet."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None
    except OSError:
        return b""
