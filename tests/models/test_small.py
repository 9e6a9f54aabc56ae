"""How a small or a quantised model is sampled, as the server sees it."""

from typing import Any

import pytest

from agentkit.messages import UserMessage
from agentkit.models import open_pool
from agentkit.protocols import ModelRequest
from agentkit.testing import FakeSGLang


def ignore(kind: str, text: str, /) -> None:
    del kind, text


async def sampled(model: str, *, varied: bool = False, **options: Any) -> dict[str, Any]:
    async with FakeSGLang(model=model) as server, open_pool() as pool:
        connected = await pool.connect(server.base_url, **options)
        request = ModelRequest(messages=[UserMessage("Hello!")], varied=varied)
        await connected.ask(request, ignore)
        return server.requests[-1].body


@pytest.mark.parametrize(
    ("model", "penalty"), [("qwen3-14b-awq", 1.5), ("qwen2.5-coder-1.5b", None)]
)
async def test_only_quantised_models_that_think_get_a_presence_penalty(
    model: str, penalty: float | None
) -> None:
    assert (await sampled(model, quantised=True)).get("presence_penalty") == penalty


async def test_a_small_model_is_sampled_with_little_variety() -> None:
    assert (await sampled("qwen3-1.7b", small=True))["temperature"] == 0.2
    assert (await sampled("qwen3-1.7b", small=True, sampling={"temperature": 0.5}))[
        "temperature"
    ] == 0.5


async def test_another_try_of_a_small_model_is_sampled_as_widely_as_its_family() -> None:
    given = {"small": True, "tool_calls": "native"}
    assert (await sampled("qwen2.5-coder-1.5b", varied=True, **given))["temperature"] == 0.7
    assert (await sampled("qwen2.5-coder-1.5b", varied=True, sampling={"temperature": 0.5}))[
        "temperature"
    ] == 0.5
