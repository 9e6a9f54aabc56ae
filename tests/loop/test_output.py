"""Answers that have to be of a type."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, Field

from agentkit import Agent
from agentkit.errors import ConfigurationError, InvalidOutputError
from agentkit.messages import SystemMessage
from agentkit.testing import ScriptedModel, call, echo

MakeAgent = Callable[..., Agent]


class City(BaseModel):
    name: str
    people: int = Field(gt=0)
    founded: date | None = None


PARIS = '{"name": "Paris", "people": 2100000, "founded": null}'


async def test_an_answer_is_checked_and_comes_as_a_value(make_agent: MakeAgent) -> None:
    with ScriptedModel([PARIS]) as model:
        result = await make_agent(model).run("Which city?", output_type=City)
    assert result.output == City(name="Paris", people=2_100_000)
    assert (result.stop, result.text) == ("done", PARIS)
    (request,) = model.requests
    assert request.schema is not None
    assert request.thinking is False
    assert '"people"' in request.messages[-1].text


async def test_with_tools_the_answer_comes_after_them(make_agent: MakeAgent) -> None:
    with ScriptedModel([call("echo", text="Paris"), "It is Paris.", PARIS]) as model:
        result = await make_agent(model, echo).run("Which city?", output_type=City)
    assert result.output == City(name="Paris", people=2_100_000)
    assert [request.schema is not None for request in model.requests] == [False, False, True]
    assert model.requests[-1].tool_choice == "none"
    assert model.requests[-1].tools == model.requests[0].tools  # for the sake of the prefix


@pytest.mark.parametrize("text", [PARIS, f"```json\n{PARIS}\n```"])
async def test_an_answer_that_fits_is_not_asked_for_again(make_agent: MakeAgent, text: str) -> None:
    with ScriptedModel([call("echo", text="Paris"), text]) as model:
        result = await make_agent(model, echo).run("Which city?", output_type=City)
    assert result.output == City(name="Paris", people=2_100_000)
    assert result.text == PARIS


async def test_what_is_wrong_goes_back_to_the_model(make_agent: MakeAgent) -> None:
    wrong = '{"name": "Paris", "people": -1}'
    with ScriptedModel([wrong, "no JSON", PARIS]) as model:
        result = await make_agent(model).run("Which city?", output_type=City)
    assert result.output == City(name="Paris", people=2_100_000)
    _, second, third = model.requests
    assert "people: Input should be greater than 0" in second.messages[-1].text
    assert wrong in second.messages[-1].text
    assert "Your JSON does not fit: Expecting value" in third.messages[-1].text
    assert not any(isinstance(entry, SystemMessage) for entry in result.transcript)


async def test_mending_is_bounded_and_the_error_tells_all(make_agent: MakeAgent) -> None:
    with ScriptedModel(['{"name": "Paris"}'] * 4) as model:
        result = await make_agent(model).run("Which city?", output_type=City)
    assert result.output is None
    assert isinstance(result.error, InvalidOutputError)
    assert result.error.output == '{"name": "Paris"}'
    assert "people: Field required" in result.error.problem
    assert result.error.run_id == result.run_id


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (list[int], '{"value": [1, 2]}', [1, 2]),
        (list[int], "[1, 2]", [1, 2]),
        (int, '{"value": 4}', 4),
        (str, '{"value": "x"}', "x"),
        (list[City], f'{{"value": [{PARIS}]}}', [City(name="Paris", people=2_100_000)]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
    ],
)
async def test_any_type_that_has_a_schema_will_do(
    make_agent: MakeAgent, kind: Any, text: str, value: Any
) -> None:
    with ScriptedModel([text]) as model:
        result = await make_agent(model).run("Go", output_type=kind)
    assert result.output == value
    (request,) = model.requests
    assert request.schema is not None
    assert request.schema["type"] == "object"


async def test_a_type_without_a_schema_is_refused(make_agent: MakeAgent) -> None:
    with pytest.raises(ConfigurationError, match="has no JSON schema"):
        await make_agent(ScriptedModel([])).run("Go", output_type=Callable[[], int])  # type: ignore[arg-type]


async def test_a_conversation_takes_types_too(make_agent: MakeAgent) -> None:
    with ScriptedModel([PARIS, "Yes."]) as model:
        conversation = make_agent(model).conversation()
        assert (await conversation.run("Which city?", output_type=City)).output is not None
        await conversation.run("Really?")
    assert [entry.text for entry in model.requests[-1].messages] == [
        "Which city?",
        PARIS,
        "Really?",
    ]
