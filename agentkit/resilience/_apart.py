"""Work that is waited for no longer than it deserves: cancelled, then abandoned."""

import asyncio  # noqa: TID251 - a task that may outlive its caller is what anyio does not have
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass
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
    done = anyio.Event()
    scope = anyio.CancelScope(deadline=anyio.current_effective_deadline() + _LATER)

    async def body() -> None:
        try:
            with scope:
                outcome.value = await work()
        except BaseException as error:
            outcome.error = error
        finally:
            _abandoned.pop(id(scope), None)
            done.set()

    _start(body)
    try:
        await done.wait()
        while scope.cancelled_caught:  # our own deadline came a moment before the caller's
            await checkpoint()
    except anyio.get_cancelled_exc_class():
        scope.cancel()
        with anyio.move_on_after(grace, shield=True):
            await done.wait()
        if not done.is_set():
            _abandoned[id(scope)] = name
            on_abandoned()
        raise
    return outcome


def _start(body: Callable[[], Any]) -> None:
    if backend().startswith("trio"):
        import trio  # only where it runs already

        trio.lowlevel.spawn_system_task(body, context=copy_context())
        return
    task = asyncio.get_running_loop().create_task(body())
    _running.add(task)
    task.add_done_callback(_running.discard)
