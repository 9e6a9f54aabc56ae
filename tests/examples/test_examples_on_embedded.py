"""The examples that are marked as such, on the real weights of the default model."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

if TYPE_CHECKING:
    from tests.examples.conftest import RunExample

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def engine(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the engine, and the likeliest words: whether a model is lucky is not what is tested."""
    monkeypatch.setenv("AGENTKIT_ENGINE", "embedded")
    monkeypatch.setenv("AGENTKIT_WEIGHTS", str(weights))
    monkeypatch.setenv("AGENTKIT_SAMPLING", '{"temperature": 0}')


def test_the_quickstart_tells_the_time_in_tokyo(run_example: "RunExample") -> None:
    began = datetime.now(ZoneInfo("Asia/Tokyo"))
    done = run_example("quickstart.py")
    assert done.returncode == 0, done.stderr
    found = re.search(r"\b(\d\d?):(\d\d)", done.stdout)
    assert found is not None, done.stdout
    minutes = range(int((datetime.now(began.tzinfo) - began) / timedelta(minutes=1)) + 2)
    right = [began + timedelta(minutes=n) for n in minutes]
    assert (int(found[1]), int(found[2])) in [(one.hour, one.minute) for one in right]


def test_a_conversation_remembers(run_example: "RunExample") -> None:
    done = run_example("conversation.py")
    assert done.returncode == 0, done.stderr
    asked, answer = done.stdout.split("> What is my name?")
    assert "Ada" in answer
    assert "> My name is Ada." in asked


def test_a_letter_becomes_a_value(run_example: "RunExample") -> None:
    done = run_example("typed_answer.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "A-1077: 480.00 EUR to Hill & Sons\n"


def test_the_index_marks_the_examples_that_are_run_here() -> None:
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    marked = set(re.findall(r"^\| `([^`]+)` \|.*\| yes \|$", index, re.MULTILINE))
    here = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text(encoding="utf-8")))
    assert marked == here
