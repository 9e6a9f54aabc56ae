"""The whole runtime on the dialogues that the fake server and the scripted Qwen3 know by heart."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from agentkit import (
    Limits,
    Policy,
    Result,
    Runtime,
    StepStarted,
    TextDelta,
    ThinkingDelta,
    Timeouts,
    ToolResult,
    read_settings,
    tool,
)
from agentkit.engine import find_running
from agentkit.errors import InvalidOutputError
from agentkit.protocols import Tool

if TYPE_CHECKING:
    from tests.sglang.conftest import Installed, Served

pytestmark = pytest.mark.timeout(240)


# The scripted model knows its dialogues with these tools in these words, and strays with others.
@tool
async def get_current_time(timezone: str) -> str:
    """Get the current time in a time zone"""
    return f"2026-01-02 12:00 in {timezone}"


@tool
async def fetch(url: str) -> str:
    """Fetch a URL"""
    return f"# {url}"


def _in_its_words(known: Tool) -> Tool:
    @tool(name=known.spec.name, description="Run Python code")
    async def run(code: str) -> str:
        return await known.call(known.validate({"code": code}))

    return run


async def answered(
    server: "Served", task: str, tmp_path: Path, **options: Any
) -> tuple[Result, str, str]:
    settings = await to_thread.run_sync(
        # Grammar on every argument throws a model off that knows its calls by heart.
        lambda: read_settings(
            base_url=server.base_url,
            api_key=server.api_key,
            sampling={"temperature": 0},
            strict_tools=False,
            state_dir=tmp_path,
            tools=["code_interpreter"],
        )
    )
    thinking, text = "", ""
    async with Runtime.open(settings, with_mcp=False) as runtime:
        tools = [get_current_time, *map(_in_its_words, runtime.tools), fetch]
        agent = runtime.agent(tools=tools, builtin=False, **options)
        async with agent.start(task) as run:
            async for event in run:
                match event:
                    case StepStarted():
                        thinking, text = "", ""
                    case ThinkingDelta(text=piece):
                        thinking += piece
                    case TextDelta(text=piece):
                        text += piece
                    case _:
                        pass
        return await run.result(), thinking, text


async def test_a_call_is_made_and_thinking_is_told_apart_from_the_answer(
    server: "Served", tmp_path: Path
) -> None:
    result, thinking, text = await answered(server, "What time is it in Tokyo?", tmp_path)
    assert (result.stop, result.calls, result.steps) == ("done", 1, 2)
    assert "I have the time now." in thinking
    assert text == result.text
    assert "current time in Tokyo" in text
    assert "think" not in text
    assert result.usage.reasoning_tokens > 0


async def test_the_second_step_finds_its_prefix_in_the_cache(
    server: "Served", tmp_path: Path
) -> None:
    result, _, _ = await answered(server, "What time is it in Tokyo and in Paris?", tmp_path)
    assert result.calls == 2
    assert result.usage.cached_tokens > result.usage.prompt_tokens // 3


async def test_real_code_runs_in_the_interpreter(server: "Served", tmp_path: Path) -> None:
    result, _, _ = await answered(server, "Compute 123456789 * 987654321.", tmp_path)
    assert "121932631112635269" in result.text
    assert any("121932631112635269" in getattr(m, "text", "") for m in result.transcript[:-1])


async def test_wrong_arguments_are_explained_and_never_run(
    server: "Served", tmp_path: Path
) -> None:
    result, _, _ = await answered(server, "Send wrong arguments.", tmp_path)
    first, *others = [entry for entry in result.transcript if isinstance(entry, ToolResult)]
    assert (first.ok, "timezone: Field required" in first.text) == (False, True)
    assert all(entry.ok for entry in others)  # whether it calls again depends on its mood
    assert (result.stop, result.calls) == ("done", len(others))
    assert result.text == "Corrected the arguments."


HOSTILE = [
    # the task, the answer, tools that ran, what the model is told on the way
    ("Send broken JSON.", "Fixed after one correction.", {"get_current_time"}, ""),
    ("Call inside your thoughts.", "Called from inside a thought.", {"get_current_time"}, ""),
    (
        "Use three tools, one after another.",
        "Three tools were used.",
        {"get_current_time", "code_interpreter", "fetch"},
        "",
    ),
    ("Run slow code.", "The code ran out of time.", set[str](), "took longer than 3 seconds"),
    (
        "Crash the interpreter.",
        "The interpreter was restarted and is alive.",
        {"code_interpreter"},
        "all variables are lost",
    ),
]


@pytest.mark.parametrize(("task", "answer", "ran", "told"), HOSTILE)
async def test_what_the_model_does_wrong_is_survived(
    server: "Served", tmp_path: Path, task: str, answer: str, ran: set[str], told: str
) -> None:
    policy = Policy(timeouts=Timeouts(tool=3))
    result, _, _ = await answered(server, task, tmp_path, policy=policy, plan=False)
    results = [entry for entry in result.transcript if isinstance(entry, ToolResult)]
    assert (result.stop, result.text) == ("done", answer), result.reason
    assert {entry.name for entry in results if entry.ok} == ran
    assert not told or any(told in entry.text for entry in results)


@pytest.mark.parametrize("task", ["Call a tool that does not exist.", "Think for ever."])
async def test_what_leads_nowhere_ends_by_name(server: "Served", tmp_path: Path, task: str) -> None:
    policy = Policy(limits=Limits(answer_tokens=300))
    result, _, _ = await answered(server, task, tmp_path, policy=policy, plan=False)
    assert result.stop in {"done", "limit", "failed"}
    assert result.stop != "failed" or isinstance(result.error, InvalidOutputError)
    ran = {e.name for e in result.transcript if isinstance(e, ToolResult) and e.ok}
    assert ran <= {"get_current_time"}  # the toy model strays into a dialogue that it knows
    assert result.steps > 1


async def test_without_thinking_there_is_none(server: "Served", tmp_path: Path) -> None:
    result, thinking, _ = await answered(server, "Hello!", tmp_path, thinking=False)
    assert (result.text, thinking) == ("Hello! How can I help you today?", "")


async def test_a_runtime_starts_the_server_it_needs_and_stops_it(
    installed: "Installed", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", installed.profile.server.environment["PYTHONPATH"])
    settings = await to_thread.run_sync(
        lambda: read_settings(
            weights=str(installed.weights),
            server_python=installed.python,
            sampling={"temperature": 0},
            state_dir=tmp_path,
        )
    )
    async with Runtime.open(settings, engine="qwen3-scripted", with_mcp=False) as runtime:
        [running] = await find_running(tmp_path)
        result = await runtime.agent(builtin=False).run("Hello!")
        assert (result.stop, result.text) == ("done", "Hello! How can I help you today?")
    assert await find_running(tmp_path) == ()
    assert not await anyio.Path(f"/proc/{running.pid}").exists()
