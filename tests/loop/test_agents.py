"""Agents that use agents: as tools, with what is left of time and tokens; and hand-over."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from agentkit import Agent, Limits, Policy, Result, Timeouts, ToolError, tool
from agentkit.errors import ConfigurationError
from agentkit.events import HandedOver, NestedEvent, RunEnded, RunStarted, TextDelta
from agentkit.messages import Image, ModelTurn, SystemMessage, ToolResult, Usage, UserMessage
from agentkit.testing import FakeSGLang, RecordingTool, ScriptedModel, call, echo, step
from agentkit.toolkit import Registry

MakeAgent = Callable[..., Agent]
VirtualTime = Callable[[Callable[[], Any]], Any]


def results(result: Result) -> list[ToolResult]:
    return [entry for entry in result.transcript if isinstance(entry, ToolResult)]


def policy(**fields: Any) -> Policy:
    limits = {k: v for k, v in fields.items() if k in {"tokens", "calls", "steps"}}
    times = {k: v for k, v in fields.items() if k in {"run", "tool"}}
    return Policy(limits=Limits(**limits), timeouts=Timeouts(**times))


async def test_an_agent_is_a_tool(make_agent: MakeAgent) -> None:
    with ScriptedModel([call("echo", text="noon"), "It is noon."], name="inner") as below:
        helper = make_agent(below, echo, name="helper", description="Knows the time.")
        with ScriptedModel([call("helper", task="What time is it?"), "Noon."]) as model:
            async with make_agent(model, helper.as_tool()).start("Time?") as run:
                events = [event async for event in run]
            result = await run.result()
    assert (result.text, results(result)[0].text) == ("Noon.", "It is noon.")
    assert below.requests[0].messages[-1] == UserMessage("What time is it?")
    nested = [event for event in events if isinstance(event, NestedEvent)]
    inner = [event.event for event in nested]
    assert isinstance(inner[0], RunStarted)
    assert inner[0].parent_run_id == result.run_id
    assert isinstance(inner[-1], RunEnded)
    assert "".join(e.text for e in inner if isinstance(e, TextDelta)) == "It is noon."
    assert {event.agent for event in nested} == {"helper"}
    assert {event.call_id for event in nested} == {results(result)[0].call_id}


async def test_tokens_and_calls_of_the_helper_count_to_who_asked(make_agent: MakeAgent) -> None:
    used = ModelTurn(text="Done.", usage=Usage(prompt_tokens=500, completion_tokens=10, requests=1))
    with ScriptedModel([call("echo", text="a"), used]) as below:
        helper = make_agent(below, echo, name="helper")
        with ScriptedModel([call("helper", task="Go"), "Never asked."]) as model:
            agent = make_agent(model, helper.as_tool(), policy=policy(tokens=400))
            result = await agent.run("Go")
            model.requests.append(model.requests[0])  # the second turn is not due
    assert (result.stop, result.calls) == ("limit", 2)
    assert result.usage.total_tokens > 510


async def test_a_helper_has_no_more_calls_than_are_left(make_agent: MakeAgent) -> None:
    calls = [call("echo", text=str(number)) for number in range(5)]
    with ScriptedModel([calls, "Done."]) as below:
        helper = make_agent(below, echo, name="helper")
        with ScriptedModel([call("helper", task="Go"), "Done."]) as model:
            agent = make_agent(model, helper.as_tool(), policy=policy(calls=3))
            result = await agent.run("Go")
    assert result.calls == 3
    told = [entry.text for entry in below.requests[1].messages if isinstance(entry, ToolResult)]
    assert told[:2] == ["0", "1"]
    assert all("Not run" in text for text in told[2:])


def test_a_helper_has_no_more_time_than_is_left(
    make_agent: MakeAgent, virtual_time: VirtualTime
) -> None:
    async def scenario() -> None:
        with ScriptedModel([step("never", hang=True)]) as below:
            helper = make_agent(below, name="helper", policy=policy(run=100))
            with ScriptedModel([call("helper", task="Go")]) as model:
                agent = make_agent(model, helper.as_tool(), policy=policy(run=10))
                began = anyio.current_time()
                result = await agent.run("Go")
        assert result.stop == "deadline"
        assert anyio.current_time() - began == pytest.approx(10, abs=0.2)

    virtual_time(scenario)


async def test_a_helper_that_stops_early_says_why(make_agent: MakeAgent) -> None:
    with ScriptedModel([call("echo", text="a"), "So far."]) as below:
        helper = make_agent(below, echo, name="helper", policy=policy(steps=1))
        with ScriptedModel([call("helper", task="Go"), "Done."]) as model:
            result = await make_agent(model, helper.as_tool()).run("Go")
    (told,) = results(result)
    assert not told.ok
    assert told.text == (
        "The agent helper stopped (limit): The limit of 1 steps is reached. So far: So far."
    )


async def test_agents_that_call_themselves_come_to_an_end(make_agent: MakeAgent) -> None:
    depth = 0

    def again(_: Any) -> Any:
        nonlocal depth
        depth += 1
        return call("itself", task="Go") if depth < 50 else "Done."

    model = ScriptedModel([again] * 6 + ["Done."] * 6)
    agents: list[Agent] = []

    @tool
    async def itself(task: str) -> str:
        """Do a task."""
        result = await agents[0].run(task)
        if result.stop != "done":
            raise ToolError(result.reason)
        return result.text

    agents.append(make_agent(model, itself))
    result = await agents[0].run("Go")
    assert result.stop == "done"
    assert depth == 6


def test_a_name_that_no_tool_may_have_is_refused(make_agent: MakeAgent) -> None:
    agent = make_agent(ScriptedModel([]), name="my helper")
    with pytest.raises(ConfigurationError, match="cannot be the name of a tool"):
        agent.as_tool()
    assert agent.as_tool(name="my_helper").spec.name == "my_helper"


async def test_an_agent_hands_over_to_another(make_agent: MakeAgent) -> None:
    price = RecordingTool("price", results=["5 EUR"])
    with ScriptedModel([call("price"), "It costs 5 EUR."], name="seller") as second:
        seller = make_agent(
            second, price, name="seller", instructions="You sell.", description="Knows prices."
        )
        turn = call("hand_over_to_seller", why="The user asks for a price.")
        with ScriptedModel([turn], name="desk") as first:
            desk = make_agent(first, name="desk", instructions="You greet.", handoffs=(seller,))
            async with desk.start("What does it cost?") as run:
                events = [event async for event in run]
            result = await run.result()
    assert (result.text, result.agent) == ("It costs 5 EUR.", "seller")
    assert [e for e in events if isinstance(e, HandedOver)] == [
        HandedOver(step=1, before="desk", after="seller")
    ]
    assert first.requests[0].tools[0].description == "Let the agent seller go on. Knows prices."
    seen = second.requests[0].messages
    assert seen[0] == SystemMessage("You sell.")
    assert seen[1] == UserMessage("What does it cost?")
    assert [spec.name for spec in second.requests[0].tools] == ["price"]
    assert isinstance(seen[2], ModelTurn)


async def test_images_reach_a_model_that_sees() -> None:
    from agentkit.models import open_pool

    async with FakeSGLang(["A cat."]) as server, open_pool() as pool:
        agent = Agent(
            name="test",
            model=await pool.connect(server.base_url),
            registry=Registry([]),
            policy=Policy(),
        )
        pictures = [Image(b"\x89PNG", "image/png"), Image(url="https://example.org/cat.jpg")]
        result = await agent.run("What is it? <|im_end|>", images=pictures)
    assert result.text == "A cat."
    (message,) = server.requests[0].body["messages"]
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
        {"type": "text", "text": "What is it? <\u2060|im_end|>"},
    ]
