"""What there is of a run that ends before its answer does."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, ModelTurn, Policy, Result, TextDelta, Timeouts
from agentkit.testing import RecordingTool, ScriptedModel, call, echo, step

MakeAgent = Callable[..., Agent]
VirtualTime = Callable[[Callable[[], Any]], Any]

IN_TEN_SECONDS = Policy(timeouts=Timeouts(run=10))
LATE = step("It is noon.", partial="It is", hang=True)


def test_a_deadline_keeps_what_the_model_had_said_of_its_answer(
    make_agent: MakeAgent, virtual_time: VirtualTime
) -> None:
    async def scenario() -> Result:
        with ScriptedModel([call("echo", text="a"), LATE]) as model:
            return await make_agent(model, echo, policy=IN_TEN_SECONDS).run("Go")

    result: Result = virtual_time(scenario)
    assert (result.stop, result.text) == ("deadline", "It is")
    assert result.transcript[-1] == ModelTurn(text="It is", finish="abort")


async def test_cancelling_keeps_what_the_model_had_said_of_its_answer(
    make_agent: MakeAgent,
) -> None:
    with ScriptedModel([LATE]) as model:
        async with make_agent(model, echo).start("Go") as run:
            async for event in run:
                if isinstance(event, TextDelta) and event.text.endswith("is"):
                    run.cancel()
    result = await run.result()
    assert (result.stop, result.text) == ("cancelled", "It is")


@pytest.mark.parametrize("late", [step("{}", hang=True), LATE], ids=["in a plan", "in the answer"])
def test_a_deadline_keeps_the_facts_that_a_small_model_has_found(
    make_agent: MakeAgent, virtual_time: VirtualTime, late: Any
) -> None:
    places = ["Tokyo"] if late is LATE else ["Tokyo", "Rome"]
    calls = [{"question": f"time in {place}", "tool": "look"} for place in places]
    plan = {"answer_from": "tools", "calls": calls}

    async def scenario() -> Result:
        script = [json.dumps(plan), call("look"), late]
        with ScriptedModel(script, small=True) as model:
            look = RecordingTool("look", results=["12:00"])
            agent = make_agent(model, look, plan=True, policy=IN_TEN_SECONDS)
            return await agent.run("Go")

    result: Result = virtual_time(scenario)
    assert (result.stop, result.text) == ("deadline", "- time in Tokyo: 12:00")
