"""The only place that repeats."""

import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
)
from tenacity.stop import stop_base

from agentkit.errors import AgentkitError
from agentkit.policies import Retry

T = TypeVar("T")

Worth: TypeAlias = Callable[[AgentkitError], bool]
"""Whether what failed may be repeated."""


def is_retryable(error: AgentkitError) -> bool:
    """Say what the error says of itself."""
    return error.retryable


async def retrying(
    policy: Retry,
    ask: Callable[[], Awaitable[T]],
    on_retry: Callable[[int, float, AgentkitError], None],
    worth: Worth = is_retryable,
) -> T:
    """Await `ask()` and repeat it while it fails in a way that may pass.

    `on_retry` is told the number of the coming attempt, the seconds until then and the error;
    `worth` decides what is repeated. A wait that would outlive the deadline around it is not
    begun: the error is raised at once.

    Raises:
        AgentkitError: not worth repeating, attempts used up, or no time left to wait.
    """
    try:
        return await ask()  # nearly always enough; tenacity costs more than the rest of a step
    except AgentkitError as error:
        await _give_way()
        if not (worth(error) and policy.attempts > 1 and _fits(error.retry_after or 0.0)):
            raise
        first = error
    return await _repeat(policy, ask, on_retry, worth, first)


async def _repeat(
    policy: Retry,
    ask: Callable[[], Awaitable[T]],
    on_retry: Callable[[int, float, AgentkitError], None],
    worth: Worth,
    first: AgentkitError,
) -> T:
    pending: list[AgentkitError] = [first]

    async def again() -> T:
        if pending:  # the first attempt has been made: replay its outcome to tenacity
            raise pending.pop()
        try:
            return await ask()
        except AgentkitError:
            await _give_way()
            raise

    delays: dict[int, float] = {}

    def wait(state: RetryCallState) -> float:
        delay = policy.delay_before(state.attempt_number + 1, random.random())
        # A server that names a time names it to everybody: the jitter on top keeps them from
        # coming back all at once.
        delays[state.attempt_number] = (_failure(state).retry_after or 0.0) + delay
        return delays[state.attempt_number]

    def announce(state: RetryCallState) -> None:
        on_retry(state.attempt_number + 1, delays[state.attempt_number], _failure(state))

    def may_pass(error: BaseException) -> bool:
        return isinstance(error, AgentkitError) and worth(error)

    retries = AsyncRetrying(
        retry=retry_if_exception(may_pass),
        stop=stop_any(stop_after_attempt(policy.attempts), _NoTimeLeft()),
        wait=wait,
        before_sleep=announce,
        sleep=anyio.sleep,
        reraise=True,
    )
    return await retries(again)


async def _give_way() -> None:
    """Raise a cancellation of the caller, if there is one: it comes before what failed meanwhile."""
    if anyio.current_effective_deadline() == -inf:
        await checkpoint()


def _fits(seconds: float) -> bool:
    return anyio.current_time() + seconds < anyio.current_effective_deadline()


class _NoTimeLeft(stop_base):
    """Stop when the coming wait would outlive the deadline around it."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        return not _fits(retry_state.upcoming_sleep)


def _failure(state: RetryCallState) -> AgentkitError:
    outcome = state.outcome
    error = outcome.exception() if outcome is not None else None
    if not isinstance(error, AgentkitError):  # pragma: no cover - called after a failure only
        raise TypeError(f"expected an AgentkitError, got {error!r}")
    return error
