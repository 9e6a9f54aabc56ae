"""The only place that waits or repeats."""

import asyncio  # noqa: TID251 - anyio does not tell whether the task itself was cancelled
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
)
from tenacity.stop import stop_base

from agentkit.errors import AgentkitError, ModelError
from agentkit.policies import Retry

T = TypeVar("T")


@contextmanager
def deadline(seconds: float | None, error: AgentkitError) -> Generator[None]:
    """Raise `error` if the block takes longer than `seconds`; `None` means no limit.

    Only this block's own expiry becomes `error`: a cancellation from outside passes through.
    """
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
    task = asyncio.current_task() if "asyncio" in _backend() else None
    return task is not None and task.cancelling() > 0


def _backend() -> str:
    return anyio.get_cancelled_exc_class().__module__


async def retrying(
    policy: Retry,
    ask: Callable[[], Awaitable[T]],
    on_retry: Callable[[int, float, ModelError], None],
) -> T:
    """Await `ask()` and repeat it while it fails in a way that may pass.

    `on_retry` is told the number of the coming attempt, the seconds until then and the error.
    A wait that would outlive the deadline around it is not begun: the error is raised at once.

    Raises:
        ModelError: not retryable, attempts used up, or no time left to wait.
    """
    try:
        return await ask()  # nearly always enough; tenacity costs more than the rest of a step
    except ModelError as error:
        if not _worth_repeating(error, policy, attempt=1):
            raise
        first = error
    pending: list[ModelError] = [first]

    async def again() -> T:
        if pending:  # the first attempt has been made above: replay its outcome to tenacity
            raise pending.pop()
        return await ask()

    delays: dict[int, float] = {}

    def wait(state: RetryCallState) -> float:
        error = _failure(state)
        delay = policy.delay_before(state.attempt_number + 1, random.random())
        delays[state.attempt_number] = max(delay, error.retry_after or 0.0)
        return delays[state.attempt_number]

    def announce(state: RetryCallState) -> None:
        on_retry(state.attempt_number + 1, delays[state.attempt_number], _failure(state))

    retries = AsyncRetrying(
        retry=retry_if_exception(_is_retryable),
        stop=stop_any(stop_after_attempt(policy.attempts), _NoTimeLeft()),
        wait=wait,
        before_sleep=announce,
        sleep=anyio.sleep,
        reraise=True,
    )
    return await retries(again)


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, ModelError) and error.retryable


def _worth_repeating(error: ModelError, policy: Retry, attempt: int) -> bool:
    return error.retryable and attempt < policy.attempts and _fits(error.retry_after or 0.0)


def _fits(seconds: float) -> bool:
    return anyio.current_time() + seconds < anyio.current_effective_deadline()


class _NoTimeLeft(stop_base):
    """Stop when the coming wait would outlive the deadline around it."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        return not _fits(retry_state.upcoming_sleep)


def _failure(state: RetryCallState) -> ModelError:
    outcome = state.outcome
    error = outcome.exception() if outcome is not None else None
    if not isinstance(error, ModelError):  # pragma: no cover - tenacity calls us after a failure
        raise TypeError(f"expected a ModelError, got {error!r}")
    return error
