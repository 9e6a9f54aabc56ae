"""The whole runtime on a real SGLang that serves the scripted Qwen3 of the recordings.

Set AGENTKIT_TEST_SGLANG_URL to its base URL (ending in /v1) to run these.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from agentkit import Result, Runtime, StepStarted, TextDelta, ThinkingDelta, read_settings, tool

URL = os.environ.get("AGENTKIT_TEST_SGLANG_URL", "")
pytestmark = [
    pytest.mark.sglang,
    pytest.mark.skipif(not URL, reason="AGENTKIT_TEST_SGLANG_URL names no SGLang server"),
]


@tool
async def get_current_time(timezone: str, note: str = "") -> str:
    """Get the current time in a time zone."""
    del note
    return f"2026-01-02 12:00 in {timezone}"


async def answered(task: str, tmp_path: Path, **options: Any) -> tuple[Result, str, str]:
    settings = await to_thread.run_sync(
        # Grammar on every argument throws a model off that knows its calls by heart.
        lambda: read_settings(
            base_url=URL, sampling={"temperature": 0}, strict_tools=False, state_dir=tmp_path
        )
    )
    thinking, text = "", ""
    async with Runtime.open(settings, with_mcp=False) as runtime:
        known = [
            entry for entry in runtime.tools if entry.spec.name in {"code_interpreter", "fetch"}
        ]
        agent = runtime.agent(tools=[get_current_time, *known], builtin=False, **options)
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


async def test_a_call_is_made_and_thinking_is_told_apart_from_the_answer(tmp_path: Path) -> None:
    result, thinking, text = await answered("What time is it in Tokyo?", tmp_path)
    assert (result.stop, result.calls, result.steps) == ("done", 1, 2)
    assert "I have the time now." in thinking
    assert text == result.text
    assert "current time in Tokyo" in text
    assert "think" not in text
    assert result.usage.reasoning_tokens > 0


async def test_the_second_step_finds_its_prefix_in_the_cache(tmp_path: Path) -> None:
    result, _, _ = await answered("What time is it in Tokyo and in Paris?", tmp_path)
    assert result.calls == 2
    assert result.usage.cached_tokens > result.usage.prompt_tokens // 3


async def test_real_code_runs_in_the_interpreter(tmp_path: Path) -> None:
    result, _, _ = await answered("Compute 123456789 * 987654321.", tmp_path)
    assert "121932631112635269" in result.text
    assert any("121932631112635269" in getattr(m, "text", "") for m in result.transcript[:-1])


async def test_wrong_arguments_are_mended_after_one_explanation(tmp_path: Path) -> None:
    result, _, _ = await answered("Send wrong arguments.", tmp_path)
    assert (result.stop, result.calls) == ("done", 1)
    assert result.text == "Corrected the arguments."


async def test_without_thinking_there_is_none(tmp_path: Path) -> None:
    result, thinking, _ = await answered("Hello!", tmp_path, thinking=False)
    assert (result.text, thinking) == ("Hello! How can I help you today?", "")
