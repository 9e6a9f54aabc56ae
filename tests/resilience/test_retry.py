from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest

from agentkit import Retry
from agentkit.errors import (
    AgentkitError,
    DeadlineExceededError,
    ModelRequestError,
    ModelUnavailableError,
)
from agentkit.resilience import deadline, retrying

VirtualTime = Callable[[Callable[[], Any]], Any]


def failing(*errors: Exception | None) -> tuple[Callable[[], Awaitable[str]], list[float]]:
    """Return a function that fails with each error in turn, and the times it was called at."""
    left, times = list(errors), list[float]()

    async def ask() -> str:
        times.append(anyio.current_time())
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return "answer"

    return ask, times


def ignore(attempt: int, delay: float, error: AgentkitError) -> None:
    del attempt, delay, error


def test_delays_stay_within_full_jitter_and_attempts_within_the_policy(
    virtual_time: VirtualTime,
) -> None:
    async def scenario() -> None:
        ask, times = failing(*[ModelUnavailableError("down")] * 9)
        with pytest.raises(ModelUnavailableError, match="down"):
            await retrying(Retry(attempts=5, first_delay=4, max_delay=20), ask, ignore)
        gaps = [after - before for before, after in pairwise(times)]
        assert len(times) == 5
        assert all(0 <= gap <= most for gap, most in zip(gaps, (4, 8, 16, 20), strict=True))

    virtual_time(scenario)


@pytest.mark.parametrize("asked", [3.0, 30.0])
def test_retry_after_is_a_floor(virtual_time: VirtualTime, asked: float) -> None:
    async def scenario() -> None:
        ask, times = failing(ModelUnavailableError("busy", retry_after=asked))
        told: list[tuple[int, float, str]] = []
        answer = await retrying(
            Retry(first_delay=1), ask, lambda n, delay, error: told.append((n, delay, str(error)))
        )
        assert answer == "answer"
        assert times[1] - times[0] >= asked
        assert [(n, text) for n, _, text in told] == [(2, "busy")]

    virtual_time(scenario)


def test_what_will_not_pass_is_not_repeated(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        ask, times = failing(ModelRequestError("bad request"))
        with pytest.raises(ModelRequestError):
            await retrying(Retry(), ask, ignore)
        assert len(times) == 1

    virtual_time(scenario)


def test_a_later_error_of_another_kind_ends_it(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        ask, times = failing(ModelUnavailableError("down"), ModelRequestError("bad"))
        with pytest.raises(ModelRequestError):
            await retrying(Retry(), ask, ignore)
        assert len(times) == 2

    virtual_time(scenario)


def test_no_wait_is_begun_that_would_outlive_the_deadline(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        ask, times = failing(
            ModelUnavailableError("a", retry_after=5), ModelUnavailableError("b", retry_after=50)
        )
        with pytest.raises(ModelUnavailableError, match="b"), anyio.fail_after(30):
            await retrying(Retry(), ask, ignore)
        assert [times[1] - times[0]] == [pytest.approx(5.5, abs=0.5)]

    virtual_time(scenario)


def test_a_deadline_raises_its_own_error_and_lets_others_through(
    virtual_time: VirtualTime,
) -> None:
    async def scenario() -> None:
        mine = DeadlineExceededError("mine")
        with pytest.raises(DeadlineExceededError, match="mine"), deadline(5, mine):
            await anyio.sleep(6)
        with anyio.move_on_after(3) as outer, deadline(5, DeadlineExceededError("mine")):
            await anyio.sleep(6)
        assert outer.cancelled_caught

    virtual_time(scenario)


def test_no_deadline_is_no_limit(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        with deadline(None, DeadlineExceededError("mine")):
            await anyio.sleep(10**6)

    virtual_time(scenario)
