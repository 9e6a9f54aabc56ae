"""What one server may be bothered with: a queue before it, a retry budget, a circuit breaker."""

from collections import deque
from math import inf
from types import TracebackType
from typing import Literal, TypeAlias

import anyio

from agentkit.errors import CircuitOpenError, ModelError, OverloadedError, RetryBudgetError
from agentkit.policies import Traffic

Breaker: TypeAlias = Literal["closed", "open", "half-open"]

_BUSY = frozenset({429, 503, 529})  # these say that repeating makes it worse
_LONGEST_REST = 60.0
_SMOOTHING = 0.2


class TrafficControl:
    """Admits requests to one server, and watches how they fare.

    Args:
        server: its address, for messages.
        policy: how much it may be bothered with.
        concurrency: what the server says that it answers at the same time; the policy wins.
    """

    def __init__(self, server: str, policy: Traffic, concurrency: int | None = None) -> None:
        self._server = server
        self._policy = policy
        self._limit = concurrency if policy.concurrency is None else policy.concurrency
        self._queue: deque[anyio.Event] = deque()
        self._running = 0
        self._seconds = 0.0  # that an answer takes, of late
        self._most = policy.retry_budget
        self._tokens = float(policy.retry_budget)
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._opened_until = -inf
        self._opened_times = 0
        self._is_probed = False

    @property
    def breaker(self) -> Breaker:
        """Whether requests go through: all, none, or one that finds out."""
        if not self._opened_times:
            return "closed"
        return "open" if anyio.current_time() < self._opened_until else "half-open"

    @property
    def running(self) -> int:
        """Requests under way."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._queue)

    def admitted(self) -> "_Turn":
        """Return a block that waits for a turn and holds it; what it raises tells how things are.

        Entering it raises:
            CircuitOpenError: the server is left alone.
            OverloadedError: the turn would come after the deadline around the block.

        Leaving it raises:
            RetryBudgetError: instead of an error that could be repeated, when too many were.
        """
        return _Turn(self)

    async def begin(self) -> bool:
        """Wait for a turn; return whether it is the one that finds out about a server.

        Raises:
            CircuitOpenError: the server is left alone.
            OverloadedError: the turn would come too late.
        """
        if not self._opened_times and self._has_room:  # nearly always
            self._take_turn()
            return False
        self._check_breaker()
        await self._enter()
        probes = self.breaker == "half-open"
        if probes and self._is_probed:
            self._leave()
            raise self._open_error()
        self._is_probed = self._is_probed or probes
        return probes

    def end(
        self, error: BaseException | None, seconds: float, *, probes: bool
    ) -> ModelError | None:
        """Give the turn to the next one; return what to raise instead of `error`, if anything."""
        if probes:
            self._is_probed = False
        self._leave()
        if error is None:
            self._succeeded(seconds)
        return self._failed(error) if isinstance(error, ModelError) else None

    def _check_breaker(self) -> None:
        state = self.breaker
        if state == "open" or (state == "half-open" and self._is_probed):
            raise self._open_error()

    def _open_error(self) -> CircuitOpenError:
        left = max(0.0, self._opened_until - anyio.current_time())
        return CircuitOpenError(
            f"Model server {self._server} has failed too often: it is left alone for {left:.1f} s.",
            hint="`agentkit doctor` tells what is wrong with it.",
            retry_after=left,
        )

    @property
    def _has_room(self) -> bool:
        return self._limit is None or (self._running < self._limit and not self._queue)

    async def _enter(self) -> None:
        if self._has_room:
            self._take_turn()
            return
        self._shed()
        turn = anyio.Event()
        self._queue.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():  # it was our turn already: the next one has it
                self._leave()
            else:
                self._queue.remove(turn)
            raise

    def _shed(self) -> None:
        left = anyio.current_effective_deadline() - anyio.current_time()
        wait = self._seconds * (len(self._queue) + 1) / max(1, self._limit or 1)
        if wait > left:
            raise OverloadedError(
                f"{len(self._queue)} requests wait for model server {self._server}: about "
                f"{wait:.0f} s, and this run has {left:.0f} s left.",
                hint="Fewer runs side by side, a longer deadline, or another server beside it.",
            )

    def _take_turn(self) -> None:
        self._running += 1
        here = self._running + len(self._queue)
        if here > self._most:  # each request that is here may be repeated once
            self._tokens += here - self._most
            self._most = here

    def _leave(self) -> None:
        self._running -= 1
        if self._queue and (self._limit is None or self._running < self._limit):
            self._take_turn()
            self._queue.popleft().set()

    def _succeeded(self, seconds: float) -> None:
        self._seconds += (seconds - self._seconds) * (_SMOOTHING if self._seconds else 1.0)
        self._tokens = min(float(self._most), self._tokens + self._policy.retry_share)
        if self._opened_times:
            self._opened_times = 0
            self._outcomes.clear()
        self._note(failed=False)

    def _failed(self, error: ModelError) -> ModelError | None:
        """Count a failure; return another error where this one must not be repeated."""
        if not error.retryable:
            return None
        if error.status != 429:  # which says "later", and that it is well
            self._note(failed=True)
        self._tokens -= 2 if error.status in _BUSY else 1
        if self._tokens >= 0:
            return None
        self._tokens = 0.0
        return RetryBudgetError(
            f"{error} It is not repeated: too much has been of late.",
            hint=error.hint,
            status=error.status,
        )

    def _note(self, *, failed: bool) -> None:
        now = anyio.current_time()
        if failed and self.breaker == "half-open":
            self._open(now)
            return
        self._outcomes.append((now, failed))
        while self._outcomes and self._outcomes[0][0] < now - self._policy.breaker_window:
            self._outcomes.popleft()
        if not failed or len(self._outcomes) < self._policy.breaker_volume:
            return
        share = sum(bad for _, bad in self._outcomes) / len(self._outcomes)
        if share >= self._policy.breaker_share:
            self._open(now)

    def _open(self, now: float) -> None:
        rest = self._policy.breaker_rest * 2.0**self._opened_times
        self._opened_until = now + min(_LONGEST_REST, rest)
        self._opened_times += 1
        self._outcomes.clear()


class _Turn:
    """A turn with a server, from waiting for it to what came of it."""

    __slots__ = ("_began", "_probes", "_traffic")

    def __init__(self, traffic: TrafficControl) -> None:
        self._traffic = traffic
        self._probes = False
        self._began = 0.0

    async def __aenter__(self) -> None:
        self._probes = await self._traffic.begin()
        self._began = anyio.current_time()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = anyio.current_time() - self._began
        instead = self._traffic.end(error, seconds, probes=self._probes)
        if instead is not None:
            raise instead from error
