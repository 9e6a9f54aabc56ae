"""What a misbehaving server may cost: the loop's time, and memory."""

import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

_TICK_SECONDS = 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE")
LONGEST_STALL = 0.25
"""Seconds of the loop's own CPU between two ticks: a busy machine does not make it longer."""

MOST_MEMORY = 64 * 1024 * 1024


@dataclass
class Watch:
    """The worst that was seen.

    Attributes:
        stall: most CPU seconds of the loop's thread between two turns of another task.
        grown: most bytes of memory more than at the start.
    """

    stall: float = 0.0
    grown: int = 0


@asynccontextmanager
async def watched() -> AsyncGenerator[Watch]:
    """Watch the loop within the block, and hold it to its bounds."""
    watch = Watch()
    began = _resident()

    async def look() -> None:
        last = time.thread_time()
        while True:
            await anyio.sleep(_TICK_SECONDS)
            now = time.thread_time()
            watch.stall = max(watch.stall, now - last)
            watch.grown = max(watch.grown, _resident() - began)
            last = time.thread_time()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        yield watch
        tasks.cancel_scope.cancel()
    assert watch.stall < LONGEST_STALL
    assert watch.grown < MOST_MEMORY


def _resident() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
