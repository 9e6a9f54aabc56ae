import re
from dataclasses import replace

import pytest

from agentkit import errors
from agentkit.cli import _exit
from agentkit.cli._exit import Exit, exit_of_error, exit_of_result, exit_of_signal
from agentkit.loop import Result
from agentkit.messages import Stop, Usage

_RESULT = Result(
    run_id="r",
    text="an answer",
    stop="done",
    reason="",
    steps=1,
    calls=0,
    usage=Usage(),
    transcript=(),
    plan=(),
    error=None,
    seconds=0.1,
)


_CODES = [
    ("InvalidTaskError", 2),
    ("ToolInputError", 2),
    ("UnknownToolError", 2),
    ("SandboxUnavailableError", 5),
    ("ConfigurationError", 3),
    ("EngineError", 4),
    ("WeightsError", 4),
    ("ModelError", 4),
    ("ModelUnavailableError", 4),
    ("ModelTimeoutError", 4),
    ("TruncatedStreamError", 4),
    ("ModelRequestError", 4),
    ("ContextOverflowError", 4),
    ("OverloadedError", 4),
    ("CircuitOpenError", 4),
    ("RetryBudgetError", 4),
    ("McpServerError", 5),
    ("RequiredToolError", 5),
    ("ToolError", 5),
    ("ToolTimeoutError", 5),
    ("ToolUnavailableError", 5),
    ("OutcomeUnknownError", 5),
    ("DeadlineExceededError", 6),
    ("InvalidOutputError", 7),
    ("AgentkitError", 1),
]


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        ("done", 0),
        ("limit", 6),
        ("deadline", 6),
        ("loop", 6),
        ("approval", 8),
        ("cancelled", 130),
        ("failed", 1),
    ],
)
def test_each_stop_has_its_code(stop: Stop, code: int) -> None:
    assert exit_of_result(replace(_RESULT, stop=stop)) == code


def test_an_answer_of_blanks_is_no_answer() -> None:
    assert exit_of_result(replace(_RESULT, text=" \n")) == Exit.OUTPUT


@pytest.mark.parametrize(
    ("name", "code"),
    _CODES,
)
def test_each_error_has_its_code(name: str, code: int) -> None:
    kind = getattr(errors, name)
    error = kind("x", ["y"]) if name == "UnknownToolError" else kind("x")
    assert exit_of_error(error) == code
    if not isinstance(error, errors.ToolError):
        assert exit_of_result(replace(_RESULT, stop="failed", error=error)) == code


def test_no_error_is_forgotten() -> None:
    ours = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and name.endswith("Error")
    }
    assert ours == {name for name, _ in _CODES}


def test_a_foreign_error_is_a_bug() -> None:
    assert exit_of_error(ValueError()) == Exit.BUG


@pytest.mark.parametrize(("number", "code"), [(1, 129), (2, 130), (15, 143)])
def test_signals_follow_the_convention(number: int, code: int) -> None:
    assert exit_of_signal(number) == code


def test_the_table_lists_every_code() -> None:
    listed = {int(text) for text in re.findall(r"\d+", "".join(_columns()))}
    assert listed == {code.value for code in Exit}


def _columns() -> list[str]:
    lines = (_exit.__doc__ or "").splitlines()
    return [line.split("|")[1] for line in lines if line.startswith("|")]
