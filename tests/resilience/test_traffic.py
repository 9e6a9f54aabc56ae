from collections.abc import Callable
from typing import Any

import anyio
import pytest

from agentkit.errors import (
    CircuitOpenError,
    ModelError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
    OverloadedError,
    RetryBudgetError,
)
from agentkit.policies import Traffic
from agentkit.resilience import TrafficControl, deadline

VirtualTime = Callable[[Callable[[], Any]], Any]


def control(slots: int | None = None, **policy: Any) -> TrafficControl:
    return TrafficControl("http://here/v1", Traffic(**policy), slots)


async def fail(traffic: TrafficControl, error: ModelError | None = None) -> None:
    async with traffic.admitted():
        raise error or ModelUnavailableError("down")


async def succeed(traffic: TrafficControl, seconds: float = 0.0) -> None:
    async with traffic.admitted():
        await anyio.sleep(seconds)


async def fail_often(traffic: TrafficControl, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ModelUnavailableError):
            await fail(traffic)


def test_no_more_are_admitted_than_the_server_answers_and_they_come_in_turn(
    virtual_time: VirtualTime,
) -> None:
    async def scenario() -> None:
        traffic, most, order = control(3), 0, list[int]()

        async def one(number: int) -> None:
            nonlocal most
            async with traffic.admitted():
                order.append(number)
                most = max(most, traffic.running)
                await anyio.sleep(1)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(one, number)
                await anyio.sleep(0.01)
        assert most == 3
        assert order == list(range(10))
        assert (traffic.running, traffic.waiting) == (0, 0)
        assert 4 <= anyio.current_time() < 5

    virtual_time(scenario)


def test_the_policy_wins_over_what_the_server_says(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(8, concurrency=1)
        async with anyio.create_task_group() as group, traffic.admitted():
            group.start_soon(succeed, traffic)
            await anyio.sleep(1)
            assert (traffic.running, traffic.waiting) == (1, 1)

    virtual_time(scenario)


def test_who_would_come_too_late_is_turned_away_at_once(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(1)
        await succeed(traffic, 10)  # so an answer takes ten seconds
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(succeed, traffic, 10)
            await anyio.sleep(1)
            began = anyio.current_time()
            with deadline(25, ModelTimeoutError("late")), pytest.raises(OverloadedError) as shed:
                await succeed(traffic)
            assert anyio.current_time() == began
            assert "2 requests wait for model server http://here/v1: about 30 s" in str(shed.value)
            assert not shed.value.retryable
            with deadline(60, ModelTimeoutError("late")):
                await succeed(traffic)

    virtual_time(scenario)


def test_a_turn_is_not_lost_with_whoever_waited_for_it(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(1)
        async with anyio.create_task_group() as group:
            group.start_soon(succeed, traffic, 5)
            await anyio.sleep(1)
            with anyio.move_on_after(2):
                await succeed(traffic)
            with anyio.CancelScope() as scope:  # cancelled in the moment in which the turn comes
                group.start_soon(cancel_at, scope, 5.0)
                await succeed(traffic)
            await succeed(traffic)
        assert (traffic.running, traffic.waiting) == (0, 0)

    async def cancel_at(scope: anyio.CancelScope, seconds: float) -> None:
        await anyio.sleep(seconds - 3)
        scope.cancel()

    virtual_time(scenario)


def test_repeating_has_a_budget_that_success_refills(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(retry_budget=3, breaker_volume=1000)
        await fail_often(traffic, 3)
        with pytest.raises(RetryBudgetError, match=r"down It is not repeated") as spent:
            await fail(traffic)
        assert not spent.value.retryable
        for _ in range(2):
            await succeed(traffic)
        await fail_often(traffic, 1)
        with pytest.raises(RetryBudgetError):
            await fail(traffic)

    virtual_time(scenario)


def test_a_server_that_says_it_is_busy_costs_the_budget_twice(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(retry_budget=2, breaker_volume=1000)
        with pytest.raises(ModelUnavailableError):
            await fail(traffic, ModelUnavailableError("busy", status=503))
        with pytest.raises(RetryBudgetError):
            await fail(traffic, ModelUnavailableError("busy", status=503))

    virtual_time(scenario)


def test_each_request_under_way_may_be_repeated_once(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic, errors = control(retry_budget=2, breaker_volume=1000), list[ModelError]()

        async def one() -> None:
            try:
                async with traffic.admitted():
                    await anyio.sleep(1)
                    raise ModelUnavailableError("gone")
            except ModelError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(one)
        assert [error.retryable for error in errors] == [True] * 50

    virtual_time(scenario)


def test_a_refusal_says_nothing_of_the_health_of_a_server(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(retry_budget=1, breaker_volume=1)
        for _ in range(50):
            with pytest.raises(ModelRequestError):
                await fail(traffic, ModelRequestError("no"))
        for _ in range(5):  # "later" is no failure either, but it costs the budget
            with pytest.raises(ModelError):
                await fail(traffic, ModelUnavailableError("later", status=429))
        assert traffic.breaker == "closed"

    virtual_time(scenario)


def test_the_breaker_opens_by_rate_and_one_probe_closes_it(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(breaker_volume=8, breaker_rest=4, retry_budget=1000)
        for _ in range(4):
            await succeed(traffic)
        await fail_often(traffic, 3)
        assert traffic.breaker == "closed"
        await fail_often(traffic, 1)
        assert traffic.breaker == "open"
        with pytest.raises(CircuitOpenError) as shut:
            await succeed(traffic)
        assert shut.value.retryable
        assert shut.value.retry_after == pytest.approx(4)
        await anyio.sleep(4)
        assert traffic.breaker == "half-open"
        async with anyio.create_task_group() as group:
            group.start_soon(succeed, traffic, 1)  # the probe
            await anyio.sleep(0.5)
            with pytest.raises(CircuitOpenError):  # nobody else meanwhile
                await succeed(traffic)
        assert traffic.breaker == "closed"
        await succeed(traffic)

    virtual_time(scenario)


def test_a_probe_that_fails_leaves_the_server_alone_for_longer(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(breaker_volume=2, breaker_rest=4, retry_budget=1000)
        await fail_often(traffic, 2)
        await anyio.sleep(4)
        await fail_often(traffic, 1)
        with pytest.raises(CircuitOpenError) as shut:
            await succeed(traffic)
        assert shut.value.retry_after == pytest.approx(8)
        await anyio.sleep(8)
        with anyio.move_on_after(1):  # a probe that is given up says nothing
            await succeed(traffic, 10)
        assert traffic.breaker == "half-open"
        await succeed(traffic)
        assert traffic.breaker == "closed"

    virtual_time(scenario)


def test_old_outcomes_do_not_count(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        traffic = control(breaker_volume=4, breaker_window=10, retry_budget=1000)
        for _ in range(10):
            await fail_often(traffic, 1)
            await anyio.sleep(4)
        assert traffic.breaker == "closed"

    virtual_time(scenario)
