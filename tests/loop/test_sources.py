"""Tools that come and go, many tools behind a search, and how far a call is."""

from collections.abc import Callable, Sequence
from typing import Any

from agentkit import Agent, SystemMessage, ToolResult
from agentkit.events import CallProgressed, Event
from agentkit.protocols import Tool, current_call
from agentkit.testing import ScriptedModel, call
from agentkit.toolkit import FunctionTool, tool

Make = Callable[..., Agent]


class Shelf:
    """A source whose tools a test changes."""

    def __init__(self, *tools: Tool, missing: str = "") -> None:
        self.version = 0
        self.tools: Sequence[Tool] = tools
        self.missing = missing

    def change(self, *tools: Tool, missing: str = "") -> None:
        """Offer something else from now on."""
        self.tools, self.missing = tools, missing
        self.version += 1


def made(name: str, description: str = "Do something.") -> Tool:
    def work(text: str = "") -> str:
        return f"{name} did {text}"

    return FunctionTool(work, name=name, description=description)


def offered(model: ScriptedModel, number: int) -> list[str]:
    return [spec.name for spec in model.requests[number].tools]


def results(transcript: Sequence[object]) -> list[str]:
    return [entry.text for entry in transcript if isinstance(entry, ToolResult)]


async def test_a_run_has_the_tools_that_are_there_when_it_begins(make_agent: Make) -> None:
    source = Shelf(made("early"), missing="- The tools of 'db' are not there.")
    with ScriptedModel(["one", call("late", text="x"), "two", "three"]) as model:
        agent = make_agent(model, made("own"), source=source, instructions="Be brief.")
        await agent.run("Go")
        assert offered(model, 0) == ["own", "early"]
        first = model.requests[0].messages[0]
        assert isinstance(first, SystemMessage)
        assert first.text.startswith("Be brief.\n\nSome tools cannot be used at the moment")
        assert first.text.endswith("\n- The tools of 'db' are not there.")
        source.change(made("early"), made("late"))
        result = await agent.run("Go on")
        assert results(result.transcript) == ["late did x"]
        assert offered(model, 1) == ["own", "early", "late"]
        assert model.requests[1].messages[0] == SystemMessage("Be brief.")
        await agent.run("And again")
        assert model.requests[3].tools[1] is model.requests[1].tools[1]


async def test_a_tool_of_the_agent_wins_over_one_of_the_source(make_agent: Make) -> None:
    with ScriptedModel(["done"]) as model:
        agent = make_agent(model, made("same", "Mine."), source=Shelf(made("same", "Theirs.")))
        await agent.run("Go")
    (spec,) = model.requests[0].tools
    assert spec.description == "Mine."


def many() -> list[Tool]:
    filler = [
        made(f"tool_{number}", "Arrange the numbers of a list. " * 10) for number in range(60)
    ]
    return [*filler, made("get_forecast", "Tell the weather of a city in the coming days.")]


async def test_many_tools_wait_behind_a_search_and_what_is_found_can_be_called(
    make_agent: Make,
) -> None:
    script = [
        call("search_tools", query="weather in Paris"),
        call("get_forecast", text="Paris"),
        "Rain.",
        "Still rain.",
    ]
    with ScriptedModel(script, context_tokens=8_192) as model:
        agent = make_agent(model, made("own"), source=Shelf(*many()))
        result = await agent.run("Will it rain?")
        assert offered(model, 0) == ["own", "search_tools"]
        assert "61 more" in model.requests[0].tools[1].description
        assert offered(model, 1) == ["own", "search_tools", "get_forecast"]
        found, forecast = results(result.transcript)
        assert found.startswith("These can be called now:\n- get_forecast: Tell the weather")
        assert forecast == "get_forecast did Paris"
        await agent.run("And tomorrow?", history=result.transcript)
        assert offered(model, 3) == ["own", "search_tools", "get_forecast"]


async def test_a_deferred_tool_that_is_called_without_a_search_runs(make_agent: Make) -> None:
    script = [call("tool_7", text="a"), call("tool_99"), call("search_tools", query="zzz"), "done"]
    with ScriptedModel(script, context_tokens=8_192) as model:
        agent = make_agent(model, source=Shelf(*many()))
        result = await agent.run("Go")
    ran, unknown, nothing = results(result.transcript)
    assert ran == "tool_7 did a"
    assert "Known tools: others, which search_tools finds." in unknown
    assert nothing.startswith("Nothing fits 'zzz'. There are: tool_0, ")
    assert offered(model, 1) == ["search_tools", "tool_7"]


async def test_few_tools_are_shown_at_once(make_agent: Make) -> None:
    with ScriptedModel(["done"], context_tokens=32_768) as model:
        await make_agent(model, source=Shelf(*many()[-3:])).run("Go")
    assert offered(model, 0) == ["tool_58", "tool_59", "get_forecast"]


async def test_a_tool_says_how_far_it_is_as_an_event(make_agent: Make) -> None:
    seen: list[Event] = []

    class Watching:
        def observe(self, run_id: str, event: Event) -> None:
            seen.append(event)

    @tool
    def count() -> str:
        """Count."""
        context: Any = current_call()
        context.report(1.0, 2.0, "half")
        return "counted"

    with ScriptedModel([call("count"), "done"]) as model:
        await make_agent(model, count, observers=(Watching(),)).run("Go")
    (told,) = [event for event in seen if isinstance(event, CallProgressed)]
    assert (told.name, told.done, told.total, told.text) == ("count", 1.0, 2.0, "half")
