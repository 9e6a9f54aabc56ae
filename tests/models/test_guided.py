import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.messages import (
    ModelTurn,
    SystemMessage,
    ToolCall,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from agentkit.models._answer_stream import AnswerStream
from agentkit.models._guided import GuidedModel
from agentkit.protocols import ModelProfile, ModelRequest

WEATHER = ToolSpec(
    "weather",
    "Weather of a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "English name"},
            "unit": {"enum": ["C", "F"]},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["city"],
    },
)
NOW = ToolSpec("now", "The time.", {"type": "object", "properties": {}})
CALL = '{"name": "weather", "arguments": {"city": "Paris"}}'


class Written:
    """A model that writes given text, some characters at a time."""

    def __init__(self, text: str, finish: Any = "stop") -> None:
        self.turn = ModelTurn(text=text, finish=finish)
        self.request: ModelRequest | None = None
        self.profile = ModelProfile(name="small")

    async def ask(self, request: ModelRequest, emit: Any) -> ModelTurn:
        self.request = request
        for at in range(0, len(self.turn.text), 3):
            emit("text", self.turn.text[at : at + 3])
        return self.turn


async def step(text: str, heard: Any, finish: Any = "stop", **fields: Any) -> tuple[ModelTurn, Any]:
    model = Written(text, finish)
    given: dict[str, Any] = {"messages": (UserMessage("Hi"),), "tools": (WEATHER, NOW), **fields}
    return await GuidedModel(model).ask(ModelRequest(**given), heard), model.request


async def test_a_call_is_read_and_none_of_its_json_is_shown(heard: Any) -> None:
    turn, _ = await step(CALL, heard)
    assert [(call.name, json.loads(call.arguments)) for call in turn.tool_calls] == [
        ("weather", {"city": "Paris"})
    ]
    assert (turn.text, turn.finish) == ("", "tool_calls")
    assert heard.pieces == []


async def test_an_answer_streams_decoded(heard: Any) -> None:
    answer = 'Line\n"quoted" 北京 \U0001f327 end'
    for text in (
        json.dumps({"answer": answer}),
        json.dumps({"answer": answer}, ensure_ascii=False),
    ):
        heard.pieces.clear()
        turn, _ = await step(text, heard)
        assert turn.text == answer
        assert heard.all("text") == answer
        assert len(heard.pieces) > 3


@given(st.text(), st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_the_shown_answer_is_the_answer_wherever_it_is_cut(
    answer: str, cuts: list[int], ascii_only: bool
) -> None:
    text = json.dumps({"answer": answer}, ensure_ascii=ascii_only)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    stream = AnswerStream()
    shown = "".join(stream.feed(text[a:b]) for a, b in pairwise(edges))
    assert shown == answer


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("auto", ["weather", "now", "answer"]),
        ("required", ["weather", "now"]),
        ("none", ["answer"]),
    ],
)
async def test_the_schema_allows_what_the_step_may_do(
    choice: Any, names: list[str], heard: Any
) -> None:
    _, request = await step('{"answer": "x"}', heard, tool_choice=choice)
    branches = request.schema.get("anyOf") or [request.schema]
    found = [b["properties"].get("name", {}).get("const", "answer") for b in branches]
    assert found == names
    assert request.tools == ()


async def test_one_tool_that_must_be_called_is_one_object(heard: Any) -> None:
    _, request = await step(CALL, heard, tools=(WEATHER,), tool_choice="required")
    assert request.schema["properties"]["name"] == {"const": "weather"}
    assert request.schema["properties"]["arguments"]["required"] == ["city"]


async def test_tools_are_told_compactly_after_the_instructions(heard: Any) -> None:
    messages = (SystemMessage("Be brief."), UserMessage("Hi"))
    _, request = await step(CALL, heard, messages=messages)
    system = request.messages[0].text
    assert system.startswith("Be brief.\n\n")
    assert (
        '- weather(city: string (English name), unit?: "C"|"F", days?: integer|null): '
        "Weather of a city." in system
    )
    assert "- now(): The time." in system


async def test_history_is_told_as_the_model_would_have_written_it(heard: Any) -> None:
    messages = (
        UserMessage("Hi"),
        ModelTurn(tool_calls=(ToolCall("c", "weather", '{"city": "Paris"}'),)),
        ToolResult(call_id="c", name="weather", text="rain"),
        ModelTurn(tool_calls=(ToolCall("d", "now", "{}"),)),
        ToolResult(call_id="d", name="now", text="no clock", ok=False),
        ModelTurn(text='It "rains".'),
        UserMessage("And now?"),
    )
    _, request = await step(CALL, heard, messages=messages)
    assert [message.text for message in request.messages[1:]] == [
        "Hi",
        CALL,
        "Result of weather: rain",
        '{"name": "now", "arguments": {}}',
        "Error of now: no clock",
        '{"answer": "It \\"rains\\"."}',
        "And now?",
    ]
    assert all(isinstance(m, UserMessage | ModelTurn) for m in request.messages[1:])


async def test_rewritten_messages_are_the_same_objects_at_every_step(heard: Any) -> None:
    messages = [SystemMessage("s"), UserMessage("Hi"), ModelTurn(text="x"), UserMessage("y")]
    tools = (WEATHER,)
    model = Written(CALL)
    guided = GuidedModel(model)
    seen: list[tuple[Any, ...]] = []
    for _ in range(2):
        await guided.ask(ModelRequest(messages=messages, tools=tools), heard)
        assert model.request is not None
        seen.append(tuple(model.request.messages))
    assert all(one is two for one, two in zip(*seen, strict=True))


async def test_without_tools_the_text_is_plain(heard: Any) -> None:
    messages = (UserMessage("Hi"), ModelTurn(text="Hello"), UserMessage("Bye"))
    turn, request = await step("So long.", heard, tools=(), messages=messages)
    assert turn.text == heard.all("text") == "So long."
    assert request.schema is None
    assert [message.text for message in request.messages] == ["Hi", "Hello", "Bye"]


async def test_a_schema_of_the_caller_is_passed_on(heard: Any) -> None:
    turn, request = await step('{"a": 1}', heard, schema={"type": "object"})
    assert turn.text == heard.all("text") == '{"a": 1}'
    assert request.schema == {"type": "object"}


async def test_an_answer_cut_by_the_limit_keeps_what_was_said(heard: Any) -> None:
    turn, _ = await step('{"answer": "half of', heard, finish="length")
    assert (turn.text, turn.finish, turn.tool_calls) == ("half of", "length", ())


async def test_a_call_cut_by_the_limit_is_no_call(heard: Any) -> None:
    turn, _ = await step('{"name": "weather", "arguments": {"ci', heard, finish="length")
    assert (turn.text, turn.finish, turn.tool_calls) == ("", "length", ())


async def test_a_server_that_ignores_the_schema_still_answers(heard: Any) -> None:
    turn, _ = await step("It rains.", heard)
    assert turn.text == heard.all("text") == "It rains."
    turn, _ = await step(f"```json\n{CALL}\n```", heard)
    assert [call.name for call in turn.tool_calls] == ["weather"]


async def test_json_that_is_no_step_is_a_problem_the_model_can_mend(heard: Any) -> None:
    turn, _ = await step('{"city": "Paris"}', heard)
    assert turn.tool_calls == ()
    assert "not one of the allowed" in turn.problem
