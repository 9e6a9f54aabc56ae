"""A run that goes in circles: a hint, then the tool is withheld, then a last answer is asked for."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agentkit import Agent, Limits, Policy, Result
from agentkit.messages import SystemMessage, ToolCall, ToolResult
from agentkit.testing import RecordingTool, ScriptedModel, call, echo

MakeAgent = Callable[..., Agent]

A, B, C = (call("echo", text=text) for text in "abc")


def told(result: Result) -> list[str]:
    """Return what the run has told the model of its circles, by its first words."""
    words = ("The same call", "You go in circles")
    said = [m.text for m in result.transcript if isinstance(m, SystemMessage)]
    return [text[:13] for text in said if text.startswith(words)]


async def run(make_agent: MakeAgent, turns: Sequence[Any], *tools: Any, **limits: Any) -> Result:
    with ScriptedModel(turns) as model:
        agent = make_agent(model, *(tools or (echo,)), policy=Policy(limits=Limits(**limits)))
        return await agent.run("Go")


async def test_the_same_call_is_hinted_at_withheld_and_ended(make_agent: MakeAgent) -> None:
    tool = RecordingTool("echo", results=["same"])
    result = await run(make_agent, [A, A, A, A, "Stuck."], tool)
    assert (result.stop, result.text, len(tool.calls)) == ("loop", "Stuck.", 3)
    assert told(result) == ["The same call", "You go in cir"]
    refused = [m for m in result.transcript if isinstance(m, ToolResult) and not m.ok]
    assert "echo has given the same again and again, and is withheld" in refused[0].text


async def test_a_model_that_heeds_the_hint_goes_on(make_agent: MakeAgent) -> None:
    result = await run(make_agent, [A, A, "There."])
    assert (result.stop, result.text) == ("done", "There.")


async def test_other_arguments_of_a_withheld_tool_are_withheld_too(make_agent: MakeAgent) -> None:
    result = await run(make_agent, [A, A, A, B, "Stuck."])
    assert (result.stop, result.calls) == ("loop", 3)


async def test_another_tool_gives_the_withheld_one_back(make_agent: MakeAgent) -> None:
    other = RecordingTool("other")
    turns = [A, A, A, call("other"), B, "There."]
    result = await run(make_agent, turns, echo, other)
    assert (result.stop, result.calls) == ("done", 5)


async def test_a_withheld_call_beside_another_does_not_end_the_run(make_agent: MakeAgent) -> None:
    other = RecordingTool("other")
    turns = [A, A, A, [B, call("other")], "There."]
    result = await run(make_agent, turns, echo, other)
    assert (result.stop, result.calls, len(other.calls)) == ("done", 4, 1)


@pytest.mark.parametrize("circle", [[A, B], [A, B, C], [[A, B], C]])
async def test_ping_pong_is_a_circle_too(make_agent: MakeAgent, circle: list[Any]) -> None:
    other = RecordingTool("other", results=["pong"])
    turns = [*circle * 3, circle[0], "Stuck."]
    result = await run(make_agent, turns, echo, other)
    assert (result.stop, result.text) == ("loop", "Stuck.")
    assert told(result) == ["The same call", "You go in cir"]


async def test_work_between_equal_checks_is_no_circle(make_agent: MakeAgent) -> None:
    check = RecordingTool("check", results=["1 failed"])
    edits = [call("echo", text=str(number)) for number in range(6)]
    turns = [turn for edit in edits for turn in (edit, call("check"))]
    result = await run(make_agent, [*turns, "Gave up."], echo, check)
    assert (result.stop, len(check.calls)) == ("done", 6)


async def test_spelling_arguments_in_another_way_is_the_same_call(make_agent: MakeAgent) -> None:
    spelled = ['{"a": 1, "b": 2}', '{"b":2,"a":1}', '{ "a":1,"b":2 }', '{"b": 2,  "a": 1}']
    turns = [ToolCall(f"call_{n}", "tool", text) for n, text in enumerate(spelled)]
    result = await run(make_agent, [*turns, "Stuck."], RecordingTool("tool", results=["same"]))
    assert result.stop == "loop"


async def test_a_clock_that_is_asked_for_ever_is_a_circle_in_the_end(make_agent: MakeAgent) -> None:
    clock = RecordingTool("clock", results=[f"12:{minute:02}" for minute in range(30)])
    turns = [*[call("clock")] * 10, "Stuck."]
    result = await run(make_agent, turns, clock)
    assert (result.stop, len(clock.calls)) == ("loop", 9)


async def test_waiting_for_something_to_change_is_no_circle(make_agent: MakeAgent) -> None:
    status = RecordingTool("status", results=["10 %", "40 %", "70 %", "done"])
    result = await run(make_agent, [*[call("status")] * 4, "Done."], status)
    assert result.stop == "done"
    assert told(result) == []


async def test_how_often_a_circle_may_go_round_is_a_limit(make_agent: MakeAgent) -> None:
    result = await run(make_agent, [*[A] * 6, "Stuck."], repeats=5)
    assert (result.stop, result.calls) == ("loop", 5)
    result = await run(make_agent, [A, A, A, "Stuck."], repeats=2)
    assert (result.stop, result.calls) == ("loop", 2)
