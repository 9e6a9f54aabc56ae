"""The client against a real SGLang, started by hand with the scripted model."""

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from agentkit.errors import ContextOverflowError, ModelRequestError
from agentkit.messages import Message, ToolResult, ToolSpec, UserMessage
from agentkit.models import open_pool
from agentkit.protocols import Model, ModelRequest

URL = os.environ.get("AGENTKIT_TEST_SGLANG_URL", "")
pytestmark = [
    pytest.mark.sglang,
    pytest.mark.skipif(not URL, reason="AGENTKIT_TEST_SGLANG_URL names no running SGLang"),
    pytest.mark.timeout(120),
]


@asynccontextmanager
async def connected(**options: Any) -> AsyncGenerator[Model]:
    async with open_pool() as pool:
        yield await pool.connect(URL, sampling={"temperature": 0}, connect_seconds=30, **options)


async def test_a_tool_loop_ends_in_an_answer_and_uses_the_prefix_cache(
    heard: Any, tools: tuple[ToolSpec, ...]
) -> None:
    messages: list[Message] = [UserMessage("What time is it in Tokyo?")]
    async with connected(strict_tools=False) as model:
        first = await model.ask(ModelRequest(messages=messages, tools=tools, max_tokens=200), heard)
        [call] = first.tool_calls
        assert json.loads(call.arguments) == {"timezone": "Asia/Tokyo"}
        result = '{"timezone": "Asia/Tokyo", "datetime": "2026-11-22T21:00:00+09:00"}'
        messages += [first, ToolResult(call_id=call.id, name=call.name, text=result)]
        second = await model.ask(
            ModelRequest(messages=messages, tools=tools, max_tokens=200), heard
        )
    assert second.text
    assert second.thinking
    assert second.finish == "stop"
    # all that was said before came from the cache: the question, the thinking and the call
    said = first.usage.prompt_tokens + first.usage.completion_tokens
    assert second.usage.cached_tokens >= said - 2


async def test_strict_calls_always_fit_their_schema(
    heard: Any, tools: tuple[ToolSpec, ...]
) -> None:
    request = ModelRequest(
        messages=[UserMessage("Send wrong arguments.")],
        tools=tools,
        tool_choice="required",
        max_tokens=200,
    )
    async with connected() as model:
        turn = await model.ask(request, heard)
    assert turn.finish == "length" or turn.tool_calls
    for call in turn.tool_calls if turn.finish != "length" else ():
        arguments = json.loads(call.arguments)
        [spec] = [tool for tool in tools if tool.name == call.name]
        assert list(arguments) == spec.parameters["required"]


async def test_a_guided_step_is_held_to_its_schema(heard: Any, tools: tuple[ToolSpec, ...]) -> None:
    request = ModelRequest(messages=[UserMessage("Hello!")], tools=tools, max_tokens=120)
    async with connected(tool_calls="guided") as model:
        turn = await model.ask(request, heard)
    assert turn.finish == "length" or turn.tool_calls or turn.text
    assert turn.problem == ""


async def test_a_schema_no_grammar_takes_is_refused_inside_the_stream(heard: Any) -> None:
    schema = {"type": "nonsense"}
    async with connected() as model:
        with pytest.raises(ModelRequestError, match="Unsupported type") as caught:
            await model.ask(ModelRequest(messages=[UserMessage("Hi")], schema=schema), heard)
    assert not caught.value.retryable


async def test_a_prompt_too_long_is_a_context_overflow(heard: Any) -> None:
    async with connected() as model:
        with pytest.raises(ContextOverflowError):
            await model.ask(ModelRequest(messages=[UserMessage("word " * 20_000)]), heard)


async def test_leaving_a_stream_stops_the_model(heard: Any) -> None:
    async with connected() as model, anyio.create_task_group() as group:
        request = ModelRequest(messages=[UserMessage("Think for ever.")], max_tokens=6000)
        began = anyio.Event()

        def hear(_kind: str, _text: str, /) -> None:
            began.set()

        group.start_soon(model.ask, request, hear)
        await began.wait()
        group.cancel_scope.cancel()
    async with connected() as model:  # the next request does not wait behind the left one
        turn = await model.ask(ModelRequest(messages=[UserMessage("Hello!")], max_tokens=60), heard)
    assert turn.text == "Hello! How can I help you today?"


async def test_thinking_can_be_switched_off(heard: Any) -> None:
    async with connected() as model:
        request = ModelRequest(messages=[UserMessage("Hello!")], thinking=False, max_tokens=60)
        turn = await model.ask(request, heard)
    assert turn.thinking == ""
    assert turn.text
