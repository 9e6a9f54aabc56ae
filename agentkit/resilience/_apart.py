"""Work that is waited for no longer than it deserves: cancelled, then abandoned."""

import asyncio  # noqa: TID251 - a task that may outlive its caller is what anyio does not have
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, TypeVar

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
    latest = inf if seconds is None else anyio.current_time() + seconds
    apart = _Apart(work, name, on_abandoned, latest)
    apart.task.start(apart.do)
    try:
        await apart.end(grace)
    except anyio.get_cancelled_exc_class():
        await apart.stop(grace)
        raise
    return apart.outcome


class _Apart(Generic[T]):
    """Work, and whoever waits for it."""

    __slots__ = (
        "_callers",
        "_latest",
        "_name",
        "_on_abandoned",
        "_scope",
        "_work",
        "outcome",
        "task",
    )

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        name: str,
        on_abandoned: Callable[[], None],
        latest: float,
    ) -> None:
        self._work = work
        self._name = name
        self._on_abandoned = on_abandoned
        self._latest = latest
        self._callers = anyio.current_effective_deadline() + _LATER
        self._scope = anyio.CancelScope(deadline=min(latest, self._callers))
        self.outcome: Outcome[T] = Outcome()
        self.task = _TrioTask() if backend().startswith("trio") else _AsyncioTask()

    async def do(self) -> None:
        """Do the work; the body of its task."""
        try:
            with self._scope:
                self.outcome.value = await self._work()
        except BaseException as error:
            self.outcome.error = error
        if _abandoned:
            _abandoned.pop(id(self), None)
        self.task.settle()

    async def end(self, grace: float) -> None:
        """Wait for the end, or until it is overdue."""
        outcome, scope = self.outcome, self._scope
        if not await self.task.ended_by(self._latest + grace):
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
            if not await self.task.ended_by(anyio.current_time() + grace):
                self._abandon()

    def _abandon(self) -> None:
        _abandoned[id(self)] = self._name
        self.task.forget()
        self._on_abandoned()


class _AsyncioTask:
    """A task that nobody owns."""

    __slots__ = ("_ended", "_loop", "_task")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin."""
        self._task = self._loop.create_task(body())
        self._task.add_done_callback(self.settle)  # of one that is cancelled before it begins

    async def ended_by(self, moment: float) -> bool:
        """Wait for its end, until a moment; return whether it has ended."""
        ended = self._ended = self._loop.create_future()
        if self.is_over:
            return True
        timer = None if moment == inf else self._loop.call_at(moment, self.settle)
        try:
            await ended
        finally:
            if timer is not None:
                timer.cancel()
        return self.is_over

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._task is None or self._task.done()

    def settle(self, _: object = None) -> None:
        """End the waiting for it; the last that it does itself."""
        ended = self._ended
        if ended is not None and not ended.done():
            ended.set_result(None)

    def forget(self) -> None:
        """Let the event loop end without it: `asyncio.run` waits for all others."""
        if task := self._task:
            _left.add(task)
            task.add_done_callback(_left.discard)
            asyncio._unregister_task(task)  # noqa: SLF001 - documented, for such as extend asyncio
            task._log_destroy_pending = False  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue] - as asyncio does for those it leaves


class _TrioTask:
    """The same in trio, which waits for all of its tasks."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        import trio  # only where it runs already

        self._ended = trio.Event()

    def start(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin."""
        import trio

        trio.lowlevel.spawn_system_task(body, context=copy_context())

    async def ended_by(self, moment: float) -> bool:
        """Wait for its end, until a moment; return whether it has ended."""
        with anyio.CancelScope(deadline=moment):
            await self._ended.wait()
        return self._ended.is_set()

    def settle(self) -> None:
        """End the waiting for it."""
        self._ended.set()

    def forget(self) -> None:
        """Do nothing: there is no other way to end."""
