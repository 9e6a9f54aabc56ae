"""A share in a running engine: found or started, held, and given back."""

import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from agentkit.errors import EngineError

_GUARD = Path(__file__).with_name("guard_engine.py")
_SOCKET_PATH_BYTES = 100  # a unix socket's path ends at 104 (macOS) or 108 (Linux)
_LINE_BYTES = 65_536
_STOP_SECONDS = 5.0  # more than the guard gives the engine to stop
_POLL_SECONDS = 0.05
_ENVIRONMENT = frozenset(
    [
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "XDG_CACHE_HOME",
        "HF_HOME",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
    ]
)
_ENVIRONMENT_PREFIXES = (
    "LC_",
    "OMP_",
    "GGML_",
    "CUDA_",
    "HIP_",
    "VK_",
    "NVIDIA_",
    "NCCL_",
    "TORCH",
    "TRITON_",
    "SGLANG_",
    "VLLM_",
    "FLASHINFER_",
)

_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What makes two engines the same one: the weights and how they are run.

    Attributes:
        options: for the guard and the runner; what is in here makes the engine another one, and
            can be seen in `ps`.
        state_dir: where log, lock and socket are.
        profile: its name, for a person.
        what: how it is called in messages.
        explain: what to say of its end, given the exit status, the log and how often it died.
        stop_seconds: how long it may take to stop.
        api_key: what clients have to show; made up where empty.
    """

    options: dict[str, Any]
    state_dir: Path
    profile: str
    what: str
    explain: Callable[[int, Path, int], EngineError]
    stop_seconds: float = 5.0
    api_key: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """A short name for this engine, the same in every process of the user."""
        same = {name: value for name, value in self.options.items() if name != "port"}
        text = json.dumps([same, sys.executable], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def log(self) -> Path:
        """Where the engine writes."""
        return self.state_dir / "logs" / f"{self.profile}.{self.key}.log"

    @property
    def lock(self) -> Path:
        """Locked while a process of this engine lives, or is being started."""
        return self.state_dir / "engines" / f"{self.key}.lock"

    @property
    def record(self) -> Path:
        """Tells other commands of the user that it runs."""
        return self.state_dir / "engines" / f"{self.key}.json"

    @property
    def socket(self) -> Path:
        """Where leases are had."""
        path = self.state_dir / "engines" / f"{self.key}.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            return path
        return self.scratch.with_suffix(".sock")

    @property
    def scratch(self) -> Path:
        """The temporary folder of its processes, removed after them; servers leave files there.

        Never in `state_dir`: servers put sockets in it, whose paths have to be short.
        """
        place = os.fsencode(self.state_dir / "engines" / self.key)
        where = hashlib.sha256(place).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"agentkit-{os.getuid()}" / where


@dataclass(slots=True)
class Lease:
    """An open connection to the guard of an engine; the engine lives while one is open."""

    stream: UNIXSocketStream
    what: str
    stop_seconds: float
    status: dict[str, Any] = field(default_factory=dict[str, Any])
    _lines: BufferedByteReceiveStream = field(init=False)

    def __post_init__(self) -> None:
        self._lines = BufferedByteReceiveStream(self.stream)

    async def next_status(self) -> dict[str, Any]:
        """Wait for the guard's next word, remember and return it.

        Raises:
            EngineError: the guard is gone.
        """
        try:
            line = await self._lines.receive_until(b"\n", _LINE_BYTES)
        except _GONE as error:
            raise EngineError(f"{self.what}'s guard is gone.") from error
        self.status = json.loads(line)
        return self.status

    async def say(self, **said: float | bool) -> None:
        """Send the guard a line; one that is gone is heard of by `next_status`."""
        with suppress(*_GONE):
            await self.stream.send(json.dumps(said).encode() + b"\n")

    async def give_back(self) -> None:
        """End the lease; return when the engine is gone or others use it."""
        with suppress(*_GONE, OSError):
            await self.stream.send_eof()
            while True:
                await self.next_status()

    def kill(self) -> None:
        """End a guard that was to stop and did not, with its engine."""
        if self.status.get("state") == "stopping":
            with suppress(ProcessLookupError):
                os.killpg(self.status["guard_pid"], signal.SIGKILL)


@asynccontextmanager
async def open_lease(spec: EngineSpec) -> AsyncGenerator[Lease]:
    """Share the engine if it runs, start it if it does not.

    Raises:
        EngineError: it cannot be started.
    """
    lease = await _find_or_start(spec)
    try:
        yield lease
    finally:
        # The last lease waits until the engine is gone; a cancelled caller too, but not for ever.
        with anyio.move_on_after(spec.stop_seconds + _STOP_SECONDS, shield=True) as scope:
            with suppress(EngineError):
                await lease.give_back()
        if scope.cancelled_caught:
            lease.kill()
        with anyio.CancelScope(shield=True):
            await lease.stream.aclose()


async def _find_or_start(spec: EngineSpec) -> Lease:
    """Return a lease whose first status is known."""
    await to_thread.run_sync(_make_folders, spec)
    while True:
        found = await connect_to(spec.socket)
        stream = found or await _start(spec)
        if stream is None:  # another process is starting it, or the one before is not yet gone
            await anyio.sleep(_POLL_SECONDS)
            continue
        lease = Lease(stream, spec.what, spec.stop_seconds)
        try:
            await lease.next_status()
        except EngineError:
            await stream.aclose()
            if found is None:  # else we met an engine that was about to stop
                raise await to_thread.run_sync(spec.explain, 1, spec.log, 1) from None
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise
        else:
            return lease


async def connect_to(socket: Path) -> UNIXSocketStream | None:
    """Return a connection to the guard at `socket`; `None` if there is none."""
    try:
        return await anyio.connect_unix(socket)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


async def _start(spec: EngineSpec) -> UNIXSocketStream | None:
    """Start a guard and return a lease on it; `None` if the lock is taken."""
    with anyio.CancelScope(shield=True):  # milliseconds, and nothing half done
        prepared = await to_thread.run_sync(_prepare, spec)
        if prepared is None:
            return None
        listener, lock_fd = prepared
        try:
            stream = await anyio.connect_unix(spec.socket)
            await to_thread.run_sync(_spawn, spec, listener, lock_fd)
        finally:
            listener.close()
            os.close(lock_fd)
        return stream


def _prepare(spec: EngineSpec) -> tuple[socket.socket, int] | None:
    """Take the lock and listen: whoever holds the lock owns the socket's path."""
    lock_fd = os.open(spec.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        spec.socket.unlink(missing_ok=True)  # left by a guard that was killed
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(spec.socket))
        listener.listen()
    except OSError as error:
        os.close(lock_fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise EngineError(f"The engine's socket {spec.socket} cannot be made: {error}.") from error
    return listener, lock_fd


def _spawn(spec: EngineSpec, listener: socket.socket, lock_fd: int) -> None:
    given = {
        "port": 0,
        **spec.options,
        "socket": str(spec.socket),
        "record": str(spec.record),
        "folder": str(spec.record.parent),
        "log": str(spec.log),
        "scratch": str(spec.scratch),
        "listener_fd": listener.fileno(),
        "lock_fd": lock_fd,
        "stop_seconds": spec.stop_seconds,
    }
    told = {"profile": spec.profile, "what": spec.what, "stop_seconds": spec.stop_seconds}
    told |= {"socket": str(spec.socket), "log": str(spec.log), "port": given["port"]}
    spec.record.write_text(json.dumps(told), encoding="utf-8")
    environment = _environment()
    if spec.api_key:
        environment["AGENTKIT_ENGINE_KEY"] = spec.api_key
    with open(spec.log, "wb", opener=_private) as log:
        starter = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, str(_GUARD), json.dumps(given)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=[listener.fileno(), lock_fd],
            start_new_session=True,
            cwd="/",
        )
        starter.wait()  # it forks and ends at once


def _private(path: str, flags: int) -> int:
    """Open a file that nobody else may read: a server may log what it is asked."""
    return os.open(path, flags, 0o600)


def _environment() -> dict[str, str]:
    """No secret of the caller reaches the engine."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }


def _make_folders(spec: EngineSpec) -> None:
    try:
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        for folder in {spec.lock.parent, spec.socket.parent, spec.scratch.parent}:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(folder)
    except OSError as error:
        raise EngineError(
            f"The engine's folders under {spec.state_dir} cannot be made: {error}.",
            hint="Point AGENTKIT_STATE_DIR at a folder you can write to.",
        ) from error


def _check_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EngineError(
            f"{folder} must be a folder of yours alone: it gives access to the engine.",
            hint=f"Remove it, or: chmod 700 {folder}.",
        )
