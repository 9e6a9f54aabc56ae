"""A context that fits: long results on the shelf, old ones cleared, what is old summed up."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, Limits, Policy, Result
from agentkit.errors import ContextOverflowError
from agentkit.events import NoticeGiven, StepStarted
from agentkit.messages import Message, ModelTurn, ToolResult, UserMessage
from agentkit.models import open_pool
from agentkit.protocols import ModelRequest
from agentkit.testing import Answer, FakeSGLang, RecordingTool, ScriptedModel, call
from agentkit.toolkit import Registry

MakeAgent = Callable[..., Agent]

OVERFLOW = ContextOverflowError("The input is longer than the model's context length.")
LONG = "\n".join(f"line {number} of a long result" for number in range(2_000))


def handle_in(text: str) -> str:
    found = re.search(r"handle='(\w+)'", text)
    assert found is not None, text
    return found[1]


def results_in(messages: Any) -> list[str]:
    return [entry.text for entry in messages if isinstance(entry, ToolResult)]


def kept_under(folder: Path, handle: str) -> str:
    (kept,) = folder.glob(f"*/{handle}")
    return kept.read_text(encoding="utf-8")


def look(results: list[str]) -> RecordingTool:
    return RecordingTool("look", results=results)


def calls(count: int) -> list[Any]:
    return [call("look", number=number) for number in range(count)]


async def test_a_long_result_is_kept_whole_and_can_be_read_on_in(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    def read_on(request: ModelRequest) -> Any:
        handle = handle_in(results_in(request.messages)[0])
        return call("read_result", handle=handle, start=30_000, length=100)

    with ScriptedModel([call("look"), read_on, "Read."]) as model:
        result = await make_agent(model, look([LONG]), results_dir=tmp_path / "r").run("Go")
    first, page = results_in(result.transcript)
    assert len(first) <= 16_000
    assert first.startswith("line 0")
    assert page == f"[characters 30000 to 30100 of {len(LONG)}]\n{LONG[30_000:30_100]}"
    offered = [[spec.name for spec in request.tools] for request in model.requests]
    assert offered == [["look"], ["look", "read_result"], ["look", "read_result"]]
    (kept,) = (tmp_path / "r").glob("*/*")
    assert kept.read_text(encoding="utf-8") == LONG
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_the_next_run_of_a_conversation_reads_on_too(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    def read_on(request: ModelRequest) -> Any:
        return call("read_result", handle=handle_in(results_in(request.messages)[0]))

    with ScriptedModel([call("look"), "Read.", read_on, "Read on."]) as model:
        conversation = make_agent(model, look([LONG]), results_dir=tmp_path).conversation()
        await conversation.run("Go")
        result = await conversation.run("Go on")
    assert results_in(result.transcript)[1].startswith("[characters 0 to 8000 of")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"handle": "nope"}, "There is no result 'nope'."),
        ({"handle": "../secret"}, "There is no result '../secret'."),
        ({"handle": "HANDLE", "start": 10**9}, "start must be less"),
    ],
)
async def test_what_is_not_there_cannot_be_read(
    make_agent: MakeAgent, tmp_path: Path, arguments: dict[str, Any], told: str
) -> None:
    await anyio.Path(tmp_path / "secret").write_text("s3cr3t")

    def read_on(request: ModelRequest) -> Any:
        handle = handle_in(results_in(request.messages)[0])
        asked = {k: handle if v == "HANDLE" else v for k, v in arguments.items()}
        return call("read_result", **asked)

    with ScriptedModel([call("look"), read_on, "Read."]) as model:
        result = await make_agent(model, look([LONG]), results_dir=tmp_path / "r").run("Go")
    assert told in results_in(result.transcript)[1]


async def test_a_disk_that_is_full_costs_the_handle_and_nothing_else(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with ScriptedModel([call("look"), "Read."]) as model:
        agent = make_agent(model, look([LONG]), results_dir=tmp_path / "file" / "r")
        async with agent.start("Go") as run:
            notices = [event.text async for event in run if isinstance(event, NoticeGiven)]
        result = await run.result()
    assert result.text == "Read."
    assert "A long result could not be kept" in notices[0]
    assert "characters left out" in results_in(result.transcript)[0]


async def run_and_note(agent: Agent, task: str) -> tuple[Result, list[str]]:
    async with agent.start(task) as run:
        notices = [event.text async for event in run if isinstance(event, NoticeGiven)]
    return await run.result(), notices


async def test_after_an_overflow_old_results_are_cleared_first(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    texts = [f"{number}: " + "x" * 2_000 for number in range(4)]
    with ScriptedModel([*calls(4), OVERFLOW, "There."]) as model:
        agent = make_agent(model, look(texts), results_dir=tmp_path)
        result, notices = await run_and_note(agent, "Go")
    assert (result.stop, result.text) == ("done", "There.")
    assert results_in(result.transcript) == texts  # nothing is lost
    seen = results_in(model.requests[-1].messages)
    assert seen[2:] == texts[2:]
    for short, whole in zip(seen[:2], texts[:2], strict=True):
        assert len(short) < 300
        assert short.startswith(whole[:100])
        assert kept_under(tmp_path, handle_in(short)) == whole
    assert results_in(result.shown) == seen
    assert notices[0] == "To save room, 2 old results are shown no more."
    assert "The prompt was too long" in notices[1]


async def test_where_nothing_can_be_cleared_what_is_old_is_summed_up(
    make_agent: MakeAgent,
) -> None:
    history: list[Message] = []
    for number in range(6):
        history += [UserMessage(f"Question {number}"), ModelTurn(text=f"Answer {number}.")]
    with ScriptedModel([OVERFLOW, "The notes.", "There."]) as model:
        agent = make_agent(model, instructions="Be good.")
        result = await agent.run("The task", history=history)
    assert result.text == "There."
    _, summary, last = model.requests
    (asked,) = summary.messages
    assert "Question 0" in asked.text
    assert "Answer 3." in asked.text
    assert summary.thinking is False
    assert [entry.text for entry in last.messages] == [
        "Be good.",
        "My notes of what came before, which I do not see any more:\nThe notes.",
        "Answer 4.",
        "Question 5",
        "Answer 5.",
        "The task",
    ]
    assert len(result.transcript) == 15


async def test_the_task_is_shown_whatever_is_summed_up(make_agent: MakeAgent) -> None:
    with ScriptedModel([*calls(5), OVERFLOW, "The notes.", "There."]) as model:
        result = await make_agent(model, look(["short"])).run("The task")
    assert result.text == "There."
    shown = model.requests[-1].messages
    assert shown[0] == UserMessage("The task")
    assert shown[1].text.endswith("The notes.")
    assert results_in(shown) == ["short", "short"]
    assert len(results_in(result.transcript)) == 5


async def test_a_summary_that_cannot_be_had_does_not_end_the_run(make_agent: MakeAgent) -> None:
    with ScriptedModel([*calls(5), OVERFLOW, OVERFLOW, "There."]) as model:
        result, notices = await run_and_note(make_agent(model, look(["short"])), "The task")
    assert result.text == "There."
    assert model.requests[-1].messages[1].text.startswith("I do not see what came before")
    assert any("No summary" in notice for notice in notices)


async def test_a_last_result_that_does_not_fit_is_shortened(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    with ScriptedModel([call("look"), OVERFLOW, "There."], context_tokens=4_096) as model:
        policy = Policy(limits=Limits(result_chars=10_000, answer_tokens=100))
        agent = make_agent(model, look([LONG[:9_000]]), results_dir=tmp_path, policy=policy)
        result = await agent.run("Go")
    assert result.text == "There."
    (seen,) = results_in(model.requests[-1].messages)
    assert len(seen) < 2_000
    assert handle_in(seen)
    assert results_in(result.transcript) == [LONG[:9_000]]


async def test_what_cannot_be_made_to_fit_fails_by_name(make_agent: MakeAgent) -> None:
    with ScriptedModel([OVERFLOW, OVERFLOW], context_tokens=8_192) as model:
        result = await make_agent(model).run("Go")
    assert [request.least_tokens for request in model.requests] == [1_024, 64]
    assert isinstance(result.error, ContextOverflowError)
    with ScriptedModel([*calls(4), *[OVERFLOW] * 5]) as model:
        result = await make_agent(model, look(["x" * 2_000])).run("Go")
    assert isinstance(result.error, ContextOverflowError)


async def test_room_is_made_before_the_prompt_is_too_long(make_agent: MakeAgent) -> None:
    texts = [f"{number}: " + "word " * 400 for number in range(8)]
    with ScriptedModel([*calls(8), "There."], context_tokens=2_500) as model:
        policy = Policy(limits=Limits(answer_tokens=300))
        result, notices = await run_and_note(make_agent(model, look(texts), policy=policy), "Go")
    assert result.text == "There."
    assert any("old results are shown no more" in notice for notice in notices)
    sizes = [sum(len(entry.text) for entry in request.messages) for request in model.requests]
    assert max(sizes) < 2_500 * 5


async def test_a_conversation_goes_on_from_its_summary(make_agent: MakeAgent) -> None:
    turns: list[Any] = ["Answer 0.", "Answer 1.", "Answer 2.", OVERFLOW, "The notes.", "Answer 3."]
    with ScriptedModel([*turns, "Answer 4."]) as model:
        conversation = make_agent(model).conversation()
        for number in range(5):
            await conversation.run(f"Question {number}")
    assert [entry.text for entry in model.requests[-1].messages] == [
        "My notes of what came before, which I do not see any more:\nThe notes.",
        "Answer 1.",
        "Question 2",
        "Answer 2.",
        "Question 3",
        "Answer 3.",
        "Question 4",
    ]


async def test_against_a_server_that_counts_and_refuses(tmp_path: Path) -> None:
    """The fake refuses what SGLang refuses, in its words: no request may meet that twice."""
    texts = [f"{number}: " + "word " * 500 for number in range(10)]
    turns: list[Any] = [Answer(calls=[("look", {"number": n})]) for n in range(10)]
    notes = Answer(text="Notes: looked often.")

    def is_summary(body: dict[str, Any]) -> bool:
        return "Notes of the work" in body["messages"][0]["content"]

    script: list[Any] = [*turns, Answer(text="There.")]
    async with FakeSGLang(script, context_tokens=4_000) as server, open_pool() as pool:
        answer = server.answer
        server.answer = lambda body: notes if is_summary(dict(body)) else answer(body)
        agent = Agent(
            name="test",
            model=await pool.connect(server.base_url),
            registry=Registry([look(texts)]),
            policy=Policy(limits=Limits(answer_tokens=500)),
            plan=False,
            results_dir=tmp_path,
        )
        async with agent.start("Go") as run:
            steps = [event async for event in run if isinstance(event, StepStarted)]
        result = await run.result()
    assert (result.stop, result.text, result.calls) == ("done", "There.", 10), result.reason
    assert len(steps) <= 15
    assert results_in(result.transcript) == texts
