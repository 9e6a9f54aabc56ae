from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.events import (
    CallFinished,
    CallStarted,
    Event,
    NoticeGiven,
    PlanMade,
    RetryScheduled,
    RunEnded,
    RunStarted,
    StepStarted,
    TextDelta,
    ThinkingDelta,
    UsageReported,
)
from agentkit.messages import PlanStep, Usage
from agentkit.trace import read_trace

Read = Callable[[], tuple[dict[str, Any], ...]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "traces"


@pytest.fixture
def read(folder: Path) -> Read:
    """Read the only trace there is."""

    def only() -> tuple[dict[str, Any], ...]:
        (path,) = folder.iterdir()
        return read_trace(path)

    return only


@pytest.fixture
def whole_run() -> tuple[Event, ...]:
    used = Usage(prompt_tokens=1200, completion_tokens=40, cached_tokens=900, requests=1)
    return (
        RunStarted(run_id="r1", task="what time is it?", model="qwen3", tools=("clock",)),
        PlanMade(step=1, steps=(PlanStep("the time", "clock"), PlanStep("an answer"))),
        StepStarted(step=1),
        ThinkingDelta(1, "Let me "),
        ThinkingDelta(1, "look."),
        RetryScheduled(
            step=1, attempt=2, delay_seconds=0.5, reason="503 from the server", discard_text=True
        ),
        ThinkingDelta(1, "Look again."),
        TextDelta(1, "I look"),
        TextDelta(1, " it up."),
        UsageReported(step=1, usage=used, seconds=1.5),
        CallStarted(step=1, call_id="c1", name="clock", arguments={"zone": "東京"}),
        CallStarted(step=1, call_id="c1.1", name="zones", arguments={}, within="c1"),
        CallFinished(step=1, call_id="c1.1", name="zones", text="597", ok=True, within="c1"),
        CallFinished(step=1, call_id="c1", name="clock", text="14:05", ok=True, seconds=0.25),
        CallFinished(step=1, call_id="c2", name="clok", text="No such tool", ok=False),
        NoticeGiven(step=1, text="a call was mended"),
        StepStarted(step=2, phase="answer"),
        TextDelta(2, "It is 14:05."),
        RunEnded(run_id="r1", stop="done", text="It is 14:05.", steps=2, usage=used, seconds=3.25),
    )
