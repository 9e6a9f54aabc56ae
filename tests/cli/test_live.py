import io
from collections.abc import Callable

import pytest
from rich.console import Console

from agentkit.cli._live import LiveView
from agentkit.engine import Progress
from agentkit.events import (
    CallFinished,
    CallStarted,
    Event,
    NoticeGiven,
    PlanMade,
    RetryScheduled,
    StepStarted,
    TextDelta,
    ThinkingDelta,
)
from agentkit.messages import PlanStep

Show = Callable[..., str]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=60, record=True)


@pytest.fixture
def show(console: Console) -> Show:
    """Show events; return the lines that stay."""

    def shown(*events: Event, verbose: bool = False) -> str:
        view = LiveView(console=console, verbose=verbose)
        for event in events:
            view.event(event)
        return console.export_text()

    return shown


def _call(text: str, *, ok: bool = True) -> tuple[Event, Event]:
    return (
        CallStarted(step=1, call_id="c", name="clock", arguments={"zone": "Asia/Tokyo"}),
        CallFinished(step=1, call_id="c", name="clock", text=text, ok=ok, seconds=0.25),
    )


def test_a_call_is_one_line_where_it_fits(show: Show) -> None:
    assert show(*_call("14:05")) == '▸ clock(zone="Asia/Tokyo") 0.2 s ✓ 14:05\n'


def test_a_call_that_a_tool_has_made_is_indented(show: Show) -> None:
    inner = CallFinished(step=1, call_id="c.1", name="zones", text="597", ok=True, within="c")
    started, finished = _call("14:05")
    first, second = show(started, inner, finished).splitlines()
    assert (first, second[:7]) == ("  ▸ zones(…) 0.0 s ✓ 597", "▸ clock")


def test_a_long_result_has_a_line_of_its_own_and_is_cut(show: Show) -> None:
    first, second = show(*_call("東京 is far " * 20)).splitlines()
    assert first.rstrip() == '▸ clock(zone="Asia/Tokyo") 0.2 s ✓'
    assert second.startswith("    東京 is far")
    assert second.rstrip().endswith("…")


def test_verbose_shows_the_whole_result(show: Show) -> None:
    assert show(*_call("far " * 100), verbose=True).count("far") == 100


def test_a_refused_call_is_shown_without_its_arguments(show: Show) -> None:
    assert show(_call("No such tool.", ok=False)[1]) == "▸ clock(…) 0.2 s ✗ No such tool.\n"


def test_a_plan_is_a_list(show: Show) -> None:
    shown = show(PlanMade(step=1, steps=(PlanStep("the time", "clock"), PlanStep("an answer"))))
    assert shown == "◆ plan\n  1. the time  clock\n  2. an answer\n"


def test_retries_and_notices_stay_on_the_screen(show: Show) -> None:
    shown = show(
        StepStarted(step=1),
        RetryScheduled(step=1, attempt=2, delay_seconds=0.5, reason="503"),
        NoticeGiven(step=1, text="a call was mended"),
    )
    assert shown == "↻ attempt 2 in 0.5 s: 503\n• a call was mended\n"


def test_what_is_said_beside_a_call_is_kept(show: Show) -> None:
    shown = show(
        StepStarted(step=1),
        ThinkingDelta(1, "hm"),
        TextDelta(1, "I look it up."),
        *_call("14:05"),
        StepStarted(step=2),
    )
    assert shown.splitlines()[0] == "◆ thought"
    assert shown.splitlines()[-1] == "I look it up."


def test_what_is_going_on_is_shown_below(console: Console) -> None:
    view = LiveView(console=console)
    view.event(StepStarted(step=3, phase="answer"))
    assert "answering… step 3, " in _moving(view)
    view.event(ThinkingDelta(3, "so it must be\nnoon"))
    assert "thinking… " in _moving(view)
    assert "so it must be noon" in _moving(view)
    view.event(TextDelta(3, "first line\nsecond line"))
    assert "second line" in _moving(view)
    view.event(_call("x")[0])
    assert 'clock(zone="Asia/Tokyo")' in _moving(view)


def test_a_download_shows_bytes_and_what_is_left(console: Console) -> None:
    view = LiveView(console=console)
    view.progress(Progress("download", 0, 10**9, "weights"))
    view.progress(Progress("download", 5 * 10**8, 10**9, "weights"))
    shown = _moving(view)
    assert "500.0 MB of 1.00 GB" in shown
    assert "/s  0:0" in shown
    view.progress(Progress("load", detail="the model"))
    view.progress(Progress("ready"))
    kept = console.export_text().splitlines()
    assert kept[0].startswith("✓ download: weights 500.0 MB")
    assert kept[-1].startswith("✓ ready")


def _moving(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(view._moving())
    return console.export_text()
