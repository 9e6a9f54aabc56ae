"""Runs cells inside a container or a small kernel: the first process there, over two pipes.

The host speaks to it over stdin and stdout, which every container runtime carries: frames of a
4-byte big-endian length and that many bytes of JSON. In come `{"id", "code"}` and
`{"interrupt": id}`; out go `{"ready"}` and one answer to each cell. What a cell prints is read
here and travels in the answer, head and tail of it, and so does what lies in its folder then.
The code itself runs in a child, the same worker as everywhere; a child that has to be killed is
replaced. Frames of calls are handed on, see `_tool_stubs.py`. `{"read", "name", "start", "most"}`
is answered by `{"read"}` and "data" in base64, "irregular" or "error". When stdin ends, all ends.

Imports nothing but the standard library and modules that the host sends as it sends this one.
"""

import binascii
import ctypes
import os
import re
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

import _beneath
import _capture
import _frames
import _worker
from _janitor import describe_exit, reap, resident_bytes, usage

FRAME_BYTES = 256 * 1024
"""Longest answer of the child; a longer one is a forgery."""

GRACE_SECONDS = 0.5
"""Between the interrupt, which keeps the variables, and the kill, which does not."""

BUSY_SECONDS = 0.1
"""Between two looks at what a cell uses."""

COUNT_SECONDS = 0.5
"""Between two counts of what lies in its folders."""

DRAIN_BYTES = 1 << 20
"""Read after a cell has ended: more than a pipe holds, less than a runaway thread writes."""

SENTRY = "/proc/sentry-meminfo"
"""Where gVisor tells of its own memory; no other kernel has it."""

PR_SET_DUMPABLE = 4  # linux/prctl.h

_ESCAPED = re.compile(rb"\\([0-7]{3})")  # spaces, in /proc/self/mounts


class Child:
    """One worker, with its channel and its two outputs."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.control, control = socket.socketpair()
        self._config = config
        self._outputs: dict[int, _capture.Capture] = {}
        self.received = bytearray()
        self.unsent = bytearray()
        self.calls: set[int] = set()  # that the host has not answered
        pipes = [os.pipe() for _ in range(2)]
        self.pid = os.fork()
        if self.pid == 0:
            _set_dumpable(1)  # else a cell may not even list its own files
            theirs = {
                "control": control.detach(),
                "stdout": pipes[0][1],
                "stderr": pipes[1][1],
            }
            _worker.run({**config, **theirs}, config["folder"])
        control.close()
        for read, write in pipes:
            os.close(write)
            os.set_blocking(read, False)
        self.stdout, self.stderr = pipes[0][0], pipes[1][0]
        self.clear()

    def clear(self) -> None:
        """Begin a new cell's output."""
        kept = self._config["kept_bytes"]
        self._outputs[self.stdout] = _capture.Capture(kept)
        self._outputs[self.stderr] = _capture.Capture(kept // 3)

    def read(self, fd: int) -> bytes:
        """Take what a pipe holds now; empty if nothing, or if all who write have gone."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return b""
        self._outputs[fd].add(data)
        return data

    def drain(self) -> dict[str, str]:
        """Take what was printed and not read yet, and return all of the cell's output."""
        for fd, capture in self._outputs.items():
            limit = capture.total + DRAIN_BYTES
            while capture.total < limit and self.read(fd):
                pass
        return {
            "stdout": self._outputs[self.stdout].text(),
            "stderr": self._outputs[self.stderr].text(),
        }

    def printed(self) -> int:
        """Return the bytes that the cell has printed."""
        return sum(capture.total for capture in self._outputs.values())

    def send(self, frame: dict[str, Any]) -> None:
        """Hand on a cell, or what a tool has answered; a child that is gone is noticed otherwise."""
        self.unsent += _frames.pack(frame)
        self.flush()

    def flush(self) -> None:
        """Hand on what the child takes now; it may never take it."""
        with suppress(OSError):
            while self.unsent:
                del self.unsent[: self.control.send(self.unsent, socket.MSG_DONTWAIT)]

    def close(self) -> None:
        """Close our ends."""
        self.control.close()
        for fd in self._outputs:
            os.close(fd)


class Supervisor:
    """Keeps one child working until the host has gone."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._received = bytearray()
        self._out = os.dup(1)
        self._folder = os.open(config["folder"], os.O_RDONLY | os.O_DIRECTORY)
        self._id: int | None = None
        self._lost = False
        self._reason = ""
        self._until = 0.0
        self._signalled = 0.0
        self._counted = 0.0
        self._full = False
        self._mounted = mounted()
        self._child = Child(config)

    def serve(self) -> None:
        """Run cells until the end of stdin, or until too much is in use between two cells."""
        self._send({"ready": True, "python": sys.version.split()[0]})
        while self._step():
            pass

    def _step(self) -> bool:
        """Wait for something and deal with it; False when the host has gone."""
        child = self._child
        poll = select.poll()
        for fd in (0, child.stdout, child.stderr):
            poll.register(fd, select.POLLIN)
        control = child.control.fileno()
        poll.register(control, select.POLLIN | (select.POLLOUT if child.unsent else 0))
        busy = self._id is not None
        ready = dict(poll.poll(BUSY_SECONDS * 1000 if busy else 1000))
        for fd in {child.stdout, child.stderr} & set(ready):
            if not child.read(fd):
                time.sleep(0.001)  # closed by everyone: the rest says what to do
        if 0 in ready and not self._obey():
            return False
        if self._child is child and (events := ready.get(control, 0)):
            child.flush()
            if events != select.POLLOUT:
                self._hear()
        if self._child is child:
            self._look()
        return not self._full

    def _obey(self) -> bool:
        data = os.read(0, 65536)
        self._received += data
        for frame in _frames.take(self._received, 1 << 30):
            self._follow(frame)
        return bool(data)

    def _follow(self, frame: dict[str, Any]) -> None:
        if "code" in frame:
            self._look()  # a child that died since its last cell is none of this cell's
            self._id = frame["id"]
            self._child.send(frame)
        elif "read" in frame:
            self._send({"read": frame["read"], **read_piece(self._folder, frame)})
        elif "call" in frame:
            if frame["call"] in self._child.calls:  # else it was another child's
                self._child.calls.remove(frame["call"])
                self._child.send(frame)
        elif frame.get("interrupt") == self._id:
            self._interrupt("time")

    def _hear(self) -> None:
        """Take what the child says: calls of its cell, and the answer."""
        child = self._child
        data = b""
        with suppress(OSError):
            data = child.control.recv(65536)
        child.received += data
        frames: list[dict[str, Any]] = [{}]  # what is no frame is no answer
        with suppress(_frames.BadFrameError):
            frames = _frames.take(child.received, FRAME_BYTES)
        if not frames and not data:
            self._end_soon("protocol")
        for frame in frames:
            if self._child is child:
                self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        if self._id is None or frame.get("id") != self._id:
            self._replace("protocol")
        elif "call" not in frame:
            self._answer({key: frame.get(key) for key in ("value", "name", "error")})
        elif type(frame["call"]) is int:
            self._child.calls.add(frame["call"])
            self._send(frame)  # the host looks at it
        else:
            self._replace("protocol")

    def _look(self) -> None:
        """Notice a child that is gone, and a cell that goes too far."""
        ended = reap()
        if self._child.pid in ended:
            self._replace(describe_exit(ended[self._child.pid]))
        elif self._until:
            self._press()
        elif self._id is not None and self._child.printed() > self._config["output_bytes"]:
            self._interrupt("output")
        elif excess := self._excess():
            if self._id is None:
                self._full = True  # what earlier cells have left running ends with all of this
            else:
                self._replace(excess)

    def _press(self) -> None:
        """Wait for the end of a child that was told to come to one, for so long."""
        if time.monotonic() > self._until:
            self._replace(self._reason)
        elif self._reason != "protocol":
            self._signal()  # the first one is not heard by a child that only begins its cell

    def _excess(self) -> str:
        """Return what there is too much of: in a cell, and of what it has left running."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - ten times a second
        if len(pids) - 1 > self._config["processes"]:
            return "processes"
        folders = 4 * self._config["rlimits"]["RLIMIT_FSIZE"]  # two, each twice as large as a file
        used = sum(map(resident_bytes, pids)) + kernel_bytes(folders)
        if used > self._config["memory"]:
            return "memory"
        if time.monotonic() < self._counted + COUNT_SECONDS:
            return ""
        self._counted = time.monotonic()
        most = self._config["files"]
        folders = (self._config["folder"], "/tmp")  # noqa: S108 - its own
        found = sum(usage(folder, most, self._mounted)[1] for folder in folders)
        return "disk" if found > most else ""

    def _interrupt(self, reason: str) -> None:
        if not self._until:
            self._end_soon(reason)
            self._signal()

    def _signal(self) -> None:
        if time.monotonic() > self._signalled + BUSY_SECONDS:
            self._signalled = time.monotonic()
            with suppress(OSError):
                os.kill(self._child.pid, signal.SIGINT)

    def _end_soon(self, reason: str) -> None:
        if not self._until:
            self._reason, self._until = reason, time.monotonic() + GRACE_SECONDS

    def _answer(self, answer: dict[str, Any]) -> None:
        output = self._child.drain()
        if self._reason == "output":
            answer["error"] = f"Stopped: it printed more than {self._config['output_bytes']} bytes."
        files = [[name, *seen] for name, seen in _beneath.list_files(self._folder).items()]
        told = {**answer, **output, "restarted": self._lost, "files": files}
        self._send({"id": self._id, **told})
        self._child.clear()
        self._id, self._lost, self._reason, self._until = None, False, "", 0.0

    def _replace(self, reason: str) -> None:
        """Kill all there is, say why, and begin again."""
        child = self._child
        self.kill()
        self._lost = True
        if self._id is not None:  # else the next answer tells
            self._answer({"killed_by": reason})
        child.close()
        self._reason, self._until = "", 0.0
        self._child = Child(self._config)

    def kill(self) -> None:
        """End the child and everything it started."""
        with suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)
        if os.getpid() == 1:
            _end_all()
        with suppress(OSError):
            os.kill(self._child.pid, signal.SIGKILL)
            os.waitpid(self._child.pid, 0)
        reap()

    def _send(self, frame: dict[str, Any]) -> None:
        data = memoryview(_frames.pack(frame))
        while data:
            data = data[os.write(self._out, data) :]


def read_piece(folder: int, frame: dict[str, Any]) -> dict[str, Any]:
    """Return what a frame asks for of a file that a cell has made."""
    try:
        data = _beneath.read_regular(folder, frame["name"], frame["start"], frame["most"])
    except _beneath.IrregularFileError:
        return {"irregular": True}
    except (OSError, ValueError) as error:
        return {"error": str(error)}
    return {"data": binascii.b2a_base64(data, newline=False).decode()}


def mounted() -> frozenset[str]:
    """Return where something is mounted, as inputs are, and packages that lie below `/tmp`."""
    with suppress(OSError), open("/proc/self/mounts", "rb") as file:  # noqa: PTH123 - no pathlib in there
        # gVisor writes a space as it is, Linux as \040.
        points = [line.partition(b" ")[2].rsplit(b" ", 4)[0] for line in file]
        return frozenset(os.fsdecode(_ESCAPED.sub(_unescaped, point)) for point in points)
    return frozenset()


def _unescaped(found: "re.Match[bytes]") -> bytes:
    return bytes([int(found[1], 8)])


def kernel_bytes(folders: int) -> int:
    """Return the memory that gVisor holds for the processes: files without a name, pipes, names.

    Args:
        folders: bytes that may lie in files of the session.
    """
    files = _kilobytes("/proc/meminfo", "Shmem:") << 10
    return max(0, files - folders) + (_kilobytes(SENTRY, "HeapAlloc:") << 10)


def _kilobytes(path: str, name: str) -> int:
    """Return a line of what gVisor tells of its own memory; 0 where another kernel is asked."""
    with suppress(OSError, ValueError, IndexError):
        if os.path.exists(SENTRY):  # noqa: PTH110 - ten times a second
            with open(path, encoding="ascii") as file:  # noqa: PTH123 - as above
                found = [line.split() for line in file if line.startswith(name)]
            return int(found[0][1])
    return 0


def _end_all() -> None:
    """End all but us, and wait for it: what is killed counts as a process until it is reaped."""
    until = time.monotonic() + GRACE_SECONDS
    with suppress(OSError):  # none is left
        while time.monotonic() < until:
            os.kill(-1, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.001)


def _set_dumpable(value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, value, 0, 0, 0)


def main(config: dict[str, Any]) -> NoReturn:
    """Serve until the host has gone."""
    _set_dumpable(0)  # a cell of the same user cannot take this process over
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    code = 1
    supervisor = None
    try:
        supervisor = Supervisor(config)
        supervisor.serve()
        code = 0
    finally:
        if supervisor is not None:
            supervisor.kill()
        os._exit(code)
