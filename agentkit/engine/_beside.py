"""A task beside a block: it ends with the block, and the block's errors stay what they were."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import to_thread

from agentkit.engine._values import Progress, ProgressCallback

_TICK_SECONDS = 0.3


@asynccontextmanager
async def beside(task: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Run `task` until the block ends; an error of either is raised as it is, not in a group."""
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(task)
            yield
            group.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        inside = list(errors.exceptions)
        if len(inside) > 1:
            raise
        raise inside[0] from inside[0].__cause__


@asynccontextmanager
async def reporting(
    progress: ProgressCallback, measure: Callable[[], Progress], *, blocks: bool = False
) -> AsyncGenerator[None]:
    """Report what `measure` returns, at once and a few times a second, until the block ends.

    Args:
        progress: who is told, in the event loop.
        measure: how far it has come.
        blocks: `measure` looks at files: call it in a worker thread.
    """

    async def repeat() -> None:
        while True:
            progress(await to_thread.run_sync(measure) if blocks else measure())
            await anyio.sleep(_TICK_SECONDS)

    async with beside(repeat):
        yield
