import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from agentkit.errors import (
    ConfigurationError,
    ContextOverflowError,
    ModelError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
    TruncatedStreamError,
)
from agentkit.messages import ModelTurn, ToolCall, ToolResult, ToolSpec, UserMessage
from agentkit.models import open_pool
from agentkit.policies import Timeouts
from agentkit.protocols import ModelRequest
from agentkit.testing import Answer, FakeSGLang, Fault, Raw

CALL = ("get_current_time", {"timezone": "Asia/Tokyo"})
HI = ModelRequest(messages=(UserMessage("Hi"),))


async def test_text_and_thinking_arrive_stripped_and_streamed(ask: Any, heard: Any) -> None:
    turn = await ask([Answer(text="Hello there!", thinking="A greeting.")], heard=heard)
    assert (turn.text, turn.thinking, turn.finish) == ("Hello there!", "A greeting.", "stop")
    assert heard.all("text") == turn.text
    assert heard.all("thinking") == turn.thinking
    assert turn.usage.requests == 1
    assert turn.usage.completion_tokens > 0
    assert turn.usage.reasoning_tokens > 0


async def test_calls_side_by_side_keep_their_order_ids_and_arguments(ask: Any) -> None:
    paris = ("get_current_time", {"timezone": "Europe/Paris"})
    turn = await ask([Answer(text="Two.", calls=[CALL, paris])])
    assert turn.finish == "tool_calls"
    assert [json.loads(call.arguments)["timezone"] for call in turn.tool_calls] == [
        "Asia/Tokyo",
        "Europe/Paris",
    ]
    assert len({call.id for call in turn.tool_calls}) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        (Fault("busy"), ModelUnavailableError, True),
        (Fault("status", status=503, retry_after="3"), ModelUnavailableError, True),
        (Fault("status", status=429), ModelUnavailableError, True),
        (Fault("status", status=500), ModelUnavailableError, True),
        (Fault("status", status=400), ModelRequestError, False),
        (Fault("status", status=401), ModelRequestError, False),
        (Fault("status", status=404), ModelRequestError, False),
        (Fault("html", status=502), ModelUnavailableError, True),
        (Fault("html", status=200), ModelUnavailableError, True),
        (Fault("sse_error", status=503, after=2), ModelUnavailableError, True),
        (Fault("sse_error", status=500, after=2), ModelUnavailableError, True),
        (Fault("sse_error", status=400, after=0), ModelRequestError, False),
        (Fault("drop", after=0), ModelUnavailableError, True),
        (Fault("drop", after=3), TruncatedStreamError, True),
        (Fault("truncate", after=3), TruncatedStreamError, True),
        (Fault("cut", at="utf8"), TruncatedStreamError, True),
        (Fault("cut", at="line"), TruncatedStreamError, True),
        (Fault("cut", at="arguments"), TruncatedStreamError, True),
    ],
    ids=lambda value: (
        f"{value.kind}-{value.status}-{value.after}-{value.at}" if isinstance(value, Fault) else ""
    ),
)
async def test_whatever_breaks_becomes_an_error_of_ours_that_says_whether_to_repeat(
    ask: Any, fault: Fault, kind: type[ModelError], retryable: bool
) -> None:
    answer = Answer(text="In 北京 it is late.", thinking="Hm.", calls=[CALL], fault=fault)
    with pytest.raises(ModelError) as caught:
        await ask([answer])
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable
    assert "127.0.0.1" in str(caught.value)
    if fault.retry_after:
        assert caught.value.retry_after == 3.0


@pytest.mark.parametrize("kind", ["drip", "no_usage", "null_cached", "stray_think"])
async def test_what_only_looks_odd_is_read_all_the_same(ask: Any, kind: Any) -> None:
    turn = await ask([Answer(text="In 北京 it is late.", thinking="Hm.", fault=kind)])
    assert turn.text == "In 北京 it is late."
    assert turn.finish == "stop"
    assert turn.usage.cached_tokens == 0 or kind not in {"no_usage", "null_cached"}


@pytest.mark.parametrize("kind", ["duplicate_call", "string_args", "raw_call", "drip"])
async def test_a_call_arrives_once_and_whole_whatever_the_parser_did_to_it(
    ask: Any, kind: Any
) -> None:
    turn = await ask([Answer(calls=[CALL], fault=kind)])
    assert [call.name for call in turn.tool_calls] == ["get_current_time"]
    assert json.loads(turn.tool_calls[0].arguments) == {"timezone": "Asia/Tokyo"}
    assert turn.finish == "tool_calls"
    assert turn.text == ""


async def test_a_rescued_call_is_announced(ask: Any, heard: Any) -> None:
    await ask([Answer(calls=[CALL], fault="raw_call")], heard=heard)
    assert "get_current_time" in heard.all("notice")


async def test_arguments_that_are_no_object_are_a_problem_and_no_call(ask: Any) -> None:
    turn = await ask([Answer(calls=[CALL], fault="scalar_args")])
    assert turn.tool_calls == ()
    assert "must be one JSON object" in turn.problem
    assert "get_current_time" in turn.problem


async def test_an_answer_that_the_server_aborted_may_be_asked_for_again(ask: Any) -> None:
    with pytest.raises(TruncatedStreamError, match="aborted the answer after 9 characters"):
        await ask([Answer(text="one two three four", fault="abort")])


async def test_an_empty_turn_is_returned_as_it_is(ask: Any) -> None:
    turn = await ask([Answer(fault="empty")])
    assert (turn.text, turn.thinking, turn.tool_calls, turn.finish) == ("", "", (), "stop")


async def test_calls_of_an_answer_cut_by_the_limit_say_so(ask: Any) -> None:
    raw = Raw('<tool_call>\n{"name": "fetch", "arguments": {"url": "http://a', finish="length")
    turn = await ask([raw])
    assert turn.finish == "length"
    assert turn.problem == ""


async def test_lost_arguments_are_asked_for_again_without_streaming(
    connect: Any, heard: Any, tools: tuple[ToolSpec, ...]
) -> None:
    lost = Answer(calls=[CALL], fault="lost_args")
    async with FakeSGLang([lost, lost]) as server, connect(server) as model:
        request = ModelRequest(messages=(UserMessage("Hi"),), tools=tools)
        turn = await model.ask(request, heard)
        streamed, whole = (received.body for received in server.requests)
    assert json.loads(turn.tool_calls[0].arguments) == {"timezone": "Asia/Tokyo"}
    assert turn.usage.requests == 2
    assert "asked again" in heard.all("notice")
    assert streamed["messages"] == whole["messages"]
    assert "stream" not in whole


async def test_arguments_that_stay_lost_are_a_problem_the_model_can_mend(
    serve: Any, connect: Any, heard: Any, tools: tuple[ToolSpec, ...], sse: Any, delta: Any
) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "fetch", "arguments": ""}}
    empty = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
    whole = (200, "application/json", [json.dumps(empty).encode()])
    stream = sse(delta(tool_calls=[call]), delta("tool_calls"))
    async with serve(stream, whole) as server, connect(server) as model:
        turn = await model.ask(ModelRequest(messages=(UserMessage("x"),), tools=tools), heard)
    assert turn.tool_calls == ()
    assert "'fetch' came without arguments" in turn.problem


async def test_a_call_without_arguments_is_whole_where_none_are_required(
    serve: Any, connect: Any, heard: Any, sse: Any, delta: Any
) -> None:
    call = {"index": 0, "id": None, "function": {"name": "now", "arguments": "null"}}
    now = ToolSpec("now", "", {"type": "object", "properties": {}})
    stream = sse(delta(tool_calls=[call]), delta("tool_calls"))
    async with serve(stream) as server, connect(server) as model:
        turn = await model.ask(ModelRequest(messages=(UserMessage("x"),), tools=(now,)), heard)
    assert turn.tool_calls[0].arguments == "{}"
    assert turn.tool_calls[0].id.startswith("call_")


ODD_PIECES: dict[str, list[dict[str, Any]]] = {
    "no index": [
        {"id": "a", "function": {"name": "fetch", "arguments": '{"url":'}},
        {"function": {"arguments": '"x"}'}},
    ],
    "same id repeated": [
        {"index": 0, "id": "a", "function": {"name": "fetch", "arguments": '{"url":'}},
        {"index": 0, "id": "a", "function": {"name": "fetch", "arguments": '"x"}'}},
    ],
    "index -1": [
        {"index": -1, "id": "a", "function": {"name": "fetch", "arguments": '{"url":"x"}'}}
    ],
    "an object": [
        {"index": 0, "id": "a", "function": {"name": "fetch", "arguments": {"url": "x"}}}
    ],
    "null fields": [
        {"index": 0, "id": "a", "function": {"name": "fetch", "arguments": None}},
        {"index": 0, "id": None, "function": {"name": None, "arguments": '{"url":"x"}'}},
    ],
}


@pytest.mark.parametrize("pieces", ODD_PIECES.values(), ids=ODD_PIECES)
async def test_pieces_of_a_call_are_put_together_however_they_are_numbered(
    pieces: list[dict[str, Any]],
    serve: Any,
    connect: Any,
    heard: Any,
    tools: tuple[ToolSpec, ...],
    sse: Any,
    delta: Any,
) -> None:
    stream = sse(*(delta(tool_calls=[piece]) for piece in pieces), delta("tool_calls"))
    async with serve(stream) as server, connect(server) as model:
        turn = await model.ask(ModelRequest(messages=(UserMessage("x"),), tools=tools), heard)
    assert [(c.id, json.loads(c.arguments)) for c in turn.tool_calls] == [("a", {"url": "x"})]


async def test_two_calls_under_one_index_stay_two(
    serve: Any, connect: Any, heard: Any, tools: tuple[ToolSpec, ...], sse: Any, delta: Any
) -> None:
    calls = [
        {"index": 0, "id": name, "function": {"name": "fetch", "arguments": f'{{"url":"{name}"}}'}}
        for name in "ab"
    ]
    async with (
        serve(sse(delta(tool_calls=calls), delta("stop"))) as server,
        connect(server) as model,
    ):
        turn = await model.ask(ModelRequest(messages=(UserMessage("x"),), tools=tools), heard)
    assert [call.id for call in turn.tool_calls] == ["a", "b"]
    assert turn.finish == "tool_calls"


@pytest.mark.parametrize(
    "chunk", ["[]", "5", '"x"', "{", '{"choices": [5]}', '{"choices": [{"delta": {"content": 5}}]}',
              '{"choices": [{"delta": {"tool_calls": 1}}]}', '{"choices": {"a": 1}}']
)  # fmt: skip
async def test_nonsense_inside_a_stream_is_one_clear_error(
    chunk: str, serve: Any, connect: Any, heard: Any
) -> None:
    async with serve([f"data: {chunk}\n\n".encode()]) as server, connect(server) as model:
        with pytest.raises(TruncatedStreamError, match="broken piece"):
            await model.ask(HI, heard)


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", b": ping\n\n", b"hello"])
async def test_a_stream_without_a_word_is_worth_another_try(
    body: bytes, serve: Any, connect: Any, heard: Any
) -> None:
    async with serve([body]) as server, connect(server) as model:
        with pytest.raises(ModelUnavailableError):
            await model.ask(HI, heard)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b'{"choices": []}', b'{"choices": 3}', b"{"]
)
async def test_a_json_answer_that_is_no_completion_is_one_clear_error(
    body: bytes, serve: Any, connect: Any, heard: Any
) -> None:
    async with serve((200, "application/json", [body])) as server, connect(server) as model:
        with pytest.raises(ModelUnavailableError, match="where a completion was expected"):
            await model.ask(HI, heard)


async def test_an_error_inside_a_json_answer_is_raised(
    serve: Any, connect: Any, heard: Any
) -> None:
    body = b'{"error": {"message": "full", "code": 503}}'
    async with serve((200, "application/json", [body])) as server, connect(server) as model:
        with pytest.raises(ModelUnavailableError, match="full"):
            await model.ask(HI, heard)


async def test_a_turn_that_is_complete_needs_no_end_of_the_stream(
    serve: Any, connect: Any, heard: Any, sse: Any, delta: Any
) -> None:
    stream = sse(delta(content="ok"), delta("stop"), done=False)
    async with serve(stream) as server, connect(server) as model:
        assert (await model.ask(HI, heard)).text == "ok"


async def test_a_prompt_too_long_is_a_context_overflow(ask: Any) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        await ask(["never"], UserMessage("word " * 20_000))
    assert not caught.value.retryable


async def test_an_invalid_history_never_reaches_the_server(ask: Any) -> None:
    bad = ModelTurn(tool_calls=(ToolCall("c", "fetch", '{"url": '),), finish="length")
    result = ToolResult(call_id="c", name="fetch", text="Not run: cut off.", ok=False)
    assert (await ask(["fine"], UserMessage("x"), bad, result)).text == "fine"


async def test_one_connection_serves_many_turns(connect: Any, heard: Any) -> None:
    async with FakeSGLang(["one", "two", "three"]) as server, connect(server) as model:
        for _ in range(3):
            await model.ask(HI, heard)
        assert server.connections == 1


async def test_the_conversation_is_named_for_routing(connect: Any, heard: Any) -> None:
    async with FakeSGLang(["one", "two"]) as server, connect(server) as model:
        await model.ask(ModelRequest(messages=HI.messages, conversation_id="c-1"), heard)
        await model.ask(ModelRequest(messages=HI.messages, conversation_id="bad\r\nid"), heard)
        keys = [received.headers.get("x-smg-routing-key") for received in server.requests]
    assert keys == ["c-1", None]


async def test_no_key_of_the_environment_goes_to_a_server(
    connect: Any, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "secret-of-another-service")
    async with FakeSGLang(["one"]) as server, connect(server) as model:
        await model.ask(HI, heard)
        assert "secret-of-another-service" not in str(dict(server.requests[0].headers))


async def test_the_key_of_the_server_is_sent(connect: Any, heard: Any) -> None:
    async with FakeSGLang(["one"], api_key="k1") as server:
        async with connect(server, api_key="k1") as model:
            assert (await model.ask(HI, heard)).text == "one"
        with pytest.raises(ModelRequestError, match="Unauthorized") as caught:
            async with connect(server):
                pass
    assert "key" in caught.value.hint


async def test_a_proxy_for_the_world_does_not_stand_between_us_and_this_machine(
    connect: Any, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with FakeSGLang(["one"]) as server, connect(server) as model:
        assert (await model.ask(HI, heard)).text == "one"


async def test_cancelling_the_caller_closes_the_stream(connect: Any, heard: Any) -> None:
    stalled = Answer(text="one two three four", fault=Fault("stall", after=2))
    async with FakeSGLang([stalled]) as server, connect(server) as model:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(model.ask, HI, heard)
                await server.wait_until(lambda seen: bool(seen.running))
                scope.cancel()
        with anyio.fail_after(5):
            await server.wait_until(lambda seen: seen.disconnects == 1)


@pytest.mark.parametrize(("clock", "after"), [("first_token", 0), ("idle", 3), ("model", 3)])
async def test_a_silent_server_runs_into_the_clock_that_is_named(
    connect: Any, heard: Any, clock: str, after: int
) -> None:
    stalled = Answer(text="one two three four five", fault=Fault("stall", after=after))
    request = ModelRequest(messages=HI.messages, timeouts=Timeouts(**{clock: 0.2}))
    async with FakeSGLang([stalled]) as server, connect(server) as model:
        with pytest.raises(ModelTimeoutError, match=f"within 0.2 s .clock '{clock}'") as caught:
            await model.ask(request, heard)
        await server.wait_until(lambda seen: seen.disconnects == 1)
    assert caught.value.retryable
    assert f"timeouts.{clock}" in caught.value.hint


async def test_a_connection_that_cannot_be_made_is_unavailable(connect: Any, heard: Any) -> None:
    async with FakeSGLang(["one"]) as server, connect(server) as model:
        await server.__aexit__(None, None, None)
        with pytest.raises(ModelUnavailableError, match="No answer from the model server"):
            await model.ask(HI, heard)
        await server.__aenter__()
        assert (await model.ask(HI, heard)).text == "one"


async def test_a_length_that_vllm_hides_is_found_in_the_usage(
    serve: Callable[..., Any], connect: Any, heard: Any, tools: Any, sse: Any, delta: Any
) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "fetch", "arguments": '{"url":"x"}'}}
    usage: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 50}}
    stream = sse(delta(tool_calls=[call]), delta("tool_calls"), usage)
    request = ModelRequest(messages=HI.messages, tools=tools, max_tokens=50)
    async with serve(stream, owner="vllm") as server, connect(server) as model:
        assert (await model.ask(request, heard)).finish == "length"


async def test_reasoning_is_read_from_either_field(
    serve: Any, connect: Any, heard: Any, sse: Any, delta: Any
) -> None:
    stream = sse(delta(reasoning="\nfirst"), delta(reasoning_content=" then\n"), delta("stop"))
    async with serve(stream, owner="vllm") as server, connect(server) as model:
        assert (await model.ask(HI, heard)).thinking == "first then"


async def test_thinking_that_no_parser_took_out_is_taken_out(
    serve: Any, connect: Any, heard: Any, sse: Any, delta: Any
) -> None:
    stream = sse(delta(content="<think>\nhm\n</think>\n\nYes."), delta("stop"))
    async with serve(stream) as server, connect(server) as model:
        turn = await model.ask(HI, heard)
    assert (turn.text, turn.thinking) == ("Yes.", "hm")


async def test_a_step_with_a_schema_does_not_think_unless_it_is_told_to(
    connect: Any, heard: Any
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    async with FakeSGLang(['{"a": "b"}'] * 2) as server, connect(server) as model:
        for thinking in ("auto", True):
            fields: dict[str, Any] = {"schema": schema, "thinking": thinking}
            await model.ask(ModelRequest(messages=HI.messages, **fields), heard)
        sent = [received.body.get("chat_template_kwargs") for received in server.requests]
    assert sent == [{"enable_thinking": False}, {"enable_thinking": True}]


@pytest.mark.parametrize(("owner", "connections"), [("sglang", 1), ("llamacpp", 3)])
async def test_a_server_that_drops_used_connections_gets_a_new_one_for_each_answer(
    serve: Any, connect: Any, sse: Any, delta: Any, heard: Any, owner: str, connections: int
) -> None:
    answer = sse(delta(content="Hi."), delta("stop"))
    async with (
        serve(answer, answer, answer, owner=owner) as server,
        connect(server, backend=owner) as model,
    ):
        for _ in range(3):
            await model.ask(HI, heard)
    assert len(set(server.ports)) == connections


async def test_a_user_in_the_base_url_is_sent_as_a_header_and_shown_nowhere(
    serve: Any, sse: Any, delta: Any, heard: Any
) -> None:
    async with serve(sse(delta(content="one"), delta("stop"))) as server, open_pool() as pool:
        address = server.base_url.replace("//", "//me:p%40ss-word@")
        model = await pool.connect(address, connect_seconds=5)
        assert (await model.ask(HI, heard)).text == "one"
        with pytest.raises(ModelRequestError) as caught:
            await pool.connect(address, model="other")
    assert [name for name in server.authorizations if name != "Basic bWU6cEBzcy13b3Jk"] == []
    assert "me:" not in str(caught.value)
    assert server.base_url in str(caught.value)


async def test_a_user_and_a_key_are_one_too_many() -> None:
    async with open_pool() as pool:
        with pytest.raises(ConfigurationError, match="a user in the base URL, and an API key"):
            await pool.connect("http://me:hidden-word@127.0.0.1:9/v1", api_key="k1")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://me:hidden-word@h/v1",
        "http://me:hidden/word@h/v1",
        "http://me:hidden#word@h/v1",
        "http://[::1/v1",
        "http://h:port/v1",
        "http://h:99999999/v1",
        "http://:30000/v1",
    ],
)
async def test_an_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    async with open_pool() as pool:
        with pytest.raises(ConfigurationError, match="is not an HTTP address") as caught:
            await pool.connect(address)
    assert "hidden" not in str(caught.value)
    assert caught.value.hint


WROTE = (
    '<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "fetch", "arguments": {"url": '
    '"one\ntwo, and then much more that nobody would like to miss"}}\n</tool_call>'
)


async def test_arguments_that_a_parser_made_whole_are_never_run(
    connect: Any, tools: Any, heard: Any
) -> None:
    # A bare newline in a string: streaming brings {"url": "one"}, and without a stream nothing comes.
    request = ModelRequest(messages=[UserMessage("Hi")], tools=tools)
    async with (
        FakeSGLang([Raw(WROTE), Raw(WROTE)]) as server,
        connect(server, strict_tools=False) as model,
    ):
        turn = await model.ask(request, heard)
        assert [body.body.get("stream") for body in server.requests] == [True, None]
    assert turn.tool_calls == ()
    assert "fetch could not be read as JSON" in turn.problem
    assert "asked again" in heard.all("notice")
    assert turn.usage.requests == 2


async def test_arguments_that_came_whole_are_not_asked_for_again(
    connect: Any, tools: Any, heard: Any
) -> None:
    request = ModelRequest(messages=[UserMessage("Hi")], tools=tools)
    async with (
        FakeSGLang([Raw(WROTE.replace("\ntwo", " two"))]) as server,
        connect(server, strict_tools=False) as model,
    ):
        turn = await model.ask(request, heard)
    assert [call.name for call in turn.tool_calls] == ["fetch"]
    assert heard.all("notice") == ""


async def test_a_thinking_budget_goes_where_a_server_keeps_one(connect: Any, heard: Any) -> None:
    request = ModelRequest(messages=[UserMessage("Hi")], thinking_tokens=512)
    async with FakeSGLang("Hello!") as server, connect(server) as model:
        await model.ask(request, heard)
        await model.ask(replace(request, thinking=False), heard)
        sent = [received.body.get("custom_params") for received in server.requests]
    assert sent == [{"thinking_budget": 512}, None]


async def test_a_changed_prefix_is_said(connect: Any, tools: Any, heard: Any) -> None:
    first = ModelRequest(messages=[UserMessage("Hi")], tools=tools, conversation_id="c" * 32)
    async with FakeSGLang("Hello!") as server, connect(server) as model:
        await model.ask(first, heard)
        await model.ask(first, heard)
        assert heard.all("notice") == ""
        await model.ask(replace(first, tools=tools[1:]), heard)
    assert "in the tools. The server's prefix cache" in heard.all("notice")


async def test_an_answer_gets_the_room_that_the_prompt_leaves(connect: Any, heard: Any) -> None:
    long = ModelRequest(messages=[UserMessage("word " * 1500)], max_tokens=6000)
    short = ModelRequest(messages=[UserMessage("word")], max_tokens=6000)
    async with FakeSGLang("Hello!", context_tokens=4096) as server, connect(server) as model:
        await model.ask(long, heard)
        await model.ask(short, heard)
        given = [received.body["max_tokens"] for received in server.requests]
    assert 2000 < given[0] < 4096 - 1500
    assert 4000 < given[1] < 4096
