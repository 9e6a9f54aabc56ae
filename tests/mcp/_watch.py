"""What a misbehaving server may cost: the loop's time, and memory."""

import gc
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
    began: int = field(default_factory=lambda: _resident())
    last: float = field(default_factory=time.thread_time)

    def look(self) -> None:
        """Take note of what was used since the last look."""
        self.stall = max(self.stall, time.thread_time() - self.last)
        self.grown = max(self.grown, _resident() - self.began)
        self.last = time.thread_time()

    async def go_on(self) -> None:
        """Look again and again."""
        while True:
            await anyio.sleep(_TICK_SECONDS)
            self.look()


@asynccontextmanager
async def watched() -> AsyncGenerator[Watch]:
    """Watch the loop within the block, and hold it to its bounds."""
    gc.disable()  # it goes through what other tests have left behind: that is not a server's doing
    try:
        watch = Watch()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.go_on)
            yield watch
            watch.look()
            tasks.cancel_scope.cancel()
    finally:
        gc.enable()
    assert watch.stall < LONGEST_STALL
    assert watch.grown < MOST_MEMORY


def _resident() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
