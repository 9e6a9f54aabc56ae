"""Turns that lead nowhere: what the model is told, and how it is asked the next time."""

from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Limits, Policy, Result
from agentkit.errors import InvalidOutputError
from agentkit.events import NoticeGiven, RetryScheduled, TextDelta
from agentkit.loop._announce import announces_call
from agentkit.messages import ModelTurn, SystemMessage
from agentkit.testing import RecordingTool, ScriptedModel, call, echo

MakeAgent = Callable[..., Agent]

ANNOUNCED = ModelTurn(thinking="The user wants an echo. I should call echo.", text="One moment.")


def asked(model: ScriptedModel) -> list[tuple[Any, bool]]:
    """Return how each step was asked: whether to think, whether under a grammar."""
    return [(request.thinking, request.guided) for request in model.requests]


def nudges(result: Result) -> int:
    said = [entry.text for entry in result.transcript if isinstance(entry, SystemMessage)]
    return sum(text.startswith("You have announced a tool call") for text in said)


async def test_an_announced_call_is_nudged_once_and_made(make_agent: MakeAgent) -> None:
    tool = RecordingTool("echo", results=["hello"])
    with ScriptedModel([ANNOUNCED, call("echo"), "It says hello."]) as model:
        result = await make_agent(model, tool).run("Echo")
    assert (result.text, len(tool.calls), nudges(result)) == ("It says hello.", 1, 1)
    assert asked(model) == [("auto", False)] * 3


async def test_the_ladder_of_announcements(make_agent: MakeAgent) -> None:
    with ScriptedModel([ANNOUNCED] * 3 + [call("echo", text="a"), "It says a."]) as model:
        result = await make_agent(model, echo).run("Echo")
    assert result.text == "It says a."
    assert asked(model) == [
        ("auto", False),
        ("auto", False),
        (False, False),
        (False, True),
        ("auto", False),
    ]


async def test_what_is_announced_to_the_end_is_the_answer_and_a_notice(
    make_agent: MakeAgent,
) -> None:
    with ScriptedModel([ANNOUNCED] * 4) as model:
        async with make_agent(model, echo).start("Echo") as run:
            notices = [event.text async for event in run if isinstance(event, NoticeGiven)]
        result = await run.result()
    assert (result.stop, result.text) == ("done", "One moment.")
    assert "The answer may only announce a call: the model was asked three times." in notices


async def test_without_tools_nothing_is_announced(make_agent: MakeAgent) -> None:
    with ScriptedModel(["Let me check the weather."]) as model:
        assert (await make_agent(model).run("Go")).stop == "done"


@pytest.mark.parametrize(
    ("thinking", "text", "expected"),
    [
        ("I should call get_time with Tokyo.", "It is noon in Tokyo.", True),
        ("I'll use the get_time tool to find out.", "", True),
        ("需要查询时间。我应该调用 get_time。", "好的。", True),
        ("We need to invoke get_time(zone='Asia/Tokyo')", "Sure!", True),
        ("", "I'll check the current time in Tokyo for you.", True),
        ("", "Let me look that up...", True),
        ("", "Let me run the code:", True),
        ("", "我来查一下东京的时间。", True),
        ("I called get_time and it says noon. Now I can answer.", "It is noon.", False),
        ("I should call get_time. But it is known already, so I answer directly.", "Noon.", False),
        ("I should not call get_time here.", "Hello!", False),
        ("There is no need to use get_time.", "Hello!", False),
        ("I should call my mother.", "Hello!", False),
        ("I will use get_times.", "Hello!", False),
        ("", "Let me know if you need anything else.", False),
        ("", "Shall I check the time for you?", False),
        ("", "It is noon in Tokyo. You can use that.", False),
        ("", "I don't know. I will not check it.", False),
        ("", "2 + 2 = 4", False),
        ("", "I will check. " * 60, False),
        ("", "", False),
    ],
)
def test_what_counts_as_an_announcement(thinking: str, text: str, expected: bool) -> None:
    assert announces_call(ModelTurn(thinking=thinking, text=text), ["get_time"]) is expected


async def test_the_ladder_of_unusable_output(make_agent: MakeAgent) -> None:
    broken = ModelTurn(text="{", problem="The call could not be read.")
    with ScriptedModel([broken] * 3 + ["At last."]) as model:
        assert (await make_agent(model, echo).run("Go")).text == "At last."
    assert asked(model) == [("auto", False), ("auto", False), (False, False), (False, True)]


async def test_the_error_that_ends_a_run_carries_output_problem_and_run(
    make_agent: MakeAgent,
) -> None:
    broken = ModelTurn(text="<tool_call>{", problem="The call could not be read.")
    with ScriptedModel([broken] * 4) as model:
        result = await make_agent(model, echo).run("Go")
    assert isinstance(result.error, InvalidOutputError)
    assert (result.error.output, result.error.problem, result.error.run_id) == (
        "<tool_call>{",
        "The call could not be read.",
        result.run_id,
    )


async def test_a_thought_that_used_up_all_tokens_is_asked_again_without(
    make_agent: MakeAgent,
) -> None:
    endless = ModelTurn(thinking="Hm. What about this?", finish="length")
    with ScriptedModel([endless, "An answer."]) as model:
        result = await make_agent(model, echo).run("Go")
    assert result.text == "An answer."
    assert asked(model) == [("auto", False), (False, False)]


def numbered(words: int) -> str:
    return " ".join(f"word{number}" for number in range(words))


async def test_thinking_beyond_its_budget_is_cut_and_asked_again_without(
    make_agent: MakeAgent,
) -> None:
    policy = Policy(limits=Limits(thinking_tokens=100))
    long = ModelTurn(thinking=numbered(2_000), text="Never seen.")
    with ScriptedModel([long, "An answer."]) as model:
        async with make_agent(model, policy=policy).start("Go") as run:
            events = [event async for event in run]
        result = await run.result()
    assert (result.text, result.stop) == ("An answer.", "done")
    assert asked(model) == [("auto", False), (False, False)]
    notices = [event.text for event in events if isinstance(event, NoticeGiven)]
    assert "The thinking was longer than its budget" in notices[0]
    assert 100 < result.usage.reasoning_tokens < 400
    assert not any(isinstance(event, TextDelta) and "Never" in event.text for event in events)


async def test_thinking_within_its_budget_is_left_alone(make_agent: MakeAgent) -> None:
    policy = Policy(limits=Limits(thinking_tokens=10_000))
    with ScriptedModel([ModelTurn(thinking=numbered(2_000), text="Yes.")]) as model:
        assert (await make_agent(model, policy=policy).run("Go")).text == "Yes."


@pytest.mark.parametrize(
    "turn",
    [
        ModelTurn(thinking="Wait, let me look at this once more. " * 500, text="Never."),
        ModelTurn(text="The answer is that " * 1_000),
        ModelTurn(thinking="让我再想一想。" * 500),
    ],
)
async def test_a_turn_that_only_repeats_itself_is_cut(
    make_agent: MakeAgent, turn: ModelTurn
) -> None:
    with ScriptedModel([turn, "An answer."]) as model:
        async with make_agent(model).start("Go") as run:
            events = [event async for event in run]
        result = await run.result()
    assert result.text == "An answer."
    assert model.requests[1].thinking is False
    notices = [event.text for event in events if isinstance(event, NoticeGiven)]
    assert "went in circles. It is asked again, without thinking." in notices[0]
    discarded = [event for event in events if isinstance(event, RetryScheduled)]
    assert [event.discard_text for event in discarded] == ([True] if turn.text[:3] == "The" else [])


async def test_circles_without_end_fail_with_what_was_written(make_agent: MakeAgent) -> None:
    turn = ModelTurn(text="The answer is that " * 1_000)
    with ScriptedModel([turn] * 4) as model:
        result = await make_agent(model).run("Go")
    assert isinstance(result.error, InvalidOutputError)
    assert result.error.output.startswith("The answer is that")
    assert "went in circles" in result.error.problem


@pytest.mark.parametrize(
    "text", [numbered(3_000), "0" * 1_500, "| a | b |\n" * 100, "\n".join(map(str, range(2_000)))]
)
async def test_what_may_be_wanted_is_left_alone(make_agent: MakeAgent, text: str) -> None:
    with ScriptedModel([text]) as model:
        assert (await make_agent(model).run("Go")).text == text
