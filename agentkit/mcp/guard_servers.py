"""Ends what MCP servers have started, should we be killed before we can.

Runs as a program of its own (`python -I -S guard_servers.py MARK`): when its stdin ends, which
happens however we end, it kills each process whose environment has the mark. The signal by which
the kernel ends a child of ours reaches that child alone, not what a wrapper like npx has started.
"""

import contextlib
import os
import signal
import sys

_ROUNDS = 20  # of looking for what was forked meanwhile


def main() -> None:
    """Wait, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are meant for those who are guarded
    while os.read(0, 4096):
        pass
    kill_marked(sys.argv[1])


def kill_marked(mark: str) -> None:
    """Kill each process whose environment has `mark`, until none is left; looks through /proc."""
    for _ in range(_ROUNDS):
        if not any([_kill_if_marked(name, mark.encode()) for name in os.listdir("/proc")]):  # noqa: C419, PTH208 - each of them
            return


def _kill_if_marked(name: str, needle: bytes) -> bool:
    if not name.isdecimal() or int(name) == os.getpid():
        return False
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        handle = os.pidfd_open(int(name))  # from here on the number cannot mean another process
        try:
            if needle in _environment(name).split(b"\0"):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


def _environment(name: str) -> bytes:
    with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - pathlib would double the start
        return file.read()


if __name__ == "__main__":
    main()
