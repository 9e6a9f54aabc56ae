"""Work that is waited for no longer than it deserves: cancelled, then abandoned."""

import asyncio  # noqa: TID251 - a task that may outlive its caller is what anyio does not have
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from agentkit.resilience._scopes import backend

T = TypeVar("T")

_GRACE_SECONDS = 2.0
_LATER = 0.05  # seconds after the caller's own deadline, which is the one that decides
_running: set[object] = set()  # the event loop holds its tasks weakly
_abandoned: dict[int, str] = {}


@dataclass(slots=True)
class Outcome(Generic[T]):
    """How work ended: with a value, or with an error of any kind."""

    value: T | None = None
    error: BaseException | None = None


def abandoned() -> tuple[str, ...]:
    """Return the names of work that was cancelled, did not end, and still has not."""
    return tuple(_abandoned.values())


async def run_apart(
    work: Callable[[], Awaitable[T]],
    name: str,
    on_abandoned: Callable[[], None],
    grace: float = _GRACE_SECONDS,
) -> Outcome[T]:
    """Do work in a task of its own and return how it ended, whatever it raises.

    If the caller is cancelled, so is the work; if it swallows that and goes on for `grace` seconds,
    it is left to itself, `on_abandoned` is called, and `abandoned` has its name until it ends.
    Within the work, the deadline of the caller can be seen.
    """
    outcome: Outcome[T] = Outcome()
    scope = anyio.CancelScope(deadline=anyio.current_effective_deadline() + _LATER)

    async def body() -> None:
        try:
            with scope:
                outcome.value = await work()
        except BaseException as error:
            outcome.error = error
        finally:
            if _abandoned:
                _abandoned.pop(id(scope), None)

    ended = _start(body)
    try:
        await ended()
        while scope.cancelled_caught:  # our own deadline came a moment before the caller's
            await checkpoint()
    except anyio.get_cancelled_exc_class():
        scope.cancel()
        with anyio.move_on_after(grace, shield=True) as patience:
            await ended()
        if patience.cancelled_caught:
            _abandoned[id(scope)] = name
            on_abandoned()
        raise
    return outcome


def _start(body: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Awaitable[object]]:
    """Begin in a task that nobody owns, and return what waits for its end without owning it."""
    if backend().startswith("trio"):
        return _start_in_trio(body)
    task = asyncio.get_running_loop().create_task(body())
    _running.add(task)
    task.add_done_callback(_running.discard)
    return partial(_wait_for, task)


async def _wait_for(task: asyncio.Task[None]) -> None:
    if task.done():
        return
    ended: asyncio.Future[None] = task.get_loop().create_future()

    def end(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    task.add_done_callback(end)
    try:
        await ended
    finally:
        task.remove_done_callback(end)


def _start_in_trio(
    body: Callable[[], Coroutine[Any, Any, None]],
) -> Callable[[], Awaitable[object]]:
    import trio  # only where it runs already

    ended = trio.Event()

    async def told() -> None:
        try:
            await body()
        finally:
            ended.set()

    trio.lowlevel.spawn_system_task(told, context=copy_context())
    return ended.wait
