"""One process at a time: a lock that the kernel drops with its holder."""

import fcntl
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

_POLL_SECONDS = 0.2


@asynccontextmanager
async def alone(target: Path, waiting: Callable[[], None]) -> AsyncGenerator[None]:
    """Hold the lock beside `target` for the block; `waiting` is called while another has it.

    Raises:
        OSError: the lock cannot be made.
    """
    lock = await to_thread.run_sync(_open_lock, target)
    try:
        while not _try_lock(lock):
            waiting()
            await anyio.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(lock)


def _open_lock(target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{target.name}.lock")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
