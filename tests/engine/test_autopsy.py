"""What is said of an engine that died."""

import signal
from pathlib import Path

import pytest

from agentkit.engine._autopsy import explain_death


@pytest.mark.parametrize(
    ("code", "log", "cause", "hint"),
    [
        (-signal.SIGKILL, "", "memory ran out", "smaller"),
        (-signal.SIGILL, "", "lacks an instruction", "base_url"),
        (3, "E ggml: failed to allocate buffer", "Memory ran out", "smaller"),
        (3, "E error loading model: bad magic", "cannot read the weights", "GGUF"),
        (3, "No module named 'xllamacpp'", "cannot be imported", "pip install"),
        (3, "libgomp.so.1: cannot open shared object file", "libgomp", "apt install"),
        (3, "E srv: couldn't bind HTTP server socket", "port is taken", "again"),
        (1, "something else", "The log may say why", "Read the log"),
    ],
)
def test_the_likely_cause_comes_with_a_way_to_mend_it(
    code: int, log: str, cause: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "engine.log"
    path.write_text(f"first\n{log}\n", encoding="utf-8")
    error = explain_death(code, path)
    assert cause in str(error)
    assert str(path) in str(error)
    assert hint in error.hint


def test_a_log_that_is_gone_is_no_obstacle(tmp_path: Path) -> None:
    assert "none" in str(explain_death(1, tmp_path / "gone.log"))


def test_only_the_end_of_a_long_log_is_told(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("".join(f"line {number}\n" for number in range(10_000)), encoding="utf-8")
    text = str(explain_death(1, path))
    assert "line 9999" in text
    assert "line 9000" not in text
