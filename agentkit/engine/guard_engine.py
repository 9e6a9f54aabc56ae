"""The process that owns an engine: starts it, restarts it, and stops it with its last user.

Run by path, so that nothing but the standard library is imported. The starter passes a listening
unix socket and the engine's lock, both open. A connection to the socket is a lease: the kernel
drops it with the process that holds it, however that process ends. The lock is held by this
process and by the engine's runner, so it is free exactly when both are gone.

Each lease is told, as lines of JSON, `{"state": …}`: "loading" (with its `stage`, where the engine
tells one), "ready" (with `url` and `api_key`), "restarting", "failed" (with `code`, the exit
status) or "stopping". It may send lines: `{"keep_alive": seconds}`, how long the engine outlives
it, or `{"stop": true}`, which ends the engine whoever uses it. Closing ends the lease.

The engine itself is a child of its runner, `run_llamacpp.py` or `run_server.py`. A runner that is
killed leaves nothing either: its orphans come to this process, which kills them.
"""

import contextlib
import http.client
import json
import os
import resource
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from process_tree import adopt_orphans, kill_all, remove_shared_memory

_RESTARTS = 2  # deaths forgiven while they come within _FORGET_SECONDS of the one before
_FORGET_SECONDS = 600.0
_BACKOFF_SECONDS = 0.5
# Threads that spin while they wait take the processor from the one they wait for: on two cores with
# other work, 0.6 to 1.8 tokens a second; with threads that sleep, 8.
_CALM = {"OMP_WAIT_POLICY": "PASSIVE"}
_TICK_SECONDS = 1.0  # how often the socket file is looked for


def main() -> None:
    """Leave the starter's process tree, then guard the engine until nobody needs it."""
    options = json.loads(sys.argv[1])
    if os.fork():
        os._exit(0)  # the starter reaps this one; the guard is nobody's child
    os.setsid()
    adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if key := os.environ.pop("AGENTKIT_ENGINE_KEY", ""):
        options["api_key"] = key
    guard = _Guard(options, socket.socket(fileno=options.pop("listener_fd")))
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, _leave)
    with contextlib.suppress(SystemExit):  # a signal, see _leave
        try:
            guard.run()
        finally:
            guard.close()
    os._exit(0)  # at once: the connections end with the process, and their ends say that it is gone


def _leave(signum: int, _frame: object) -> None:
    sys.exit(128 + signum)


@dataclass(slots=True)
class _Lease:
    connection: socket.socket
    keep_alive: float = 0.0
    heard: bytes = b""


@dataclass(slots=True)
class _Guard:
    options: dict[str, Any]
    listener: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    leases: list[_Lease] = field(default_factory=list)
    parting: list[_Lease] = field(default_factory=list)
    engine: subprocess.Popen[bytes] | None = None
    status: dict[str, Any] = field(default_factory=lambda: {"state": "loading"})
    idle_until: float = 0.0
    restart_at: float | None = None
    deaths: list[float] = field(default_factory=list)
    said: bytes = b""
    group: int | None = None
    code: int | None = None
    shared: list[str] = field(default_factory=list[str])
    was_ready: bool = False
    unwanted: bool = False
    since: float = field(default_factory=time.time)

    def run(self) -> None:
        """Serve leases until the last is gone, the engine is lost or the socket file removed."""
        # A first character that is no dash: servers would take it for an option.
        self.options.setdefault("api_key", f"ak-{secrets.token_urlsafe(24)}")
        self._change({"state": "loading"})
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self._accept()
        while self._wanted():
            self._part()
            if self.engine is None and self.restart_at is None:
                self._start()
            for key, _ in self.selector.select(self._patience()):
                key.data()
            if self.restart_at is not None and time.monotonic() >= self.restart_at:
                self.restart_at = None

    def close(self) -> None:
        """Stop the engine; leases end when this process does, which tells their holders so."""
        for name in ("socket", "record"):
            with contextlib.suppress(OSError):
                Path(self.options[name]).unlink()
        if self.status["state"] != "failed":
            self._change({"state": "stopping"})
        engine = self.engine
        if engine is None:
            return
        engine.terminate()
        try:
            engine.wait(self.options["stop_seconds"])
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
        kill_all(self.group)
        self._clear()

    def _wanted(self) -> bool:
        if self.unwanted or self.status["state"] == "failed":
            return False
        if not Path(self.options["socket"]).exists():
            return False
        return bool(self.leases) or time.monotonic() < self.idle_until

    def _patience(self) -> float:
        now = time.monotonic()
        moments = [now + _TICK_SECONDS]
        moments += [self.restart_at] if self.restart_at is not None else []
        moments += [] if self.leases else [self.idle_until]
        return max(0.0, min(moments) - now)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            lease = _Lease(connection)
            self.leases.append(lease)
            self.selector.register(connection, selectors.EVENT_READ, partial(self._hear, lease))
            self._tell(self.status, only=lease)

    def _hear(self, lease: _Lease) -> None:
        try:
            piece = lease.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._drop(lease)
            return
        *lines, lease.heard = (lease.heard + piece).split(b"\n")
        for line in lines:
            said = json.loads(line)
            lease.keep_alive = float(said.get("keep_alive", lease.keep_alive))
            self.unwanted = self.unwanted or bool(said.get("stop"))

    def _drop(self, lease: _Lease) -> None:
        if lease not in self.leases:
            return
        self.leases.remove(lease)
        self.selector.unregister(lease.connection)
        self.parting.append(lease)
        self.idle_until = max(self.idle_until, time.monotonic() + lease.keep_alive)

    def _part(self) -> None:
        """Let leases go that are over; the last one is kept, its holder reads until we are gone."""
        for lease in self.parting:
            lease.connection.close()
        self.parting.clear()

    def _tell(self, status: dict[str, Any], *, only: _Lease | None = None) -> None:
        for lease in [only] if only else [*self.leases, *self.parting]:
            _send(lease.connection, status)

    def _clear(self) -> None:
        """Remove what the engine leaves: its runner may have been killed."""
        remove_shared_memory(self.shared)
        shutil.rmtree(self.options["scratch"], ignore_errors=True)

    def _start(self) -> None:
        self.said, self.code = b"", None
        self.engine = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, str(Path(__file__).with_name(self.options["runner"]))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self.options["lock_fd"]],
            env={**_CALM, **os.environ, "AGENTKIT_ENGINE_PARENT": str(os.getpid())},
        )
        inlet, outlet = self.engine.stdin, self.engine.stdout
        if inlet is None or outlet is None:  # pragma: no cover - both were asked for
            raise RuntimeError("no pipes")
        inlet.write(json.dumps(self.options).encode() + b"\n")
        inlet.flush()
        self.selector.register(outlet, selectors.EVENT_READ, self._hear_engine)

    def _hear_engine(self) -> None:
        engine = self.engine
        if engine is None or engine.stdout is None:  # pragma: no cover - unregistered before
            return
        piece = os.read(engine.stdout.fileno(), 65_536)
        if not piece:
            self.selector.unregister(engine.stdout)
            self._bury(engine)
            return
        *lines, self.said = (self.said + piece).split(b"\n")
        for line in lines:
            self._understand(engine, json.loads(line))

    def _understand(self, engine: subprocess.Popen[bytes], said: dict[str, Any]) -> None:
        self.group = said.get("group", self.group)
        self.code = said.get("code", self.code)
        self.shared = said.get("shared", self.shared)
        self.options["port"] = said.get("port", self.options["port"])  # a restart keeps the address
        if "stage" in said:
            self._change({"state": "loading", "stage": said["stage"]})
        if "url" not in said:
            return
        url = str(said["url"])
        self.options["port"] = urlsplit(url).port
        if "ready_path" in self.options or _healthy(url):  # else the runner has not looked itself
            self.was_ready = True
            self._change({"state": "ready", "url": url, "api_key": self.options["api_key"]})
        else:
            engine.kill()

    def _bury(self, engine: subprocess.Popen[bytes]) -> None:
        ended = engine.wait()
        code = ended if self.code is None else self.code
        kill_all(self.group)
        self._clear()
        for pipe in (engine.stdin, engine.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.engine = self.group = None
        now = time.monotonic()
        self.deaths = [at for at in self.deaths if now - at < _FORGET_SECONDS] + [now]
        if not self.was_ready or len(self.deaths) > _RESTARTS:  # what never ran is not tried again
            self._change({"state": "failed", "code": code})
            return
        self.restart_at = now + _BACKOFF_SECONDS * 2 ** (len(self.deaths) - 1)
        self._change({"state": "restarting", "code": code})

    def _change(self, status: dict[str, Any]) -> None:
        self.status = {
            **status,
            "guard_pid": os.getpid(),
            "engine_pid": self.group or (self.engine.pid if self.engine else None),
            "since": self.since,
            "deaths": len(self.deaths),
        }
        self._tell(self.status)


def _send(connection: socket.socket, status: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a lease that is gone is heard of by its own event
        connection.send(json.dumps(status).encode() + b"\n")


def _healthy(url: str) -> bool:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
