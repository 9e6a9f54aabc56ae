from typing import Any

import aiohttp
import anyio
import pytest

from agentkit.testing import Answer, FakeSGLang, Fault, Raw

CALL = ("search", {"q": "weather in Tokyo"})


async def test_a_status_carries_its_retry_after(client: Any) -> None:
    fault = Fault("status", status=429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
    async with (
        FakeSGLang([Answer(fault=fault)]) as server,
        client.post(server, stream=True) as response,
    ):
        assert response.status == 429
        assert response.headers["Retry-After"] == "Wed, 21 Oct 2026 07:28:00 GMT"
        assert (await response.json())["code"] == 429


async def test_a_full_queue_is_a_503_or_an_error_inside_a_stream(client: Any) -> None:
    async with FakeSGLang([Answer(fault="busy"), Answer(fault="busy")]) as server:
        assert await client.whole(server) == {
            "object": "error",
            "message": "The request queue is full.",
            "type": "503",
            "param": None,
            "code": 503,
        }
        streamed = await client.stream(server)
    assert streamed.chunks[0]["error"]["type"] == "SERVICE_UNAVAILABLE"
    assert streamed.chunks[0]["error"]["code"] == 503
    assert streamed.done


async def test_a_proxy_answers_in_html(client: Any) -> None:
    async with (
        FakeSGLang([Answer(fault=Fault("html", status=502))]) as server,
        client.post(server) as response,
    ):
        assert (response.status, response.content_type) == (502, "text/html")


async def test_an_error_inside_the_stream_comes_after_its_chunks(client: Any) -> None:
    async with FakeSGLang([Answer(text="one two", fault=Fault("sse_error", 500, 2))]) as server:
        streamed = await client.stream(server)
    assert streamed.text() == "one"
    assert streamed.chunks[-1]["error"]["code"] == 500
    assert streamed.done


@pytest.mark.parametrize("stream", [False, True])
async def test_a_drop_before_the_first_byte_gives_no_response(client: Any, stream: bool) -> None:
    async with FakeSGLang([Answer(text="Hi", fault="drop")]) as server:
        with pytest.raises(aiohttp.ClientConnectionError):
            async with client.post(server, stream=stream):
                pass


async def test_a_drop_later_keeps_the_chunks_before_it(client: Any) -> None:
    async with FakeSGLang([Answer(text="one two three", fault=Fault("drop", after=3))]) as server:
        streamed = await client.stream(server)
    assert streamed.lost
    assert streamed.text() == "one two"


@pytest.mark.parametrize("after", [0, 2])
async def test_a_stalled_stream_ends_when_the_client_leaves(client: Any, after: int) -> None:
    async with FakeSGLang([Answer(text="one two", fault=Fault("stall", after=after))]) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(client.stream, server)
            await server.wait_until(lambda it: len(it.running) == 1)
            group.cancel_scope.cancel()
        await server.wait_until(lambda it: it.disconnects == 1)
        assert not server.running


async def test_a_released_stall_goes_on_to_the_end(client: Any) -> None:
    async with (
        FakeSGLang([Answer(text="one two", fault=Fault("stall", after=2))]) as server,
        client.post(server, stream=True) as response,
    ):
        first = await response.content.readuntil(b'"one"')
        server.release()
        rest = await response.content.read()
    assert b" two" not in first
    assert b" two" in rest
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_truncated_stream_ends_in_good_order_without_a_finish(client: Any) -> None:
    async with FakeSGLang([Answer(text="one two", fault=Fault("truncate", after=2))]) as server:
        streamed = await client.stream(server)
    assert (streamed.lost, streamed.done, streamed.finish) == (False, False, None)
    assert streamed.text() == "one"


async def test_a_stream_is_cut_inside_a_character(client: Any) -> None:
    answer = Answer(text="北京时间", fault=Fault("cut", at="utf8"))
    async with FakeSGLang([answer]) as server:
        streamed = await client.stream(server)
    assert streamed.lost
    with pytest.raises(UnicodeDecodeError):
        streamed.data.decode()


async def test_a_stream_is_cut_inside_a_line(client: Any) -> None:
    async with FakeSGLang([Answer(text="one two", fault=Fault("cut", at="line"))]) as server:
        streamed = await client.stream(server)
    assert streamed.lost
    assert not streamed.data.endswith(b"\n\n")


async def test_a_stream_is_cut_inside_the_arguments(client: Any) -> None:
    async with FakeSGLang([Answer(calls=[CALL], fault=Fault("cut", at="arguments"))]) as server:
        streamed = await client.stream(server)
    assert streamed.lost
    assert streamed.finish is None
    assert '{"q": "weather in Tokyo"}'.startswith(streamed.calls[0][1])
    assert 0 < len(streamed.calls[0][1]) < 25


async def test_a_body_that_is_not_streamed_is_cut_too(client: Any) -> None:
    async with FakeSGLang([Answer(text="Hi", fault="cut")]) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.whole(server)


async def test_dripping_changes_nothing_but_the_pace(client: Any) -> None:
    async with FakeSGLang([Answer(text="北京", fault="drip")]) as server:
        streamed = await client.stream(server)
    assert streamed.text() == "北京"
    assert streamed.done


async def test_lost_arguments_are_lost_only_in_a_stream(client: Any) -> None:
    answer = Answer(calls=[CALL], fault="lost_args")
    async with FakeSGLang([answer, answer]) as server:
        streamed = await client.stream(server)
        message = (await client.whole(server))["choices"][0]["message"]
    assert (streamed.calls, streamed.finish) == ([("search", "")], "tool_calls")
    assert message["tool_calls"][0]["function"]["arguments"] == '{"q": "weather in Tokyo"}'


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        ("truncated_args", [("search", '{"q": "weather "}')]),
        ("string_args", [("search", '"{\\"q\\": \\"weather in Tokyo\\"}"')]),
        ("scalar_args", [("search", "2")]),
        ("duplicate_call", [("search", '{"q": "weather in Tokyo"}')] * 2),
        ("raw_call", []),
        ("empty", []),
        ("abort", []),
    ],
)
async def test_calls_arrive_spoiled(client: Any, fault: Any, calls: list[Any]) -> None:
    answer = Answer(thinking="Hm.", calls=[CALL], fault=fault)
    async with FakeSGLang([answer, answer]) as server:
        streamed = await client.stream(server)
        choice = (await client.whole(server))["choices"][0]
    whole = [
        (item["function"]["name"], item["function"]["arguments"])
        for item in choice["message"].get("tool_calls", [])
    ]
    finish = "abort" if fault == "abort" else "tool_calls" if calls else "stop"
    assert (streamed.calls, streamed.finish) == (calls, finish)
    assert (whole, choice["finish_reason"]) == (calls, finish)
    assert ("<tool_call>" in streamed.text()) == (fault == "raw_call")


async def test_truncated_arguments_may_end_in_length(client: Any) -> None:
    answer = Answer(calls=[CALL], finish="length", fault="truncated_args")
    async with FakeSGLang([answer]) as server:
        streamed = await client.stream(server)
    assert (streamed.calls, streamed.finish) == ([("search", '{"q": "weather "}')], "length")


async def test_an_answer_may_hide_in_the_reasoning(client: Any) -> None:
    async with FakeSGLang([Answer(thinking="Hm.", text="Hi.", fault="all_reasoning")]) as server:
        streamed = await client.stream(server)
    assert streamed.text().strip() == ""
    assert streamed.text("reasoning_content") == "\nHm.\nHi.\n"


async def test_a_stray_end_of_thinking_is_in_the_content(client: Any) -> None:
    async with FakeSGLang([Answer(thinking="Hm.", text="Hi.", fault="stray_think")]) as server:
        assert (await client.stream(server)).text() == "\n\n</think>\n\nHi."


async def test_usage_may_be_missing_or_half_null(client: Any) -> None:
    script = [Answer(text="Hi", fault="no_usage"), Answer(text="Hi", fault="null_cached")]
    async with FakeSGLang(script) as server:
        assert all(
            "usage" not in chunk or not chunk["usage"]
            for chunk in (await client.stream(server)).chunks
        )
        usage = (await client.stream(server)).chunks[-1]["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": None}


async def test_several_tokens_in_one_chunk_lose_arguments_as_the_real_parser_does(
    client: Any,
) -> None:
    written = '<tool_call>\n{"name": "search", "arguments": {"q": "x"}}\n</tool_call>'
    async with FakeSGLang([Raw(written, interval=100)]) as server:
        assert (await client.stream(server)).calls == [("search", "")]


async def test_a_slow_answer_comes(client: Any) -> None:
    async with FakeSGLang([Answer(text="Hi", fault=Fault("slow", seconds=0.01))]) as server:
        assert (await client.stream(server)).text() == "Hi"


def test_an_unknown_fault_is_refused_by_name() -> None:
    unknown: Any = "melt"
    with pytest.raises(ValueError, match=r"No fault 'melt'. Known faults: status, busy"):
        Fault(unknown)
