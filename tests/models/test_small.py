"""How a small or a quantised model is sampled, as the server sees it."""

from typing import Any

import pytest

from agentkit.messages import UserMessage
from agentkit.models import open_pool
from agentkit.policies import Thinking
from agentkit.protocols import ModelRequest
from agentkit.testing import FakeSGLang, echo


def ignore(kind: str, text: str, /) -> None:
    del kind, text


async def sampled(
    model: str, *, varied: bool = False, thinking: Thinking = "auto", **options: Any
) -> dict[str, Any]:
    async with FakeSGLang(model=model) as server, open_pool() as pool:
        connected = await pool.connect(server.base_url, **options)
        asked = [UserMessage("Hello!")]
        request = ModelRequest(messages=asked, varied=varied, thinking=thinking)
        await connected.ask(request, ignore)
        return server.requests[-1].body


@pytest.mark.parametrize(
    ("model", "penalty"), [("qwen3-14b-awq", 1.5), ("qwen2.5-coder-1.5b", None)]
)
async def test_only_quantised_models_that_think_get_a_presence_penalty(
    model: str, penalty: float | None
) -> None:
    assert (await sampled(model, quantised=True)).get("presence_penalty") == penalty


@pytest.mark.parametrize(
    ("model", "penalty"),
    [("qwen3-14b-awq", 1.5), ("qwen3-8b-gptq-int4", 1.5), ("qwen3-14b", None), ("q-fp8", None)],
)
async def test_the_name_of_a_model_tells_whether_it_is_quantised_to_few_bits(
    model: str, penalty: float | None
) -> None:
    assert (await sampled(model)).get("presence_penalty") == penalty


@pytest.mark.parametrize(("thinks", "temperature"), [(False, 0.2), ("auto", 0.6), (True, 0.6)])
async def test_a_small_model_is_sampled_with_little_variety_unless_it_thinks(
    thinks: Any, temperature: float
) -> None:
    assert (await sampled("qwen3-1.7b", thinking=thinks))["temperature"] == temperature
    given = {"temperature": 0.5}
    assert (await sampled("qwen3-1.7b", thinking=thinks, sampling=given))["temperature"] == 0.5


@pytest.mark.parametrize(("given", "small"), [({}, True), ({"small": False}, False)])
async def test_the_name_of_a_model_tells_whether_it_is_small_unless_it_is_said(
    given: dict[str, Any], small: bool
) -> None:
    async with FakeSGLang(model="qwen3-1.7b") as server, open_pool() as pool:
        assert (await pool.connect(server.base_url, **given)).profile.small is small


@pytest.mark.parametrize(
    ("model", "guided"), [("qwen2.5-coder-7b-instruct", True), ("qwen3-14b", False)]
)
async def test_a_model_that_fences_its_calls_is_asked_under_a_schema_by_any_server(
    model: str, guided: bool
) -> None:
    async with FakeSGLang(model=model) as server, open_pool() as pool:
        connected = await pool.connect(server.base_url)
        request = ModelRequest(messages=[UserMessage("Hello!")], tools=(echo.spec,))
        await connected.ask(request, ignore)
        assert ("response_format" in server.requests[-1].body) is guided


async def test_another_try_of_a_small_model_is_sampled_as_widely_as_its_family() -> None:
    given: dict[str, Any] = {"small": True, "tool_calls": "native"}
    assert (await sampled("qwen2.5-coder-1.5b", varied=True, **given))["temperature"] == 0.7
    assert (await sampled("qwen2.5-coder-1.5b", varied=True, sampling={"temperature": 0.5}))[
        "temperature"
    ] == 0.5
