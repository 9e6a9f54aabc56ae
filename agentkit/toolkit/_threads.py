"""Threads for functions that block: one a call, and none that keeps the process from ending."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from anyio import CapacityLimiter, Event, from_thread, to_thread
from anyio.lowlevel import RunVar, current_token

from agentkit.errors import ToolError

_THREADS = 64  # of one tool, at the same time
_ABANDONED_THREADS = 100  # of one tool; more, and it hangs each time at the cost of a thread
# What `from_thread` goes by; without it, a sync tool could not reach the loop from our threads.
_OF_ANYIO = getattr(from_thread, "threadlocals", threading.local())


class Threads:
    """A thread for each call of one tool.

    Threads of anyio would do, if asyncio did not wait for each of them when the process ends.
    """

    def __init__(self) -> None:
        self._limiter: RunVar[CapacityLimiter] = RunVar("agentkit tool threads")
        self._abandoned: list[threading.Thread] = []

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call the function; if the caller is cancelled, leave it to itself.

        Raises:
            ToolError: too many calls were left to themselves and still run.
        """
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if len(self._abandoned) >= _ABANDONED_THREADS:
            raise ToolError(f"It hangs: {len(self._abandoned)} earlier calls have not ended yet.")
        limiter = self._limiter.get(None)
        if limiter is None:
            limiter = CapacityLimiter(_THREADS)
            self._limiter.set(limiter)
        async with limiter:
            return await self._run(function)

    async def _run(self, function: Callable[[], Any]) -> Any:
        # By way of anyio, whose threads are told what is no concern of a thread, and what is.
        context, local = await to_thread.run_sync(_surroundings, limiter=CapacityLimiter(1))
        outcome: Future[Any] = Future()
        done, token = Event(), current_token()

        def work() -> None:
            vars(_OF_ANYIO).update(local)
            with suppress(InvalidStateError, RuntimeError):  # nobody waits, or the loop is closed
                _settle(outcome, partial(context.run, function))
                from_thread.run_sync(done.set, token=token)

        thread = threading.Thread(target=work, name="agentkit tool", daemon=True)
        thread.start()
        try:
            await done.wait()
        finally:
            if outcome.cancel():
                self._abandoned.append(thread)
        return outcome.result()


def _surroundings() -> tuple[Context, dict[str, Any]]:
    return copy_context(), dict(vars(_OF_ANYIO))


def _settle(outcome: Future[Any], function: Callable[[], Any]) -> None:
    try:
        value = function()
    except BaseException as error:  # the waiting caller raises it
        outcome.set_exception(error)
    else:
        outcome.set_result(value)
