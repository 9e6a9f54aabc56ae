"""Starts one worker, watches what it uses, and leaves nothing of it behind.

Runs as a program of its own between host and worker (`START`, by path, since that process knows
no package), so that the whole tree below it ends when the host asks, dies or is killed. On Linux
it adopts the orphans of the tree, so that a daemon with a session of its own is found as well.

The host writes single letters to the `life` socket: `B`/`E` when a cell begins or ends, `I` to
interrupt it, `K` to end everything. The janitor writes two lines of JSON: `{"pid", "folder"}`
when the worker is there, with a descriptor of that folder, and `{"exit", "by"}` when all is gone.

Inside a namespace of its own it is process 1: the kernel ends everything there with it, and lets
nothing there stop or kill it.
"""
# ruff: noqa: PTH101, PTH102, PTH114, PTH118, PTH123, PTH208, PTH211 - pathlib would double the start

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import stat
import sys
import time

TYPE_CHECKING = False  # the module that defines it would cost a start 3 ms
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36

START = "import sys; sys.path.insert(0, sys.argv[1]); import _janitor; _janitor.main()"
"""Program for `python -c`: its arguments are this folder, and what is to be started as JSON.

Imported, and not run as a file, it need not be compiled at each start.
"""

BUSY_SECONDS = 0.1
"""Between two looks at the tree while a cell runs."""

IDLE_SECONDS = 1.0
"""The same between cells."""

COUNT_SECONDS = 0.5
"""Between two counts of what lies in a folder."""

GIVE_UP_SECONDS = 5.0
"""How long a tree is killed before what is left (stuck in the kernel) is left."""


def descendants(root: int) -> list[int]:
    """Return the processes below `root`, nearest first; empty where there is no /proc."""
    found: list[int] = []
    todo = [root]
    while todo:
        children = _children(todo.pop())
        found += children
        todo += children
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):  # ended meanwhile
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
    return children


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds, 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # ended meanwhile
        return 0


def describe_exit(code: int) -> str:
    """Return how a process has ended, from its exit code, or minus the signal.

    >>> describe_exit(3), describe_exit(-9)
    ('exit 3', 'SIGKILL')
    """
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def end_tree(root: int, group: int) -> None:
    """Kill everything below `root`: stop first, so that nothing can fork away from us."""
    stopped: set[int] = set()
    until = time.monotonic() + GIVE_UP_SECONDS
    _signal_group(group, signal.SIGKILL)
    while time.monotonic() < until:
        reap()
        pids = set(descendants(root))
        if not pids:
            return
        for pid in pids - stopped:
            _signal(pid, signal.SIGSTOP)
        if pids <= stopped:
            for pid in pids:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.001)
        stopped |= pids


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # ended, or it changed its user
        return


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def reap() -> dict[int, int]:
    """Collect every child that has ended: exit code, or minus the signal, by pid."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def make_folder(folder: str) -> str:
    """Make an empty folder that only this user can enter."""
    os.mkdir(folder, 0o700)
    return folder


def usage(folder: str, most_files: int, mounted: Collection[str] = ()) -> tuple[int, int]:
    """Return the bytes and the files below a folder; stops counting when there are too many.

    Args:
        folder: where the code works.
        most_files: more need not be counted.
        mounted: paths below it that are not counted, as of inputs: the code has not made them.
    """
    size = files = 0
    todo = [folder]
    while todo and files <= most_files:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:  # gone, or unreadable
            for entry in entries:
                if entry.path in mounted:
                    continue
                files += 1
                with contextlib.suppress(OSError):
                    seen = entry.stat(follow_symlinks=False)
                    size += seen.st_blocks * 512
                    if stat.S_ISDIR(seen.st_mode):
                        todo.append(entry.path)
                if files > most_files:
                    break
    return size, files


def remove_folder(folder: str) -> None:
    """Remove a folder and what is in it, also what was made unreadable; follows no link."""
    import shutil  # these two cost 15 ms that the start need not pay
    import subprocess

    with contextlib.suppress(OSError, RecursionError):  # what follows removes what it can
        for path, folders, _files in os.walk(folder):
            for name in folders:
                inner = os.path.join(path, name)
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # thousands of folders deep: rm does not recurse
        subprocess.run(["rm", "-rf", "--", folder], check=False, stderr=subprocess.DEVNULL)  # noqa: S603, S607 - rm of the user's own PATH, on our own folder


class Janitor:
    """Looks after one worker until it or the host ends."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._life: int = config["life"]
        self._seconds = IDLE_SECONDS
        self._worker = 0
        self._exit: int | None = None
        self._folder = ""
        self._counted = 0.0

    def work(self) -> None:
        """Start the worker, wait for the end, clear up, report."""
        by = ""
        # In a namespace the folder is there, and goes with it.
        self._folder = self._config["folder"] or make_folder(self._config["make"])
        try:
            self._furnish()
            wake = self._start(self._folder)
            self._report({"pid": self._worker, "folder": self._folder}, self._folder)
            by = self._watch(wake)
        finally:
            if self._worker:
                end_tree(os.getpid(), self._worker)
            if not self._config["folder"]:
                remove_folder(self._folder)
            self._report({"exit": self._exit, "by": by})

    def _furnish(self) -> None:
        """Put the inputs where the code finds them, and give it the folder."""
        if self._config["inputs"]:
            inner = os.path.join(self._folder, "inputs")
            os.mkdir(inner, 0o755)
            for name, path in self._config["inputs"].items():
                os.symlink(path, os.path.join(inner, name))
        if self._config["uid"]:
            os.chown(self._folder, self._config["uid"], self._config["uid"])

    def _start(self, folder: str) -> int:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        wake, wakened = os.pipe()
        os.set_blocking(wakened, False)
        signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, _note)
        self._worker = os.fork()
        if self._worker == 0:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            try:
                _work(self._config, folder)
            except BaseException as error:  # nothing of the janitor's is done by its copy
                os.write(self._config["stderr"], f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(1)
        for name in ("control", "stdout", "stderr"):
            os.close(self._config[name])
        return wake

    def _watch(self, wake: int) -> str:
        """Return why the session ended: "" if the worker ended by itself."""
        poll = select.poll()  # select() refuses descriptors above 1023, and the host chose ours
        poll.register(self._life, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while True:
            ready = [number for number, _ in poll.poll(self._seconds * 1000)]
            if wake in ready and signal.SIGTERM in os.read(wake, 4096):
                return "host"
            self._exit = reap().get(self._worker)
            if self._exit is not None:
                return ""
            if self._life in ready and not self._obey():
                return "host"
            if self._config["host"] and os.getppid() != self._config["host"]:
                return "host"
            if excess := self._excess():
                return excess

    def _obey(self) -> bool:
        """Follow the host's letters; False if it wants the end, or is gone."""
        try:
            letters = os.read(self._life, 64)
        except OSError:
            return False
        for letter in letters:
            if letter == ord("I"):
                _signal(self._worker, signal.SIGINT)
            elif letter == ord("B"):
                self._seconds = BUSY_SECONDS
            elif letter == ord("E"):
                self._seconds = IDLE_SECONDS
        return bool(letters) and ord("K") not in letters

    def _excess(self) -> str:
        pids = descendants(os.getpid())
        if len(pids) > self._config["processes"]:
            return "processes"
        if sum(map(resident_bytes, pids)) > self._config["memory"]:
            return "memory"
        return "disk" if self._is_full() else ""

    def _is_full(self) -> bool:
        now = time.monotonic()
        if now - self._counted < COUNT_SECONDS:
            return False
        most_bytes, most_files = self._config["folder_bytes"], self._config["folder_files"]
        size, files = usage(self._folder, most_files, self._config["mounted"])
        self._counted = time.monotonic()
        return size > most_bytes or files > most_files

    def _report(self, line: dict[str, Any], folder: str = "") -> None:
        data = json.dumps(line).encode() + b"\n"
        try:
            if folder:
                _send_with_folder(self._life, data, folder)
            else:
                os.write(self._life, data)
        except OSError:  # the host is gone; nobody to tell
            return


def _send_with_folder(life: int, data: bytes, folder: str) -> None:
    import _socket  # the classes around it would cost the start 4 ms

    channel = _socket.socket(fileno=life)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))
        channel.sendmsg([data], [rights])
    finally:
        os.close(fd)
        channel.detach()


def _work(config: dict[str, Any], folder: str) -> None:
    """Be the worker; never returns."""
    # What the worker loads once it is confined has to be there by then.
    __import__("_tool_stubs")
    if config["confine"] is not None:
        __import__("_confine")
    import _worker

    sys.path.remove(sys.argv[1])
    _worker.run(config, folder)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _note(_signal: int, _frame: object) -> None:
    """Do nothing: the wake-up pipe carries the news."""


def main() -> None:
    """Be the janitor that the command line describes; see `START`."""
    Janitor(json.loads(sys.argv[2])).work()
