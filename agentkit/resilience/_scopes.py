"""Deadlines, groups, and whose cancellation it is."""

import asyncio  # noqa: TID251 - anyio does not tell whether the task itself was cancelled
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

from agentkit.errors import AgentkitError


class deadline:  # noqa: N801 - used like a function; a generator would cost five times as much
    """Raise `error` if the block takes longer than `seconds`; `None` means no limit.

    Only this block's own expiry becomes `error`: a cancellation from outside passes through.
    """

    __slots__ = ("_error", "_scope")

    def __init__(self, seconds: float | None, error: AgentkitError) -> None:
        self._error = error
        self._scope = None if seconds is None else anyio.move_on_after(seconds)

    def __enter__(self) -> None:
        if self._scope is not None:
            self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._scope is not None:
            self._scope.__exit__(kind, error, traceback)
            if self._scope.cancelled_caught:
                raise self._error from None


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
