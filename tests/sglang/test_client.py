"""The client, with the same assertions for the fake server and for a real SGLang."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest

from agentkit.engine import read_loads
from agentkit.errors import ContextOverflowError, ModelRequestError
from agentkit.messages import Message, ModelTurn, ToolResult, ToolSpec, UserMessage
from agentkit.models import open_pool
from agentkit.policies import Timeouts
from agentkit.protocols import Model, ModelRequest

if TYPE_CHECKING:
    from tests.sglang.conftest import Heard, Served

pytestmark = pytest.mark.timeout(240)


@asynccontextmanager
async def connected(server: "Served", **options: Any) -> AsyncGenerator[Model]:
    asked: dict[str, Any] = {
        "sampling": {"temperature": 0},
        "connect_seconds": 30,
        "strict_tools": False,
    }
    async with open_pool() as pool:
        yield await pool.connect(server.base_url, api_key=server.api_key, **(asked | options))


def new_client(server: "Served") -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers=server.headers, timeout=60, verify=False)


async def wait_until(server: "Served", *, running: bool) -> None:
    """Wait until the server has a request, or none."""
    while bool((await read_loads(server.url, server.api_key or "")).running) != running:  # noqa: ASYNC110 - it tells nobody
        await anyio.sleep(0.02)


ROWS: dict[str, tuple[list[tuple[str, dict[str, str]]], str, str, str]] = {
    # question: calls, text, what is to be mended, what is said of it
    "What time is it in Tokyo?": (
        [("get_current_time", {"timezone": "Asia/Tokyo"})], "", "", ""
    ),
    "What time is it in Tokyo and in Paris?": (
        [
            ("get_current_time", {"timezone": "Asia/Tokyo"}),
            ("get_current_time", {"timezone": "Europe/Paris"}),
        ],
        "", "", "",
    ),
    "现在北京几点？": (
        [("get_current_time", {"timezone": "Asia/Shanghai", "note": "北京时间 🕐"})], "", "", ""
    ),
    "Fetch http://127.0.0.1:8000/page and summarise it.": (
        [("fetch", {"url": "http://127.0.0.1:8000/page"})], "Let me read the page.", "", ""
    ),
    "Hello!": ([], "Hello! How can I help you today?", "", ""),
    "Send broken JSON.": (  # a brace is missing; what came has every token that was written
        [("get_current_time", {"timezone": "Asia/Tokyo"})], "", "", ""
    ),
    "Send wrong arguments.": ([("get_current_time", {})], "", "", ""),
    "Call a tool that does not exist.": ([], "", "does not exist. Known tools: get_current_time", ""),
    "Call inside your thoughts.": (  # it is not streamed as it was written, so it is asked again
        [("get_current_time", {"timezone": "Asia/Tokyo"})], "", "", "asked again."
    ),
}  # fmt: skip


@pytest.mark.parametrize("question", ROWS)
async def test_each_dialogue_becomes_what_it_means(
    question: str, server: "Served", heard: "Heard", tools: tuple[ToolSpec, ...]
) -> None:
    calls, text, problem, notice = ROWS[question]
    request = ModelRequest(messages=[UserMessage(question)], tools=tools, max_tokens=200)
    async with connected(server) as model:
        turn = await model.ask(request, heard)
    assert [(call.name, json.loads(call.arguments)) for call in turn.tool_calls] == calls
    assert turn.text == text
    assert problem in turn.problem
    assert bool(turn.problem) == bool(problem)
    assert heard.all("notice").endswith(notice)
    assert bool(heard.all("notice")) == bool(notice)
    assert heard.all("text").startswith(text)
    assert turn.finish == ("tool_calls" if calls else "stop")


async def test_a_call_that_was_cut_is_kept_for_the_record_only(
    server: "Served", heard: "Heard", tools: tuple[ToolSpec, ...]
) -> None:
    question = UserMessage("What time is it in Tokyo?")
    async with connected(server) as model:
        turn = await model.ask(ModelRequest(messages=[question], tools=tools, max_tokens=30), heard)
    assert turn.finish == "length"  # the loop runs no call of such a turn


async def test_three_steps_reuse_the_whole_prefix(
    server: "Served", heard: "Heard", tools: tuple[ToolSpec, ...]
) -> None:
    messages: list[Message] = [UserMessage("Use three tools, one after another.")]
    turns: list[ModelTurn] = []
    async with connected(server) as model, new_client(server) as client:
        await client.post(f"{server.url}/flush_cache")  # an earlier test may have said the same
        for _ in range(4):
            request = ModelRequest(
                messages=messages, tools=tools, max_tokens=200, conversation_id="a" * 32
            )
            turns.append(await model.ask(request, heard))
            messages.append(turns[-1])
            messages += [
                ToolResult(call_id=call.id, name=call.name, text="done")
                for call in turns[-1].tool_calls
            ]
    assert [len(turn.tool_calls) for turn in turns] == [1, 1, 1, 0]
    for before, turn in pairwise(turns):
        said = before.usage.prompt_tokens + before.usage.completion_tokens
        if server.is_real:  # all but the token that ended the turn, which was never computed with
            assert turn.usage.cached_tokens == said - 1
        assert turn.usage.cached_tokens >= before.usage.prompt_tokens
    assert heard.all("notice") == ""


async def test_a_prompt_is_counted_before_it_is_refused(
    server: "Served", heard: "Heard", tools: tuple[ToolSpec, ...]
) -> None:
    long = "one word after another " * 1930
    async with connected(server) as model:
        request = ModelRequest(messages=[UserMessage(long)], tools=tools, max_tokens=6000)
        turn = await model.ask(request, heard)  # 6,000 would have been refused
        assert turn.usage.prompt_tokens > 7000
        assert turn.usage.prompt_tokens + turn.usage.completion_tokens <= 8192
        with pytest.raises(ContextOverflowError, match=r"The prompt has [\d,]+ tokens.*8,192"):
            await model.ask(ModelRequest(messages=[UserMessage(long * 2)], max_tokens=100), heard)


async def test_what_the_server_refuses_is_an_error_that_says_so(
    server: "Served", heard: "Heard"
) -> None:
    async with connected(server) as model:
        with pytest.raises(ContextOverflowError):  # its own words, where we ask for no limit
            await model.ask(ModelRequest(messages=[UserMessage("word " * 20_000)]), heard)
        schema = {"type": "nonsense"}  # refused inside a stream that began with 200
        with pytest.raises(ModelRequestError, match=r"Unsupported type|compile") as caught:
            await model.ask(ModelRequest(messages=[UserMessage("Hi")], schema=schema), heard)
    assert not caught.value.retryable


async def test_a_request_left_alone_is_aborted_by_its_id(server: "Served", heard: "Heard") -> None:
    began = anyio.Event()

    def hear(_kind: str, _text: str, /) -> None:
        began.set()

    async with connected(server) as model, anyio.create_task_group() as group:
        request = ModelRequest(
            messages=[UserMessage("Think for ever.")], max_tokens=6000, timeouts=Timeouts()
        )
        group.start_soon(model.ask, request, hear)
        await began.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(10):
        await wait_until(server, running=False)
    async with connected(server) as model:  # the next request does not wait behind the left one
        turn = await model.ask(ModelRequest(messages=[UserMessage("Hello!")], max_tokens=60), heard)
    assert turn.text == "Hello! How can I help you today?"


@pytest.mark.sglang
async def test_a_request_without_a_stream_is_aborted_by_its_id(real: "Served") -> None:
    server = real
    rid = "0" * 31 + "1"
    body = {
        "model": "qwen3-scripted",
        "messages": [{"role": "user", "content": "Think for ever."}],
        "rid": rid,
        "max_tokens": 6000,
        "temperature": 0,
        "ignore_eos": True,
    }
    async with new_client(server) as client:
        answers: list[dict[str, Any]] = []

        async def ask() -> None:
            answer = await client.post(f"{server.base_url}/chat/completions", json=body)
            answers.append(answer.json())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await wait_until(server, running=True)
            await client.post(f"{server.url}/abort_request", json={"rid": rid})
    assert answers[0]["choices"][0]["finish_reason"] == "abort"
    assert answers[0]["id"] == rid


async def test_thinking_can_be_switched_off(server: "Served", heard: "Heard") -> None:
    async with connected(server) as model:
        request = ModelRequest(messages=[UserMessage("Hello!")], thinking=False, max_tokens=60)
        turn = await model.ask(request, heard)
    assert turn.thinking == ""
    assert turn.text


@pytest.mark.sglang
async def test_strict_calls_always_fit_their_schema(
    real: "Served", heard: "Heard", tools: tuple[ToolSpec, ...]
) -> None:
    request = ModelRequest(
        messages=[UserMessage("Send wrong arguments.")],
        tools=tools,
        tool_choice="required",
        max_tokens=200,
    )
    async with connected(real, strict_tools=True) as model:
        turn = await model.ask(request, heard)
    assert turn.finish == "length" or turn.tool_calls
    for call in turn.tool_calls if turn.finish != "length" else ():
        arguments = json.loads(call.arguments)
        [spec] = [tool for tool in tools if tool.name == call.name]
        assert list(arguments) == spec.parameters["required"]


@pytest.mark.sglang
async def test_a_guided_step_is_held_to_its_schema(
    real: "Served", heard: "Heard", tools: tuple[ToolSpec, ...]
) -> None:
    request = ModelRequest(messages=[UserMessage("Hello!")], tools=tools, max_tokens=120)
    async with connected(real, tool_calls="guided") as model:
        turn = await model.ask(request, heard)
    assert turn.finish == "length" or turn.tool_calls or turn.text
    assert turn.problem == ""


async def test_a_key_is_asked_for(server: "Served") -> None:
    if server.api_key is None:
        pytest.skip("this server runs without a key")
    async with open_pool() as pool:
        with pytest.raises(ModelRequestError, match="401: Unauthorized"):
            await pool.connect(server.base_url)


@pytest.mark.sglang
async def test_every_probe_of_the_real_server_is_answered(real: "Served") -> None:
    async with open_pool() as pool:
        probes = pool.probe(real.base_url, api_key=real.api_key)
        found = {probe.name: probe async for probe in probes}
    # What the toy model cannot say by heart under a grammar it may leave open; the rest works.
    good = [
        *("tool call, streamed", "tool call, whole", "parallel calls", "thinking", "thinking off"),
        *("schema", "token count", "cache report", "abort"),
    ]
    assert {name: found[name].status for name in good} == dict.fromkeys(good, "ok"), found
    assert found["token count"].seen.startswith("exact: ")
    assert found["strict arguments"].status in {"ok", "warn"}
