"""Planned runs of a small model: facts, one call each, and an answer held to them."""

import json
from collections.abc import Callable

import pytest

from agentkit import (
    Agent,
    ModelTurn,
    PlanMade,
    ToolError,
    UserMessage,
    tool,
)
from agentkit.messages import PlanExample, PlanStep
from agentkit.protocols import ModelRequest
from agentkit.testing import RecordingTool, ScriptedModel, call, echo

MakeAgent = Callable[..., Agent]


def last_text(request: ModelRequest) -> str:
    message = request.messages[-1]
    return message.text


def plan_of(*calls: tuple[str, str]) -> str:
    listed = [{"tool": tool, "question": question} for tool, question in calls]
    return json.dumps({"answer_from": "tools", "calls": listed})


async def test_a_small_model_plans_facts_gets_each_and_answers_from_them(
    make_agent: MakeAgent,
) -> None:
    tool = RecordingTool("look", results=["12:00"])
    script = [plan_of(("look", "time")), call("look", what="time"), "Noon."]
    with ScriptedModel(script, small=True) as model:
        result = await make_agent(model, tool, echo, plan="auto").run("What time is it?")
    assert (result.text, result.plan) == ("Noon.", (PlanStep("time", "look"),))
    plan, fact, answer = model.requests
    assert plan.schema is not None
    assert ([spec.name for spec in fact.tools], fact.tool_choice) == (["look"], "required")
    assert answer.tools == ()
    assert "time: 12:00" in last_text(answer)


async def test_a_small_model_gets_a_second_try_at_a_fact(make_agent: MakeAgent) -> None:
    tool = RecordingTool("look", results=[ToolError("no such place"), "12:00"])
    script = [plan_of(("look", "time")), call("look", place="x"), call("look", place="y"), "Noon."]
    with ScriptedModel(script, small=True) as model:
        result = await make_agent(model, tool, plan="auto").run("What time is it?")
    assert (result.text, len(tool.calls)) == ("Noon.", 2)
    assert last_text(model.requests[2]).endswith("make a better one:\nno such place")
    assert not any(
        isinstance(m, ModelTurn) for m in model.requests[2].messages
    )  # it would be copied


async def test_a_fact_that_was_not_found_is_named_as_such(make_agent: MakeAgent) -> None:
    tool = RecordingTool("look", results=[ToolError("no such place")])
    found = RecordingTool("find", results=["Rome"])
    plan = plan_of(("look", "time"), ("find", "city"))
    nobody = json.dumps({"answer_from": "nobody"})
    script = [
        plan,
        call("look", n=1),
        call("look", n=2),
        call("look", n=3),
        nobody,
        call("find"),
        "Rome.",
    ]
    with ScriptedModel(script, small=True) as model:
        await make_agent(model, tool, found, plan="auto").run("What time is it, and where?")
    assert "time: not found: no such place\n- city: Rome" in last_text(model.requests[-1])


@pytest.mark.parametrize(("source", "told"), [("memory", "one or two"), ("nobody", "do not know")])
async def test_a_small_model_is_not_made_to_call_what_no_tool_can_tell(
    make_agent: MakeAgent, source: str, told: str
) -> None:
    with ScriptedModel([json.dumps({"answer_from": source}), "Paris."], small=True) as model:
        result = await make_agent(model, echo, plan="auto").run("What is the capital of France?")
    assert (result.stop, result.calls) == ("done", 0)
    assert told in last_text(model.requests[-1])


async def test_a_number_that_the_plan_had_nobody_compute_is_computed_by_a_tool(
    make_agent: MakeAgent,
) -> None:
    page = RecordingTool("page", results=["47.80"])
    code = RecordingTool("code", results=["573.60"])
    script = [
        plan_of(("page", "price")), call("page"), "They cost 573.59.",
        plan_of(("code", "12 times 47.80")), call("code"), "They cost 573.60.",
    ]  # fmt: skip
    with ScriptedModel(script, small=True) as model:
        result = await make_agent(model, page, code, plan="auto").run("What do 12 cost?")
    assert (result.text, result.calls) == ("They cost 573.60.", 2)
    assert [step.tool for step in result.plan] == ["page", "code"]
    assert "573.59" in last_text(model.requests[3])


async def test_the_same_call_is_not_made_again_for_a_fact(make_agent: MakeAgent) -> None:
    tool = RecordingTool("look", results=[ToolError("no such place")])
    script = [plan_of(("look", "time")), call("look", n=1), call("look", n=1), "Not found."]
    with ScriptedModel(script, small=True) as model:
        result = await make_agent(model, tool, plan="auto").run("What time is it?")
    assert (result.stop, len(tool.calls)) == ("done", 1)


@pytest.mark.parametrize(
    ("found", "wrong", "right", "complaint"),
    [
        ("09:09:50", "It is 10:09:50.", "It is 09:09:50.", "No result says 10:09:50."),
        ("olleh", "It is 'ollhe'.", "It is 'olleh'.", "The answer lacks this result: olleh."),
    ],
    ids=["a figure that no result has", "a short result left out"],
)
async def test_an_answer_that_copies_wrong_is_asked_for_again(
    make_agent: MakeAgent, found: str, wrong: str, right: str, complaint: str
) -> None:
    tool = RecordingTool("look", results=[found])
    with ScriptedModel([plan_of(("look", "it")), call("look"), wrong, right], small=True) as model:
        result = await make_agent(model, tool, plan="auto").run("What is it?")
    assert result.text == right
    assert last_text(model.requests[-1]).startswith(complaint)


async def test_results_themselves_are_the_answer_where_the_model_keeps_inventing(
    make_agent: MakeAgent,
) -> None:
    tool = RecordingTool("look", results=["09:09:50"])
    script = [plan_of(("look", "time")), call("look"), "It is 10:09:50.", "No, 11:09:50."]
    with ScriptedModel(script, small=True) as model:
        result = await make_agent(model, tool, plan="auto").run("What time is it?")
    assert result.text == "time: 09:09:50"
    last = result.transcript[-1]
    assert isinstance(last, ModelTurn)
    assert last.text == result.text


async def test_where_nothing_was_found_the_answer_may_not_guess(make_agent: MakeAgent) -> None:
    tool = RecordingTool("look", results=[ToolError("no such place")])
    script = [
        plan_of(("look", "time")),
        call("look", n=1),
        call("look", n=2),
        call("look", n=3),
        "12:00",
        "12:01",
    ]
    with ScriptedModel(script, small=True) as model:
        result = await make_agent(model, tool, plan="auto").run("What time is it?")
    assert "could not find this out" in last_text(model.requests[-2])
    assert result.text == "time: not found"


async def test_a_fact_whose_tool_fails_is_planned_again_with_another(
    make_agent: MakeAgent,
) -> None:
    broken = RecordingTool("code", results=[ToolError("no such module")])
    tool = RecordingTool("look", results=["+05:30"])
    script = [
        plan_of(("code", "offset")), call("code", n=1), call("code", n=2), call("code", n=3),
        plan_of(("look", "offset of Kolkata")), call("look"), "It is +05:30.",
    ]  # fmt: skip
    with ScriptedModel(script, small=True) as model:
        async with make_agent(model, broken, tool, plan="auto").start("Offset?") as run:
            plans = [event async for event in run if isinstance(event, PlanMade)]
        result = await run.result()
    assert result.text == "It is +05:30."
    assert [plan.revision for plan in plans] == [0, 1]
    assert result.plan == (PlanStep("offset of Kolkata", "look"),)
    asked = last_text(model.requests[4])
    assert "no such module" in asked
    schema = json.dumps(model.requests[4].schema)
    assert '"look"' in schema
    assert '"code"' not in schema


async def test_a_fact_that_no_other_tool_has_is_named_as_not_found(make_agent: MakeAgent) -> None:
    broken = RecordingTool("code", results=[ToolError("no such module")])
    nobody = json.dumps({"answer_from": "nobody"})
    script = [
        plan_of(("code", "x")),
        call("code", n=1),
        call("code", n=2),
        call("code", n=3),
        nobody,
        "Not found.",
    ]
    with ScriptedModel(script, small=True) as model:
        result = await make_agent(model, broken, echo, plan="auto").run("x?")
    assert (result.text, result.plan) == ("Not found.", (PlanStep("x", "code"),))


async def test_a_planner_is_shown_the_examples_whose_tools_are_there(make_agent: MakeAgent) -> None:
    def example(task: str, *tools: str) -> PlanExample:
        return PlanExample(task, tuple(PlanStep(f"need of {task}", name) for name in tools))

    @tool(examples=[example("One?", "look"), example("Two?", "look", "gone")])
    def look() -> str:
        """Look."""
        return "12:00"

    script = [plan_of(("look", "time")), call("look"), "12:00"]
    with ScriptedModel(script, small=True) as model:
        await make_agent(model, look, plan="auto").run("What time is it?")
    shown = [m.text for m in model.requests[0].messages if isinstance(m, UserMessage)]
    assert "One?" in shown
    assert "Two?" not in shown
    assert "Who wrote Hamlet?" in shown


async def test_a_task_that_names_an_address_must_be_looked_up(make_agent: MakeAgent) -> None:
    tool = RecordingTool("read", results=["47.80"])
    script = [plan_of(("read", "price")), call("read"), "47.80"]
    with ScriptedModel(script, small=True) as model:
        await make_agent(model, tool, plan="auto").run(
            "What is the price on http://shop.example/k?"
        )
    schema = model.requests[0].schema
    assert schema is not None
    assert schema["properties"]["answer_from"] == {"const": "tools"}


async def test_facts_known_already_are_told_for_the_next_call(make_agent: MakeAgent) -> None:
    tool = RecordingTool("look", results=["47.80", "573.60"])
    script = [plan_of(("look", "price"), ("look", "12 times")), call("look"), call("look", n=12)]
    with ScriptedModel([*script, "573.60"], small=True) as model:
        await make_agent(model, tool, plan="auto").run("What do 12 kettles cost?")
    assert "price: 47.80" in last_text(model.requests[2])


async def test_a_tool_that_takes_no_address_is_told_none_of_a_page_that_was_read(
    make_agent: MakeAgent,
) -> None:
    address = "http://shop.example/k"

    @tool
    async def page(url: str) -> str:
        """Read a page."""
        return f"{url}: 47.80"

    plan = plan_of(("page", f"price on {address}"), ("code", "12 times the price"))
    script = [plan, call("page", url=address), call("code"), "573.60"]
    code = RecordingTool("code", results=["573.60"])
    with ScriptedModel(script, small=True) as model:
        await make_agent(model, page, code, plan="auto").run(f"What do 12 cost? See {address}")
    assert address in last_text(model.requests[1])
    assert address not in last_text(model.requests[2])
    assert "price on that page: that page: 47.80" in last_text(model.requests[2])


async def test_a_planned_conversation_knows_what_was_said_before(make_agent: MakeAgent) -> None:
    script = [json.dumps({"answer_from": "memory"}), "Hello, Ada."] * 2
    with ScriptedModel(script, small=True) as model:
        talk = make_agent(model, echo, plan="auto").conversation()
        await talk.run("I am Ada.")
        await talk.run("Who am I?")
    assert "User: I am Ada." in last_text(model.requests[2])
    assert "User: I am Ada." in last_text(model.requests[3])


@pytest.mark.parametrize(
    "plan",
    [
        "no json",
        "[]",
        '{"answer_from": "heaven"}',
        '{"answer_from": "tools", "calls": []}',
        '{"answer_from": "tools", "calls": [{"tool": "nope", "question": "x"}]}',
    ],
)
async def test_a_small_model_whose_plan_cannot_be_read_goes_on_without(
    make_agent: MakeAgent, plan: str
) -> None:
    with ScriptedModel([plan, "Noon."], small=True) as model:
        result = await make_agent(model, echo, plan="auto").run("What time is it?")
    assert (result.text, result.plan) == ("Noon.", ())
