"""Deadlines, groups, and whose cancellation it is."""

import asyncio  # noqa: TID251 - anyio does not tell whether the task itself was cancelled
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from math import inf

import anyio
from anyio.abc import TaskGroup

from agentkit.errors import AgentkitError


@contextmanager
def deadline(seconds: float | None, error: AgentkitError) -> Generator[None]:
    """Raise `error` if the block takes longer than `seconds`; `None` means no limit.

    Only this block's own expiry becomes `error`: a cancellation from outside passes through.
    """
    if seconds is None:
        yield
        return
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise error


@asynccontextmanager
async def together() -> AsyncGenerator[TaskGroup]:
    """Run tasks side by side; an error of one is raised as it is, not in a group."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors.exceptions[0].__cause__


def is_cancelled() -> bool:
    """Tell whether the task is being cancelled, by a scope around it or by whoever runs it.

    A cancellation that comes up while it is not has been made by the code that was called: it
    awaited something that somebody else has cancelled.
    """
    if anyio.current_effective_deadline() == -inf:
        return True
    task = asyncio.current_task() if "asyncio" in backend() else None
    return task is not None and task.cancelling() > 0


def backend() -> str:
    """Return the module that cancels: it begins with the name of the event loop."""
    return anyio.get_cancelled_exc_class().__module__
