import gc
import json
import signal
import socket
import sys
from typing import Any, cast

import aiohttp
import anyio
import openai
import pytest

from agentkit.testing import Answer, FakeSGLang, Fault, Raw

HELLO: Any = [{"role": "user", "content": "Hello!"}]


async def test_the_openai_client_gets_text_and_thinking() -> None:
    async with (
        FakeSGLang() as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="-", max_retries=0) as client,
    ):
        answer = await client.chat.completions.create(model=server.model, messages=HELLO)
        stream = await client.chat.completions.create(
            model=server.model, messages=HELLO, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert answer.choices[0].message.content == "\n\nHello! How can I help you today?"
    assert text == answer.choices[0].message.content


async def test_the_openai_client_sees_a_full_queue_as_the_real_server_shows_it() -> None:
    script = [Answer(fault="busy"), Answer(fault="busy")]
    async with (
        FakeSGLang(script) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="-", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError) as whole:
            await client.chat.completions.create(model=server.model, messages=HELLO)
        stream = await client.chat.completions.create(
            model=server.model, messages=HELLO, stream=True
        )
        with pytest.raises(openai.APIError) as streamed:
            async for _ in stream:
                pass
    assert whole.value.status_code == 503
    assert not isinstance(streamed.value, openai.APIStatusError)
    assert cast("dict[str, Any]", streamed.value.body)["code"] == 503


async def test_a_dialogue_goes_on_with_each_turn_of_the_model(client: Any) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Send wrong arguments."}]
    async with FakeSGLang() as server:
        for _ in range(2):
            message = (await client.whole(server, messages=messages))["choices"][0]["message"]
            messages.append(message)
            item = {"role": "tool", "content": "?", "tool_call_id": "call_1"}
            messages.append(item)
        last = await client.whole(server, messages=messages)
    assert last["choices"][0]["message"]["content"] == "\n\nCorrected the arguments."


async def test_answers_by_question_take_the_last_known_question(client: Any) -> None:
    script = {"one": "first", "two": ["second", Answer(text="third")]}
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "Go on."},
    ]
    async with FakeSGLang(script) as server:
        texts = [
            (await client.whole(server, messages=messages[:count]))["choices"][0]["message"]
            for count in (1, 3, 5)
        ]
    assert [message["content"] for message in texts] == ["first", "second", "third"]


async def test_a_request_beyond_the_script_fails_the_test_at_the_end(client: Any) -> None:
    async def ask_twice() -> None:
        async with FakeSGLang(["one"]) as server:
            await client.whole(server)
            assert (await client.whole(server))["code"] == 500

    with pytest.raises(AssertionError, match="1 answers; this is request 2"):
        await ask_twice()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tools": [], "tool_choice": "required"}, "Tools cannot be empty if tool choice is set"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "zzz"}}},
            "Tool 'zzz' not found in tools list.",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": 1}}}]},
            "Tool 0 function has invalid 'parameters' schema: ",
        ),
        ({"model": "qwen3:14b"}, "LoRA adapter '14b' was requested"),
        ({"parallel_tool_calls": None}, "1 validation error"),
        ({"messages": "Hi"}, "1 validation error"),
        ({"max_tokens": 9000}, "max_completion_tokens is too large: 9000.This model supports at"),
        ({"max_tokens": 8190}, "Requested token count exceeds the model's maximum context length"),
        ({"messages": [{"role": "user", "content": "hi " * 9000}]}, "The input ("),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "1", "function": {"name": "x", "arguments": "[]"}}],
                    }
                ]
            },
            "Assistant tool call function.arguments must be a JSON object.",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_requests_are_refused_in_the_words_of_the_real_server(
    client: Any, fields: dict[str, Any], message: str, stream: bool
) -> None:
    async with FakeSGLang() as server, client.post(server, stream=stream, **fields) as response:
        body = await response.json()
    assert response.status == 400
    assert body["message"].startswith(message)
    assert list(body) == ["object", "message", "type", "param", "code"]


async def test_malformed_json_is_refused() -> None:
    async with (
        FakeSGLang() as server,
        aiohttp.ClientSession() as session,
        session.post(f"{server.base_url}/chat/completions", data=b"{") as response,
    ):
        assert response.status == 400
        assert (await response.json())["type"] == "Bad Request"


async def test_a_served_name_with_a_colon_is_no_adapter(client: Any) -> None:
    async with FakeSGLang(["Hi"], model="qwen3:14b") as server:
        assert "choices" in await client.whole(server)


async def test_no_tool_choice_drops_the_tools(client: Any) -> None:
    written = '<think>a</think><tool_call>\n{"name": "search", "arguments": {}}\n</tool_call>'
    async with FakeSGLang([Raw(written), Answer(calls=[("search", {})])]) as server:
        raw = await client.stream(server, tool_choice="none")
        given = await client.stream(server, tool_choice="none")
    assert raw.text().startswith("<tool_call>")
    assert given.calls == []


async def test_thinking_is_left_out_where_the_request_turns_it_off(client: Any) -> None:
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    async with FakeSGLang([Answer(thinking="Hm.", text="Hi.")]) as server:
        message = (await client.whole(server, **off))["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hi.", None)


async def test_max_tokens_cuts_and_says_length(client: Any) -> None:
    async with FakeSGLang([Answer(text="one two three four")]) as server:
        streamed = await client.stream(
            server, max_tokens=2, chat_template_kwargs={"enable_thinking": False}
        )
    assert (streamed.text(), streamed.finish) == ("one two", "length")


async def test_an_answer_ends_where_the_context_does(client: Any) -> None:
    messages = [{"role": "user", "content": "Think for ever."}]
    async with FakeSGLang(context_tokens=500) as server:
        answer = await client.whole(server, messages=messages)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 500


async def test_a_single_answer_is_given_to_every_request(client: Any) -> None:
    async with FakeSGLang("Hi") as server:
        answers = [await client.whole(server) for _ in range(3)]
    assert [answer["choices"][0]["message"]["content"] for answer in answers] == ["Hi"] * 3


async def test_a_grown_conversation_is_cached_up_to_where_it_grew(client: Any) -> None:
    first: list[dict[str, Any]] = [{"role": "user", "content": "one"}]
    second = [*first, {"role": "assistant", "content": "a"}, {"role": "user", "content": "two"}]
    async with FakeSGLang(["a", "b"]) as server:
        before = (await client.whole(server, messages=first))["usage"]
        after = (await client.whole(server, messages=second))["usage"]
    assert before["prompt_tokens_details"] == {"cached_tokens": 0}
    known = after["prompt_tokens_details"]["cached_tokens"]
    assert before["prompt_tokens"] <= known < after["prompt_tokens"]


async def test_a_key_is_asked_for_except_by_probes(client: Any) -> None:
    async with FakeSGLang(["Hi"], api_key="k1") as server:
        async with client.post(server) as response:
            assert response.status == 401
            assert await response.json() == {"error": "Unauthorized"}
        for path, status in (("/ready", 200), ("/metrics", 200), ("/v1/models", 401)):
            async with client.session.get(server.url + path) as response:
                assert response.status == status
        headers = {"Authorization": "Bearer k1"}
        async with client.session.get(f"{server.base_url}/models", headers=headers) as response:
            assert response.status == 200


async def test_side_endpoints_answer(client: Any) -> None:
    async with FakeSGLang() as server:
        async with client.session.get(f"{server.base_url}/models/x") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "model_not_found"
        body = {"model": server.model, "messages": HELLO}
        async with client.session.post(f"{server.base_url}/tokenize", json=body) as response:
            counted = await response.json()
            assert counted["count"] == len(counted["tokens"])
            assert counted["approximate"] is True
        async with client.session.get(server.url + "/") as response:
            assert await response.json() == "SGLang is running"
        async with client.session.get(server.url + "/server_info") as response:
            assert (await response.json())["version"] == "0.5.23"
        async with client.session.get(server.url + "/nowhere") as response:
            assert response.status == 404
    assert server.hits["/nowhere"] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_abort_by_the_beginning_of_an_id_ends_the_answer(
    client: Any, stream: bool
) -> None:
    ends: list[Any] = []

    async def ask() -> None:
        if stream:
            ends.append((await client.stream(server, rid="run1-child")).finish)
        else:
            whole = await client.whole(server, rid="run1-child")
            ends.append(whole["choices"][0]["finish_reason"])

    server = FakeSGLang([Answer(text="Hi", fault=Fault("stall"))])
    async with server, anyio.create_task_group() as group:
        group.start_soon(ask)
        await server.wait_until(lambda it: len(it.running) == 1)
        for rid in ("other", "run1"):
            url = server.url + "/abort_request"
            async with client.session.post(url, json={"rid": rid}) as response:
                assert response.status == 200
        await server.wait_until(lambda it: not it.running)
    assert ends == ["abort"]
    assert server.aborted == ["run1-child"]
    assert server.disconnects == 0


async def test_a_server_boots_from_refused_to_warming_to_ready(client: Any) -> None:
    async def probe() -> int:
        async with client.session.get(server.url + "/ready") as response:
            return response.status

    async with FakeSGLang(["Hi"], state="refused") as server:
        with pytest.raises(aiohttp.ClientConnectorError):
            await probe()
        await server.become("warming")
        assert await probe() == 503
        assert "choices" in await client.whole(server)
        await server.become("ready")
        assert await probe() == 200


async def test_connections_are_counted_and_requests_kept(client: Any) -> None:
    async with FakeSGLang(["a", "b"]) as server:
        await client.whole(server)
        await client.whole(server)
    assert server.connections == 1
    assert [len(received.messages) for received in server.requests] == [1, 1]
    assert server.requests[0].headers["content-type"] == "application/json"


async def test_closing_leaves_nothing_behind_even_with_a_stalled_answer(client: Any) -> None:
    async def ask() -> None:
        with pytest.raises(aiohttp.ClientError):
            await client.whole(server)

    server = FakeSGLang([Answer(fault="stall")])
    async with anyio.create_task_group() as group, server:
        group.start_soon(ask)
        await server.wait_until(lambda it: len(it.running) == 1)
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plug.bind(("127.0.0.1", int(server.url.rpartition(":")[2])))
    assert server.disconnects == 0
    gc.collect()  # an unclosed socket would warn, and warnings are errors


async def test_a_busy_port_is_an_error_that_leaves_no_socket() -> None:
    async with FakeSGLang() as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="ddress already in use"):
            async with FakeSGLang(port=port):
                pass


async def test_another_process_can_serve_it(client: Any, tmp_path: Any) -> None:
    script = anyio.Path(tmp_path) / "answers.json"
    await script.write_text(json.dumps({"Hi": [{"text": "Hello.", "fault": "drip"}]}))
    command = [sys.executable, "-W", "error", "-m", "agentkit.testing.fake_sglang"]
    async with await anyio.open_process([*command, "--script", str(script)]) as process:
        assert process.stdout is not None
        line = await process.stdout.receive()
        url = f"{json.loads(line)['base_url']}/chat/completions"
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        async with client.session.post(url, json=body) as response:
            assert (await response.json())["choices"][0]["message"]["content"] == "Hello."
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
