"""Work that is waited for no longer than it deserves: cancelled, then abandoned."""

import asyncio  # noqa: TID251 - a task that may outlive its caller is what anyio does not have
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from agentkit.resilience._scopes import backend

T = TypeVar("T")

_GRACE_SECONDS = 2.0
_LATER = 0.05  # seconds after the caller's own deadline, which is the one that decides
_left: set[object] = set()  # the event loop holds its tasks weakly
_abandoned: dict[int, str] = {}


@dataclass(slots=True)
class Outcome(Generic[T]):
    """How work ended: with a value, with an error of any kind, or not in time."""

    value: T | None = None
    error: BaseException | None = None
    is_late: bool = False


def abandoned() -> tuple[str, ...]:
    """Return the names of work that was cancelled, did not end, and still has not."""
    return tuple(_abandoned.values())


async def run_apart(
    work: Callable[[], Awaitable[T]],
    name: str,
    on_abandoned: Callable[[], None],
    *,
    seconds: float | None = None,
    grace: float = _GRACE_SECONDS,
) -> Outcome[T]:
    """Do work in a task of its own and return how it ended, whatever it raises.

    After `seconds`, or if the caller is cancelled, the work is cancelled; if it swallows that and
    goes on for `grace` seconds, it is left to itself, `on_abandoned` is called, and `abandoned` has
    its name until it ends. Within the work, the deadline of the caller can be seen.
    """
    if backend().startswith("trio"):
        apart: _Apart[T] = _ApartInTrio(work, name, on_abandoned, seconds)
    else:
        apart = _Apart(work, name, on_abandoned, seconds)
    apart.start()
    try:
        await apart.end(grace)
    except anyio.get_cancelled_exc_class():
        await apart.stop(grace)
        raise
    return apart.outcome


class _Apart(Generic[T]):
    """Work in an asyncio task that nobody owns, and whoever waits for it."""

    __slots__ = (
        "_callers",
        "_ended",
        "_latest",
        "_name",
        "_on_abandoned",
        "_scope",
        "_task",
        "_work",
        "outcome",
    )

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        name: str,
        on_abandoned: Callable[[], None],
        seconds: float | None,
    ) -> None:
        self._work = work
        self._name = name
        self._on_abandoned = on_abandoned
        self._latest = inf if seconds is None else anyio.current_time() + seconds
        self._callers = anyio.current_effective_deadline() + _LATER
        self._scope = anyio.CancelScope(deadline=min(self._latest, self._callers))
        self._task: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self.outcome: Outcome[T] = Outcome()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self.do())

    async def do(self) -> None:
        """Do the work; the body of the task."""
        try:
            with self._scope:
                self.outcome.value = await self._work()
        except BaseException as error:
            self.outcome.error = error
        if _abandoned:
            _abandoned.pop(id(self), None)
        self._settle()

    async def end(self, grace: float) -> None:
        """Wait for the end, or until it is overdue."""
        outcome, scope = self.outcome, self._scope
        if not await self._ended_by(self._latest + grace):
            outcome.is_late = True
            self._abandon()
        elif scope.cancel_called and (scope.cancelled_caught or outcome.error is not None):
            outcome.is_late = self._latest <= self._callers
            while not outcome.is_late:  # the caller's own deadline comes in a moment
                await checkpoint()

    async def stop(self, grace: float) -> None:
        """Cancel it, and wait as long as it deserves."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            if not await self._ended_by(anyio.current_time() + grace):
                self._abandon()

    async def _ended_by(self, moment: float) -> bool:
        """Wait for the end, until a moment; return whether it has come."""
        task, loop = self._task, asyncio.get_running_loop()
        if task is None or task.done():
            return True
        ended = self._ended = loop.create_future()
        timer = None if moment == inf else loop.call_at(moment, self._settle)
        try:
            await ended
        finally:
            if timer is not None:
                timer.cancel()
        return task.done()

    def _settle(self) -> None:
        """End the waiting; the last that the task itself does."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _abandon(self) -> None:
        _abandoned[id(self)] = self._name
        self._forget()
        self._on_abandoned()

    def _forget(self) -> None:
        """Let the event loop end without it: `asyncio.run` waits for all other tasks."""
        if task := self._task:
            _left.add(task)
            task.add_done_callback(_left.discard)
            asyncio._unregister_task(task)  # noqa: SLF001 - documented, for such as extend asyncio
            task._log_destroy_pending = False  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue] - as asyncio does for those it leaves


class _ApartInTrio(_Apart[T]):
    """The same in trio, which waits for all of its tasks at its end."""

    __slots__ = ("_over",)

    def start(self) -> None:
        """Begin."""
        import trio  # only where it runs already

        self._over = trio.Event()
        trio.lowlevel.spawn_system_task(self.do, context=copy_context())

    async def _ended_by(self, moment: float) -> bool:
        with anyio.CancelScope(deadline=moment):
            await self._over.wait()
        return self._over.is_set()

    def _settle(self) -> None:
        self._over.set()

    def _forget(self) -> None:
        """Do nothing: there is no other way to end."""
