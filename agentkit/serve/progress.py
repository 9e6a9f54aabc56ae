"""How far a call is, on its way to the client that wants to know."""

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
from mcp.server.session import ServerSession

from agentkit.serve._groups import bare

Report: TypeAlias = Callable[[float, float | None, str], None]
"""Takes how much is done, of how much in all, and in words; never blocks."""

_MOST_WAITING = 64  # older ones are dropped where a client reads slower than we tell


@asynccontextmanager
async def progress_to(session: ServerSession) -> AsyncGenerator[Report]:
    """Send what is reported in this block as progress of the request; all of it before the end.

    Nothing is sent to a client that gave no progress token. What is reported later is dropped.
    """
    sender = _Sender(session)
    with bare():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.run)
            try:
                yield sender.report
            finally:
                sender.end()


class _Sender:
    """Sends one after the other, in order."""

    def __init__(self, session: ServerSession) -> None:
        self._session = session
        self._waiting: deque[tuple[float, float | None, str]] = deque(maxlen=_MOST_WAITING)
        self._news = anyio.Event()
        self._last = -math.inf
        self._over = False

    def report(self, done: float, total: float | None, text: str) -> None:
        """Take note."""
        if self._over or not math.isfinite(done):
            return
        # The protocol wants it to grow each time; a tool may have more to say at the same point.
        self._last = done if done > self._last else math.nextafter(self._last, math.inf)
        self._waiting.append((self._last, total, text))
        self._news.set()

    def end(self) -> None:
        """Take no more; what waits is still sent."""
        self._over = True
        self._news.set()

    async def run(self) -> None:
        """Send until the end."""
        while True:
            while self._waiting:
                done, total, text = self._waiting.popleft()
                await self._session.report_progress(done, total, text or None)
            if self._over:
                return
            self._news = anyio.Event()
            await self._news.wait()
