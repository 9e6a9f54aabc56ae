"""Answers of a real SGLang 0.5.23, byte by byte as it gave them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agentkit.errors import ContextOverflowError, ModelRequestError
from agentkit.messages import ModelTurn, ToolSpec, UserMessage
from agentkit.protocols import ModelRequest


@dataclass(frozen=True)
class Expected:
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: str = "stop"
    problem: str = ""


TOKYO = ("get_current_time", '{"timezone": "Asia/Tokyo"}')
STREAMS = {
    "plain-answer": Expected("Hello! How can I help you today?"),
    "one-call": Expected(calls=(TOKYO,), finish="tool_calls"),
    "parallel-calls": Expected(
        calls=(TOKYO, ("get_current_time", '{"timezone": "Europe/Paris"}')), finish="tool_calls"
    ),
    "no-thinking-call": Expected(calls=(TOKYO,), finish="tool_calls"),
    "text-then-call": Expected(
        "Let me read the page.",
        (("fetch", '{"url": "http://127.0.0.1:8000/page"}'),),
        "tool_calls",
    ),
    "wrong-arguments": Expected(calls=(("get_current_time", "{}"),), finish="tool_calls"),
    "call-inside-thought": Expected(calls=(TOKYO,), finish="tool_calls"),
    "cut-call": Expected(calls=(("get_current_time", "{}"),), finish="length"),
    "endless-thinking": Expected(finish="length"),
    "json-answer": Expected('{"city": "Tokyo", "country": "Japan"}'),
    "unknown-tool": Expected(problem="does not exist"),
}

Serve = Callable[..., Any]


async def replay(
    recorded: dict[str, Any], serve: Serve, connect: Any, heard: Any, **fields: Any
) -> ModelTurn:
    data = recorded["body"].encode()
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]  # cuts characters in half too
    answer = (recorded["status"], recorded["content_type"], pieces)
    async with serve(answer) as server, connect(server) as model:
        return await model.ask(ModelRequest(messages=[UserMessage("Hi")], **fields), heard)


@pytest.mark.parametrize(("name", "expected"), STREAMS.items())
async def test_a_recorded_stream_gives_the_turn_the_model_meant(
    name: str,
    expected: Expected,
    recording: Any,
    serve: Serve,
    connect: Any,
    heard: Any,
    tools: tuple[ToolSpec, ...],
) -> None:
    turn = await replay(recording(f"{name}.stream"), serve, connect, heard, tools=tools)
    assert tuple((call.name, call.arguments) for call in turn.tool_calls) == expected.calls
    assert turn.finish == expected.finish
    assert expected.problem in turn.problem
    assert bool(turn.problem) == bool(expected.problem)
    assert turn.text == expected.text
    assert turn.thinking == turn.thinking.strip("\n")
    assert heard.all("thinking") == turn.thinking
    if not expected.problem:
        assert heard.all("text") == turn.text
    assert turn.usage.prompt_tokens > 0
    assert turn.usage.cached_tokens > 0
    assert turn.usage.requests == 1


async def test_chinese_and_an_emoji_survive_any_cut(
    recording: Any, serve: Serve, connect: Any, heard: Any, tools: tuple[ToolSpec, ...]
) -> None:
    turn = await replay(recording("chinese-call.stream"), serve, connect, heard, tools=tools)
    assert turn.thinking == "用户想知道北京的时间。"
    assert "北京" in turn.tool_calls[0].arguments


async def test_an_error_inside_a_stream_that_began_well_is_raised(
    recording: Any, serve: Serve, connect: Any, heard: Any
) -> None:
    with pytest.raises(ModelRequestError, match="Failed to compile json grammar") as caught:
        await replay(recording("bad-schema.stream"), serve, connect, heard)
    assert caught.value.status == 400
    assert "/project" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("too-many-asked.json", ModelRequestError), ("context-overflow.json", ContextOverflowError)],
)
async def test_a_recorded_refusal_has_its_own_error(
    name: str, kind: type[Exception], recording: Any, serve: Serve, connect: Any, heard: Any
) -> None:
    with pytest.raises(kind) as caught:
        await replay(recording(name), serve, connect, heard)
    assert type(caught.value) is kind


async def test_an_answer_that_did_not_stream_is_read_as_well(
    recording: Any, serve: Serve, connect: Any, heard: Any, tools: tuple[ToolSpec, ...]
) -> None:
    turn = await replay(recording("one-call.json"), serve, connect, heard, tools=tools)
    assert turn.tool_calls[0].arguments == TOKYO[1]
    assert turn.thinking.startswith("The user wants")


async def test_a_turn_whose_call_the_server_dropped_is_empty(
    recording: Any, serve: Serve, connect: Any, heard: Any, tools: tuple[ToolSpec, ...]
) -> None:
    turn = await replay(recording("broken-json.json"), serve, connect, heard, tools=tools)
    assert (turn.text, turn.tool_calls, turn.finish) == ("", (), "stop")
