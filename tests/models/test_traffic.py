"""What a pool makes of a server that is busy, or down."""

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from agentkit.errors import CircuitOpenError, ModelUnavailableError, RetryBudgetError
from agentkit.messages import UserMessage
from agentkit.models import open_pool
from agentkit.policies import Traffic
from agentkit.protocols import Model, ModelRequest
from agentkit.testing import Answer, FakeSGLang, Fault

if TYPE_CHECKING:
    from tests.models.conftest import Connect

HELLO = ModelRequest(messages=(UserMessage("Hello"),))


def ignore(kind: Any, text: str, /) -> None:
    del kind, text


async def ask(model: Model) -> str:
    return (await model.ask(HELLO, ignore)).text


async def test_as_many_requests_go_out_as_the_server_says_it_answers(connect: "Connect") -> None:
    slow = Answer(text="Hello.", fault=Fault("stall", after=1))
    async with FakeSGLang(slow) as server, connect(server) as model:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask, model)
            await server.wait_until(lambda seen: len(seen.running) == 16)
            await anyio.sleep(0.05)
            assert len(server.requests) == 16
            server.release()
        assert len(server.requests) == 20


async def test_two_models_on_one_server_share_its_queue() -> None:
    slow = Answer(text="Hello.", fault=Fault("stall", after=1))
    async with FakeSGLang(slow) as server, open_pool() as pool:
        one = Traffic(concurrency=1)
        models = [await pool.connect(server.base_url, traffic=one) for _ in range(2)]
        async with anyio.create_task_group() as group:
            for model in models:
                group.start_soon(ask, model)
            await server.wait_until(lambda seen: len(seen.running) == 1)
            await anyio.sleep(0.05)
            assert len(server.requests) == 1
            server.release()
        assert len(server.requests) == 2


async def test_a_server_that_fails_again_and_again_is_left_alone(connect: "Connect") -> None:
    down = Answer(fault=Fault("status", status=503))
    traffic = Traffic(breaker_volume=3, retry_budget=100)
    async with FakeSGLang(down) as server, connect(server, traffic=traffic) as model:
        for _ in range(3):
            with pytest.raises(ModelUnavailableError):
                await ask(model)
        with pytest.raises(CircuitOpenError, match="has failed too often"):
            await ask(model)
        assert len(server.requests) == 3


async def test_when_the_budget_is_used_up_a_failure_is_final(connect: "Connect") -> None:
    down = Answer(fault=Fault("status", status=503))
    async with (
        FakeSGLang(down) as server,
        connect(server, traffic=Traffic(retry_budget=2)) as model,
    ):
        with pytest.raises(ModelUnavailableError):
            await ask(model)
        with pytest.raises(RetryBudgetError) as spent:
            await ask(model)
        assert spent.value.status == 503
        assert not spent.value.retryable
