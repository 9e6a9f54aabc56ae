import sys

import pytest

from agentkit.cli._terminal import is_plain
from agentkit.cli._view import PlainView, QuietView, view_for
from agentkit.engine import Progress
from agentkit.events import NoticeGiven, PlanMade, ThinkingDelta
from agentkit.messages import PlanStep


@pytest.mark.parametrize(
    ("variable", "value", "plain"),
    [("NO_COLOR", "1", True), ("NO_COLOR", "", False), ("TERM", "dumb", True)],
)
def test_a_terminal_gets_bare_lines_when_it_asks(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, plain: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv(variable, value)
    assert is_plain() is plain


def test_a_pipe_gets_bare_lines_and_quiet_gets_none() -> None:
    assert isinstance(view_for(quiet=False, verbose=False), PlainView)
    assert type(view_for(quiet=True, verbose=False)) is QuietView


def test_a_download_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    for done in range(0, 1001, 5):
        view.progress(Progress("download", done * 10**6, 10**9, "weights"))
    view.progress(Progress("load", detail="the model"))
    view.progress(Progress("load", detail="the model"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    assert lines[5] == "download: weights 500.0 MB of 1.00 GB"
    assert lines[-1] == "load: the model"


def test_thinking_is_one_line_and_whole_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        with PlainView(verbose=verbose) as view:
            for _ in range(200):
                view.event(ThinkingDelta(1, "deep "))
            view.event(NoticeGiven(step=1, text="a call was mended"))
    short, first_note, whole, second_note = capsys.readouterr().err.splitlines()
    assert short.startswith("thinking: deep deep")
    assert short.endswith("… (1000 characters)")
    assert whole.count("deep") == 200
    assert first_note == second_note == "note: a call was mended"


def test_a_plan_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    steps = (PlanStep("the time", "clock"), PlanStep("the answer"))
    PlainView().event(PlanMade(step=1, steps=steps, revision=1))
    assert capsys.readouterr().err == "plan (revision 1): 1. the time; 2. the answer\n"
