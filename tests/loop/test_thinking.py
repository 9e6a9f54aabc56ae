"""Whether the model thinks, phase by phase."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent
from agentkit.testing import RecordingTool, ScriptedModel, call, echo

MakeAgent = Callable[..., Agent]

OUTLINE = json.dumps({"steps": [{"need": "the echo", "tool": "echo"}]})
FACTS = json.dumps({"answer_from": "tools", "calls": [{"question": "time", "tool": "look"}]})
VERDICT = json.dumps({"complete": True, "missing": ""})

OUTLINED = [
    ("auto", ["auto", "auto", "auto", False]),
    (True, [True, True, True, True]),
    ({"plan": True, "act": False}, [True, False, False, False]),
    ({"check": True}, ["auto", "auto", "auto", True]),
]


@pytest.mark.parametrize(("given", "thinks"), OUTLINED)
async def test_each_phase_of_a_planned_run_thinks_as_it_was_told(
    make_agent: MakeAgent, given: Any, thinks: list[Any]
) -> None:
    with ScriptedModel([OUTLINE, call("echo", text="a"), "It says a.", VERDICT]) as model:
        await make_agent(model, echo, plan=True).run("Go", thinking=given)
    assert [request.thinking for request in model.requests] == thinks


@pytest.mark.parametrize(
    ("given", "thinks"),
    [
        ("auto", [False, False, False]),  # small, and in a hurry
        (True, [True, True, True]),
        ({"answer": True}, [False, False, True]),
    ],
)
async def test_a_small_model_thinks_where_it_is_told_to(
    make_agent: MakeAgent, given: Any, thinks: list[Any]
) -> None:
    with ScriptedModel([FACTS, call("look"), "It is 12:00."], small=True) as model:
        look = RecordingTool("look", results=["12:00"])
        await make_agent(model, look, plan=True, thinking=given).run("Go")
    assert [request.thinking for request in model.requests] == thinks
