"""Keeps one started session in hand, so that the next run need not wait for a start."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import anyio

from agentkit.errors import ToolError
from agentkit.sandbox._session import Session
from agentkit.sandbox._setup import Setup

MODULES = ("numpy", "pandas", "matplotlib.pyplot")
"""Loaded ahead where they are installed: together they take more than half a second."""

PATIENCE_SECONDS = 0.2
"""Before another is started: whoever has asked is served first, and has the processor."""


class Spares:
    """One session ahead of those who ask; the first is started once somebody has asked.

    A session is never handed on from one to another: each is used by one run and ended with it.
    """

    def __init__(self) -> None:
        self._setup: Setup | None = None
        self._spare: Session | None = None
        self._wanted = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, modules: Sequence[str] = MODULES) -> AsyncGenerator[Self]:
        """Keep a spare for the time of the block; leaving it ends the spare.

        Args:
            modules: loaded into it.
        """
        spares = cls()
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(spares._keep, modules)
            try:
                yield spares
            except BaseException as error:
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure  # as itself: the caller need not know that there is a group in here

    def take(self, setup: Setup) -> Session | None:
        """Return a started session that is held so, if there is one; another is started."""
        found = self._spare if self._spare is not None and self._spare.setup == setup else None
        if found is not None:
            self._spare = None
        self._setup = setup
        self._wanted.set()
        return found

    async def _keep(self, modules: Sequence[str]) -> None:
        try:
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                await anyio.sleep(PATIENCE_SECONDS)
                await self._renew(modules)
        finally:
            await self._drop()

    async def _renew(self, modules: Sequence[str]) -> None:
        setup = self._setup
        if setup is None or (self._spare is not None and self._spare.setup == setup):
            return
        await self._drop()
        session = Session(setup)
        try:
            await session.start(modules)
        except ToolError:
            return  # whoever asks next starts one, and is told why it cannot be
        except BaseException:
            await session.aclose()
            raise
        self._spare = session

    async def _drop(self) -> None:
        """End the spare; bounded, also where the task is cancelled."""
        spare, self._spare = self._spare, None
        if spare is not None:
            await spare.aclose()
