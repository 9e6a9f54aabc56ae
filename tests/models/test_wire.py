import gc
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.messages import (
    Message,
    ModelTurn,
    SystemMessage,
    ToolCall,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from agentkit.models._dialects import LLAMACPP, OPENAI, SGLANG, VLLM, Dialect
from agentkit.models._presets import Mode
from agentkit.models._wire import Encoder, legal_arguments
from agentkit.protocols import ModelRequest

SPEC = ToolSpec("now", "Tells the time.", {"type": "object", "properties": {}})


def body(dialect: Dialect, messages: list[Message], **fields: Any) -> dict[str, Any]:
    request = ModelRequest(messages=messages, **fields)
    return json.loads(Encoder(dialect, "m").body(request, Mode(True), {}))


def called(thinking: str = "hm", arguments: str = '{"a":  1}') -> ModelTurn:
    return ModelTurn(thinking=thinking, tool_calls=(ToolCall("c1", "now", arguments),), text="\n")


RESULT = ToolResult(call_id="c1", name="now", text="12:00")


@pytest.mark.parametrize(
    ("dialect", "field"),
    [(SGLANG, "reasoning_content"), (LLAMACPP, "reasoning_content"), (VLLM, "reasoning")],
)
def test_thinking_goes_back_with_every_turn_so_that_bytes_only_grow(
    dialect: Dialect, field: str
) -> None:
    turns: list[Message] = [
        UserMessage("a"), called("old"), RESULT, ModelTurn(text="A", thinking="older"),
        UserMessage("b"), called("\nnew\n"), RESULT,
    ]  # fmt: skip
    sent = body(dialect, turns)["messages"]
    thoughts = [message.get(field) for message in sent]
    assert thoughts == [None, "old", None, "older", None, "new", None]
    assert "\n" not in sent[5]["content"]


def test_a_plain_openai_server_gets_no_thinking_back() -> None:
    sent = body(OPENAI, [UserMessage("b"), called(), RESULT])
    assert "hm" not in json.dumps(sent)


def test_a_request_says_nothing_that_is_not_set() -> None:
    sent = body(SGLANG, [SystemMessage("s"), UserMessage("u")])
    assert set(sent) == {"model", "messages", "stream", "stream_options"}
    assert None not in sent.values()


def test_arguments_go_back_byte_for_byte() -> None:
    call = body(SGLANG, [UserMessage("u"), called(), RESULT])["messages"][1]["tool_calls"][0]
    assert call == {
        "id": "c1",
        "type": "function",
        "function": {"name": "now", "arguments": '{"a":  1}'},
    }


@given(st.text())
def test_history_arguments_are_always_a_json_object(text: str) -> None:
    assert isinstance(json.loads(legal_arguments(text)), dict)


@pytest.mark.parametrize(
    "text", ["", "null", "2", '"{}"', "[1]", '{"a": ', '{"a": NaN}', "{'a': 1}"]
)
def test_arguments_a_server_would_refuse_become_an_empty_object(text: str) -> None:
    assert legal_arguments(text) == "{}"


@pytest.mark.parametrize(
    ("dialect", "choice", "sent"),
    [
        (SGLANG, "auto", None),
        (SGLANG, "required", "required"),
        (SGLANG, "none", None),  # the tools would leave the prompt, and the cache with them
        (VLLM, "none", "none"),
        (OPENAI, "none", "none"),
    ],
)
def test_tool_choice_is_said_as_the_server_understands_it(
    dialect: Dialect, choice: Any, sent: str | None
) -> None:
    found = body(dialect, [UserMessage("u")], tools=(SPEC,), tool_choice=choice)
    assert found.get("tool_choice") == sent
    assert found["tools"][0]["function"]["name"] == "now"


def test_a_schema_is_sent_as_a_response_format_without_what_grammars_reject() -> None:
    schema = {"type": "object", "properties": {"u": {"type": "string", "format": "uri"}}}
    sent = body(SGLANG, [UserMessage("u")], schema=schema, tools=(SPEC,), tool_choice="required")
    inner = sent["response_format"]["json_schema"]["schema"]
    assert inner["properties"] == {"u": {"type": "string"}}
    assert "tool_choice" not in sent  # a 400 together with a schema


def test_tools_are_strict_where_the_server_can_and_the_schema_allows() -> None:
    odd = ToolSpec("odd", "", {"type": "object", "not": {}})
    sent = body(SGLANG, [UserMessage("u")], tools=(SPEC, odd))["tools"]
    assert [tool["function"].get("strict") for tool in sent] == [True, None]
    assert "strict" not in body(VLLM, [UserMessage("u")], tools=(SPEC,))["tools"][0]["function"]


def test_text_that_is_no_unicode_does_not_stop_a_request() -> None:
    assert body(SGLANG, [UserMessage("a\ud800b")])["messages"][0]["content"] == "a?b"


def test_the_prefix_of_a_conversation_keeps_its_bytes() -> None:
    encoder = Encoder(SGLANG, "m")
    messages: list[Message] = [SystemMessage("s"), UserMessage("u")]
    before = b""
    for number in range(6):
        request = ModelRequest(messages=messages, tools=(SPEC,))
        after = encoder.body(request, Mode(True), {"temperature": 0.6}).split(b'],"tools"')[0]
        assert after.startswith(before)
        before = after
        messages += [called(f"thought {number}"), RESULT]
        if number == 3:  # a new question changes nothing that was said
            messages += [ModelTurn(text="A", thinking="so"), UserMessage("v")]


def test_the_bytes_of_a_message_are_forgotten_with_it() -> None:
    encoder = Encoder(SGLANG, "m")
    messages: list[Message] = [UserMessage("u"), called(), RESULT]
    encoder.body(ModelRequest(messages=messages), Mode(True), {})
    assert len(encoder._lines) == 3
    kept = messages[0]
    messages.clear()
    gc.collect()
    assert kept == UserMessage("u")
    assert len(encoder._lines) == 2  # the module's RESULT and `kept` live on


def test_equal_messages_at_new_addresses_are_written_anew() -> None:
    encoder = Encoder(SGLANG, "m")
    for text in ("a", "b", "c", "d"):
        sent = encoder.body(ModelRequest(messages=[UserMessage(text)]), Mode(True), {})
        assert json.loads(sent)["messages"] == [{"role": "user", "content": text}]
