"""The process that owns a model server: starts it, watches it, and ends it with all its children.

Run by path, so that nothing but the standard library is imported. Options arrive as one line of
JSON on standard input; the end of that input, or SIGTERM, asks for a stop. What becomes of the
server is told as lines of JSON on standard output: `{"group": …}` once it runs, `{"stage": …}`
while it starts, `{"url": …}` when it answers, `{"shared": …}`, the shared memory it has, and
`{"code": …}`, its exit status, at the end. Its parent is `guard_engine.py`.

The server's own output goes through this process into the log, so that no key is written there.
"""

import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import IO, Any

from process_tree import (
    adopt_orphans,
    die_with_parent,
    kill_all,
    remove_shared_memory,
    shared_memory_of,
)
from server_codes import HUNG, NOT_STARTED, PORT_TAKEN, TOO_LATE

_LOG_BYTES = 64 * 1024 * 1024  # then the log moves to NAME.1 and begins anew
_POLL_SECONDS = 0.25
_HEALTH_SECONDS = 30.0  # between two tokens asked of it to see that it can
_HEALTH_PATIENCE = 45.0  # SGLang itself gives up after 20 s
_FORGIVEN, _FORGIVEN_TOKENS = 3, 6  # looks in a row that may fail; tokens that may not come
_STAGES = tuple(
    (stage, re.compile(pattern))
    for stage, pattern in (
        ("download", r"Fetching \d+ files|Downloading (shards|model)"),
        ("weights", r"Load weight begin|Starting to load model|Loading safetensors"),
        ("KV cache", r"Load weight end|KV Cache is allocated|GPU KV cache size"),
        ("graph capture", r"Capture \S* ?cuda graph begin|Capturing CUDA graph"),
        ("warm-up", r"Engine startup timings|Uvicorn running on|Application startup complete"),
    )
)


def main() -> None:
    """Own a server until it ends or is to end."""
    # It does not die with its parent: the end of its input tells it, and it has children to end.
    os.environ.pop("AGENTKIT_ENGINE_PARENT", None)
    adopt_orphans()
    options = json.loads(sys.stdin.readline())
    code = _Owner(options).run()
    _say(code=code)


def _say(**said: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # the guard was killed: its end is heard on stdin
        os.write(1, json.dumps(said).encode() + b"\n")


@dataclass(slots=True)
class _Owner:
    options: dict[str, Any]
    port: int = 0
    server: subprocess.Popen[bytes] | None = None
    config: str | None = None
    since: float = field(default_factory=time.time)
    shared: set[str] = field(default_factory=set[str])
    ready: bool = False
    hung: bool = False
    heard: tuple[int, int] = field(default_factory=os.pipe)

    def run(self) -> int:
        """Start, watch and end the server; return its exit status."""
        os.set_blocking(self.heard[1], False)
        signal.set_wakeup_fd(self.heard[1], warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _hear)
        try:
            self.port = _free_port(self.options["port"])
        except OSError as error:
            self._log(f"agentkit: port {self.options['port']} cannot be used: {error}")
            return PORT_TAKEN
        try:
            self.server = self._start()
        except OSError as error:
            self._log(f"agentkit: {error}")
            return NOT_STARTED
        try:
            return self._watch(self.server)
        finally:
            self._forget_config()
            self._note_shared_memory()
            kill_all(self.server.pid)
            self._clear()

    def _start(self) -> subprocess.Popen[bytes]:
        words = {"port": str(self.port), "config": self._write_config()}
        variable = self.options["key_variable"]
        key = {variable: self.options["api_key"]} if variable else {}
        self._clear()  # what is left by one whose every owner was killed
        Path(self.options["scratch"]).mkdir(mode=0o700, parents=True)
        server = subprocess.Popen(  # noqa: S603 - what the profile says
            [_filled(word, words) for word in self.options["command"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # SGLang keeps what it compiles elsewhere: in its cache, which stays.
            env={
                **os.environ,
                "TMPDIR": self.options["scratch"],
                **self.options["environment"],
                **key,
            },
            cwd=self.options["folder"],
            start_new_session=True,
            # Killed with this process, even by the kernel. Before the exec, and in a process that
            # has no other thread yet.
            preexec_fn=_follow(os.getpid()),
        )
        _say(group=server.pid, port=self.port)
        threading.Thread(target=self._pump, args=[server.stdout], daemon=True).start()
        threading.Thread(target=self._probe, daemon=True).start()
        return server

    def _note_shared_memory(self) -> None:
        if self.server is None:
            return
        found = shared_memory_of(self.server.pid, self.since)
        if not found <= self.shared:
            self.shared |= found
            _say(shared=sorted(self.shared))

    def _clear(self) -> None:
        remove_shared_memory(self.shared)
        shutil.rmtree(self.options["scratch"], ignore_errors=True)

    def _watch(self, server: subprocess.Popen[bytes]) -> int:
        late = time.monotonic() + self.options["start_seconds"]
        while server.poll() is None:
            heard, _, _ = select.select([0, self.heard[0]], [], [], _POLL_SECONDS)
            if heard and self._is_to_stop(heard):
                return self._stop(server)
            if self.hung:
                self._log("agentkit: the server does not answer any more; it is ended.")
                return HUNG
            if not self.ready and time.monotonic() > late:
                self._log(f"agentkit: not ready after {self.options['start_seconds']:.0f} s.")
                return TOO_LATE
        return server.returncode

    def _is_to_stop(self, heard: list[int]) -> bool:
        """Tell a stop (end of input, or a signal) from the word of a thread."""
        if self.heard[0] not in heard:
            return True
        said = os.read(self.heard[0], 4096)
        return said.strip(b"\0") != b""  # threads write zeros, signals their numbers

    def _stop(self, server: subprocess.Popen[bytes]) -> int:
        """End what runs, let the server leave by itself, and see to it that it does.

        The whole group must not get SIGTERM: SGLang's scheduler would die first, which its parent
        takes for a crash. While it still loads SIGTERM would leave children behind: it is killed.
        """
        if not self.ready:
            return -signal.SIGKILL
        if self.options["aborts"]:
            _ask(self.port, "POST", "/abort_request", 2.0, self.options["api_key"])
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(self.options["drain_seconds"])
        return 0

    def _probe(self) -> None:
        """Look at the server until it is ready, and then whether it stays so."""
        ready, health = self.options["ready_path"], self.options["health_path"]
        while not self.ready:
            time.sleep(_POLL_SECONDS)
            self._note_shared_memory()  # later it may be dead, and this process too
            if _ask(self.port, "GET", ready, 2.0) == http.HTTPStatus.OK:
                self.ready = True
        self._forget_config()
        _say(url=f"http://127.0.0.1:{self.port}")
        # A long prompt may keep it from making a token for a while: /health may fail more often.
        silent, ill, asked, pause = 0, 0, time.monotonic(), self.options["look_seconds"]
        while silent < _FORGIVEN and ill < _FORGIVEN_TOKENS:
            time.sleep(pause)
            silent = 0 if _ask(self.port, "GET", ready, pause) == http.HTTPStatus.OK else silent + 1
            if time.monotonic() - asked >= _HEALTH_SECONDS:
                status, asked = _ask(self.port, "GET", health, _HEALTH_PATIENCE), time.monotonic()
                ill = 0 if status == http.HTTPStatus.OK else ill + 1
        self.hung = True
        os.write(self.heard[1], b"\0")

    def _pump(self, outlet: IO[bytes]) -> None:
        """Write what the server says into the log, without secrets, and tell how far it is."""
        log = _Log(Path(self.options["log"]))
        rest, stage = b"", ""
        while piece := os.read(outlet.fileno(), 65_536):
            *lines, rest = re.split(rb"(?<=[\r\n])", rest + piece)
            for line in lines:
                log.write(self._redacted(line))
                if not self.ready and (found := _stage_of(line)) not in {"", stage}:
                    stage = found
                    _say(stage=stage)
        log.write(self._redacted(rest))

    def _redacted(self, line: bytes) -> bytes:
        key: str = self.options["api_key"]
        return line.replace(key.encode(), b"***") if key else line

    def _log(self, line: str) -> None:
        _Log(Path(self.options["log"])).write(f"{line}\n".encode())

    def _write_config(self) -> str:
        """Write the key to a file of this user alone: every user can see a command line."""
        if not self.options["key_option"]:
            return ""
        handle, self.config = tempfile.mkstemp(suffix=".yaml", dir=self.options["folder"])
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{self.options['key_option']}: {json.dumps(self.options['api_key'])}\n")
        return self.config

    def _forget_config(self) -> None:
        if self.config is not None:
            Path(self.config).unlink(missing_ok=True)


class _Log:
    """A file that grows to a limit and then begins anew; the one before is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def write(self, line: bytes) -> None:
        self._file.write(line)
        if self._file.tell() > _LOG_BYTES:
            self._file.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._file = self._open()

    def _open(self) -> FileIO:
        return FileIO(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def _hear(_number: int, _frame: object) -> None:
    """Do nothing: the signal is heard through the wake-up descriptor."""


def _follow(parent: int) -> Any:
    return lambda: die_with_parent(parent)


def _filled(word: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _free_port(wanted: int) -> int:
    """Return the port if it is free, or any free one for 0: a server finds out after minutes."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", wanted))
        return int(listener.getsockname()[1])


def _stage_of(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return next((stage for stage, pattern in _STAGES if pattern.search(text)), "")


def _ask(port: int, method: str, path: str, seconds: float, key: str = "") -> int:
    """Return the status of an answer, 0 if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    body = json.dumps({"abort_all": True}) if method == "POST" else None
    try:
        connection.request(method, path, body=body, headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    main()
