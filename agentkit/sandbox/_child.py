"""The host's end of a janitor and its worker: a process, four files, and frames of JSON."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import cast

import anyio
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.messages import JsonObject
from agentkit.sandbox._frames import take_one
from agentkit.sandbox._janitor import remove_folder
from agentkit.sandbox._outbox import Outbox
from agentkit.sandbox._setup import Setup, environment, start_command

FRAME_BYTES = 256 * 1024
"""Longest answer of a worker; a longer one is a forgery."""

START_SECONDS = 20.0
"""Patience with a janitor on a machine that is busy with something else."""

STOP_SECONDS = 8.0
"""Patience with a janitor that ends its tree, which takes a few milliseconds."""


class Child:
    """One janitor with its worker. Opened by `start`, ended by `end`; used by one task at a time."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._life: socket.socket | None = None
        self._received = bytearray()
        self._outbox = Outbox()
        self._reported = bytearray()
        self._worker = 0
        self._folder = ""
        self._status = -1
        self.folder = -1
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
                f"The code interpreter cannot be started: {self._last_words() or repr(error)}",
                hint=f"Check that {sys.executable} runs and {tempfile.gettempdir()} is writable.",
            ) from error
        raise ToolError(f"The code interpreter did not start within {START_SECONDS:.0f} s.")

    def _spawn(self) -> None:
        """Start the process; everything it opened is reachable from `end` at any moment."""
        self._control, control = socket.socketpair()
        self._life, life = socket.socketpair()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self._status, status = os.pipe()
        theirs = (control.detach(), life.detach(), stdout, stderr, status)
        try:
            for fd in (self.stdout, self.stderr, self._status):
                os.set_blocking(fd, False)
            self._control.setblocking(False)
            self._life.setblocking(False)
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                start_command(self._setup, theirs),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=theirs,
                env=environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is not for the worker
            )
        finally:
            for fd in theirs:
                os.close(fd)

    def _last_words(self) -> str:
        """Return what the program that was to start said before it ended; blocks for no time."""
        if self._process is None or self._process.stderr is None:
            return ""
        fd = self._process.stderr.fileno()
        os.set_blocking(fd, False)
        with suppress(OSError):
            said = os.read(fd, 4096).decode(errors="replace").strip()
            return said.splitlines()[-1] if said else ""
        return ""

    def tell(self, letters: bytes) -> None:
        """Send the janitor its letters; one that is gone needs no telling."""
        if self._life is not None:
            try:
                self._life.send(letters)
            except OSError:
                return

    async def send(self, frame: JsonObject) -> None:
        """Send the worker a frame; one that died on the way is reported by `wait_gone`."""
        await self._outbox.send(_opened(self._control).fileno(), frame)

    async def flush(self) -> None:
        """Send what is left of frames whose sending was cancelled."""
        await self._outbox.flush(_opened(self._control).fileno())

    async def receive(self) -> JsonObject | None:
        """Return the next frame of the worker, `None` if it closed the channel.

        Raises:
            BadFrameError: too long, or not a JSON object.
        """
        while True:
            frame = take_one(self._received, FRAME_BYTES)
            if frame is not None:
                return frame
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
            if not await self._receive_report():
                raise ConnectionError("its janitor has ended")
        line, _, rest = self._reported.partition(b"\n")
        self._reported = rest
        report = cast("JsonObject", json.loads(line))
        if "pid" in report:
            self._worker, self._folder = int(report["pid"]), str(report["folder"])
        return report

    async def _receive_report(self) -> bool:
        """Wait for more of what the janitor says; its first words come with its folder."""
        life = _opened(self._life)
        if self.folder >= 0:
            return await _receive_into(life, self._reported)
        await anyio.wait_readable(life)
        try:
            data, files, _flags, _address = socket.recv_fds(life, 65536, 4)
        except OSError:
            return False
        for fd in files:
            os.set_inheritable(fd, False)
            if self.folder < 0:
                self.folder = fd
            else:
                os.close(fd)
        self._reported += data
        return bool(data)

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
        if self._process is not None:
            if self.by == "janitor" or not self.gone:
                self._clear_after_janitor()
            self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()
        for fd in (self.stdout, self.stderr, self._status, self.folder):
            if fd >= 0:
                os.close(fd)
        self.stdout = self.stderr = self._status = self.folder = -1

    def _clear_after_janitor(self) -> None:
        """Do what a killed or stuck janitor did not do; daemons in sessions of their own remain."""
        if self._setup.level == "namespaced":
            self._end_namespace()
        elif self._worker:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._worker, signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
        if self._folder and self._setup.level != "namespaced":
            remove_folder(self._folder)

    def _end_namespace(self) -> None:
        """Kill process 1 of the namespace, with which all of it ends."""
        with suppress(OSError, ValueError, LookupError):  # bubblewrap ended before it had begun
            status = json.loads(os.read(self._status, 4096).splitlines()[0])
            os.kill(int(status["child-pid"]), signal.SIGKILL)


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
