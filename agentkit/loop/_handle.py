"""A run that is going on, in the hands of whoever started it."""

from collections import deque
from collections.abc import Callable

import anyio

from agentkit.errors import AgentkitError
from agentkit.events import Event
from agentkit.loop._result import Result
from agentkit.loop._run import run_to_end
from agentkit.loop._state import RunState


class Run:
    """A run in progress: its events as they happen, its result at the end.

    Iterate it for events, await `result()`, or both. Each event is given out once.
    """

    def __init__(self, state: RunState, *, plan: bool) -> None:
        self.run_id = state.run_id
        self._state = state
        self._plan = plan
        self._observe = state.emit
        self._events: deque[Event] = deque()
        self._news = anyio.Event()
        self._over = anyio.Event()
        self._scope = anyio.CancelScope()
        state.emit = self._take

    def __aiter__(self) -> "Run":
        return self

    async def __anext__(self) -> Event:
        """Return the next event that nobody has taken yet; end when the run has."""
        while not self._events:
            if self._over.is_set():
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        return self._events.popleft()

    async def result(self) -> Result:
        """Wait for the end and return the result.

        Raises:
            AgentkitError: there is none, because a bug ended the run.
        """
        await self._over.wait()
        if self._state.result is None:
            raise AgentkitError("The run ended without a result: see the error that ended it.")
        return self._state.result

    def stop_after_step(self) -> None:
        """Let the step in progress finish, then stop with what is known."""
        self._state.wants_stop = True

    def cancel(self) -> None:
        """Stop now: the model's stream is closed, tools are stopped, what there is is kept."""
        self._scope.cancel()

    async def drive(self, done: Callable[[Result], None]) -> None:
        """Do the work, then tell `done` the result; called once, by the task that owns the run."""
        try:
            with self._scope:
                await run_to_end(self._state, plan=self._plan)
        finally:
            if self._state.result is not None:
                done(self._state.result)
            self._over.set()
            self._news.set()

    def _take(self, event: Event) -> None:
        self._observe(event)
        self._events.append(event)
        self._news.set()
