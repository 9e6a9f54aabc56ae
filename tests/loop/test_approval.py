"""Calls that a person is asked about: a yes, a no, nobody there, and going on later elsewhere."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from agentkit import Agent, Result, tool
from agentkit.errors import InvalidTaskError
from agentkit.events import ApprovalAsked, ApprovalGiven, CallStarted
from agentkit.loop import PausedRun
from agentkit.messages import ApprovalRequest, Decision, JsonObject, ModelTurn, ToolResult
from agentkit.testing import RecordingTool, ScriptedModel, call, echo
from agentkit.toolkit import ask_first
from agentkit_tools.code_interpreter import CodeInterpreter

MakeAgent = Callable[..., Agent]


def results(result: Result) -> list[tuple[str, str]]:
    return [(e.name, e.text) for e in result.transcript if isinstance(e, ToolResult)]


class Shop:
    """A tool that wants approval for more than ten, and what was paid by it."""

    def __init__(self, approval: Any = "always") -> None:
        self.paid: list[int] = []

        @tool(approval=approval)
        async def pay(amount: int) -> str:
            """Pay."""
            self.paid.append(amount)
            return f"paid {amount}"

        self.pay = pay


async def test_who_is_asked_says_yes(make_agent: MakeAgent) -> None:
    shop, asked = Shop(), list[ApprovalRequest]()

    async def approve(request: ApprovalRequest) -> Decision:
        asked.append(request)
        return True

    with ScriptedModel([call("pay", amount=5), "Paid."]) as model:
        agent = make_agent(model, shop.pay, approver=approve)
        async with agent.start("Pay 5") as run:
            events = [event async for event in run]
        result = await run.result()
    assert (result.text, shop.paid) == ("Paid.", [5])
    assert [(one.name, one.arguments, one.run_id) for one in asked] == [
        ("pay", {"amount": 5}, result.run_id)
    ]
    told = [type(e) for e in events if isinstance(e, ApprovalAsked | ApprovalGiven | CallStarted)]
    assert told == [ApprovalAsked, ApprovalGiven, CallStarted]


@pytest.mark.parametrize(
    ("decision", "read"),
    [
        (False, "Not run: the person you work for has refused this call."),
        ("Too much.", "Not run: the person you work for has refused this call: Too much."),
    ],
)
async def test_a_no_is_something_the_model_reads(
    make_agent: MakeAgent, decision: Decision, read: str
) -> None:
    shop = Shop()

    async def approve(request: ApprovalRequest) -> Decision:
        del request
        return decision

    with ScriptedModel([call("pay", amount=5), "Not paid."]) as model:
        result = await make_agent(model, shop.pay, approver=approve).run("Pay 5")
    assert (result.text, shop.paid) == ("Not paid.", [])
    assert results(result) == [("pay", read)]


async def test_a_rule_decides_by_the_arguments(make_agent: MakeAgent) -> None:
    def more_than_ten(arguments: JsonObject) -> bool:
        return arguments["amount"] > 10

    shop = Shop(more_than_ten)
    with ScriptedModel([call("pay", amount=5), call("pay", amount=50)]) as model:
        result = await make_agent(model, shop.pay).run("Pay")
    assert (result.stop, shop.paid) == ("approval", [5])


async def test_any_tool_can_be_given_a_rule_one_with_state_too(make_agent: MakeAgent) -> None:
    asked: list[str] = []

    async def approve(request: ApprovalRequest) -> Decision:
        asked.append(request.name)
        return True

    interpreter = ask_first(CodeInterpreter())
    turns = [
        call("code_interpreter", code="a = 6 * 7"),
        call("code_interpreter", code="a"),
        call("echo", text="a"),
        "Done.",
    ]
    with ScriptedModel(turns) as model:
        agent = make_agent(model, interpreter, ask_first(echo, "never"), approver=approve)
        result = await agent.run("Go")
    assert asked == ["code_interpreter"] * 2
    assert results(result)[1:] == [("code_interpreter", "42"), ("echo", "a")]


async def test_a_rule_that_fails_asks(make_agent: MakeAgent) -> None:
    def without_sense(arguments: JsonObject) -> bool:
        return arguments["price"] > 10

    shop = Shop(without_sense)
    with ScriptedModel([call("pay", amount=5)]) as model:
        result = await make_agent(model, shop.pay).run("Pay")
    assert (result.stop, shop.paid) == ("approval", [])


async def test_with_nobody_to_ask_the_run_pauses_and_nothing_is_lost(make_agent: MakeAgent) -> None:
    shop = Shop()
    turn = [call("echo", text="a"), call("pay", amount=5), call("echo", text="b")]
    with ScriptedModel([turn]) as model:
        result = await make_agent(model, shop.pay, echo).run("Pay 5")
    assert (result.stop, shop.paid) == ("approval", [])
    assert result.reason == "A person has to approve the call of pay."
    assert result.paused is not None
    assert [request.name for request in result.paused.waiting] == ["pay"]
    # What can be continued from as it is stays legal, too.
    assert results(result) == [
        ("echo", "a"),
        ("pay", "Not run: A person has to approve the call of pay."),
        ("echo", "b"),
    ]


@pytest.mark.parametrize(
    ("decision", "paid", "text"), [(True, [5], "paid 5"), (False, [], "Not run: the person")]
)
async def test_a_paused_run_goes_on_with_the_decision(
    make_agent: MakeAgent, decision: bool, paid: list[int], text: str
) -> None:
    shop, other = Shop(), RecordingTool("other", results=["once"])
    turn = [call("other"), call("pay", amount=5)]
    with ScriptedModel([turn, call("other"), "Done."]) as model:
        agent = make_agent(model, shop.pay, other)
        first = await agent.run("Pay 5")
        assert first.paused is not None
        paused = PausedRun.from_json(first.paused.to_json())
        assert paused == first.paused
        (waiting,) = paused.waiting
        result = await agent.resume(paused, {waiting.call_id: decision})
    assert (result.stop, result.text, shop.paid) == ("done", "Done.", paid)
    assert len(other.calls) == 2  # that of the paused turn is not made again
    assert [name for name, _ in results(result)] == ["other", "pay", "other"]
    assert results(result)[1][1].startswith(text)
    assert (result.run_id, result.steps) == (first.run_id, 3)
    assert result.calls == 2 + len(paid)
    assert result.usage.prompt_tokens > first.usage.prompt_tokens


async def test_without_a_decision_it_waits_on(make_agent: MakeAgent) -> None:
    shop = Shop()
    turn = [call("pay", amount=1), call("pay", amount=2)]
    with ScriptedModel([turn, "Done."]) as model:
        agent = make_agent(model, shop.pay)
        first = (await agent.run("Pay")).paused
        assert first is not None
        one, two = (request.call_id for request in first.waiting)
        second = (await agent.resume(first, {two: True})).paused
        assert second is not None
        assert shop.paid == [2]
        assert [request.call_id for request in second.waiting] == [one]
        result = await agent.resume(second, {one: True})
    assert (result.text, shop.paid) == ("Done.", [2, 1])
    assert results(result) == [("pay", "paid 1"), ("pay", "paid 2")]


async def test_what_does_not_belong_together_is_refused(make_agent: MakeAgent) -> None:
    shop = Shop()
    with ScriptedModel([call("pay", amount=1)]) as model:
        agent = make_agent(model, shop.pay)
        paused = (await agent.run("Pay")).paused
        assert paused is not None
        with pytest.raises(InvalidTaskError, match="No call 'nope' waits"):
            await agent.resume(paused, {"nope": True})
        with pytest.raises(InvalidTaskError, match="waits for the agent 'test'"):
            await make_agent(model, shop.pay, name="other").resume(paused, {})
    for text in ("", "[]", "{}", '{"version": 2}', '{"version": 1, "waiting": 3}'):
        with pytest.raises(InvalidTaskError):
            PausedRun.from_json(text)


async def test_a_planned_run_of_a_small_model_goes_on_where_it_was(make_agent: MakeAgent) -> None:
    shop = Shop()
    facts = [{"question": "an echo", "tool": "echo"}, {"question": "a payment", "tool": "pay"}]
    plan = json.dumps({"answer_from": "tools", "calls": facts})
    turns = [plan, call("echo", text="hello"), call("pay", amount=5), "hello, paid 5"]
    with ScriptedModel(turns, small=True) as model:
        agent = make_agent(model, echo, shop.pay, plan=True)
        first = await agent.run("Echo and pay")
        assert first.stop == "approval", first.error
        assert first.paused is not None
        (waiting,) = first.paused.waiting
        again = PausedRun.from_json(first.paused.to_json())
        result = await agent.resume(again, {waiting.call_id: True})
    assert (result.stop, result.text, shop.paid) == ("done", "hello, paid 5", [5])
    assert [step.need for step in result.plan] == ["an echo", "a payment"]
    asked = model.requests[-1].messages[-1].text
    assert "an echo: hello" in asked
    assert "a payment: paid 5" in asked


async def test_a_planned_run_of_a_capable_model_does_not_plan_again(make_agent: MakeAgent) -> None:
    shop = Shop()
    plan = json.dumps({"steps": [{"need": "pay", "tool": "pay"}]})
    check = json.dumps({"complete": True, "missing": ""})
    with ScriptedModel([plan, call("pay", amount=5), "Paid.", check]) as model:
        agent = make_agent(model, shop.pay, plan=True)
        first = (await agent.run("Pay")).paused
        assert first is not None
        (waiting,) = first.waiting
        result = await agent.resume(first, {waiting.call_id: True})
    assert (result.text, len(result.plan)) == ("Paid.", 1)


async def test_it_goes_on_in_another_process(make_agent: MakeAgent, tmp_path: Path) -> None:
    shop = Shop()
    with ScriptedModel([ModelTurn(thinking="Hm.", tool_calls=(call("pay", amount=7),))]) as model:
        paused = (await make_agent(model, shop.pay).run("Pay 7")).paused
    assert paused is not None
    program = """
import sys, anyio
from agentkit import Agent, Policy, tool
from agentkit.loop import PausedRun
from agentkit.testing import ScriptedModel
from agentkit.toolkit import Registry

@tool(approval="always")
async def pay(amount: int) -> str:
    "Pay."
    return f"paid {amount}"

async def main() -> None:
    paused = PausedRun.from_json(sys.stdin.read())
    with ScriptedModel(["Done there."]) as model:
        agent = Agent(name="test", model=model, registry=Registry([pay]), policy=Policy(), plan=False)
        result = await agent.resume(paused, {paused.waiting[0].call_id: True})
        print(result.run_id, result.transcript[-2].text, result.text)

anyio.run(main)
"""
    done = await to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-c", program],
            input=paused.to_json(),
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    )
    assert done.stdout.strip() == f"{paused.run_id} paid 7 Done there.", done.stderr
