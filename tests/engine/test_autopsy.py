"""What is said of an engine that died."""

import signal
from pathlib import Path

import pytest

from agentkit.engine._autopsy import explain_death
from agentkit.engine._server_autopsy import explain_server_death


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


def test_of_a_chain_of_errors_the_last_one_is_told(tmp_path: Path) -> None:
    log = tmp_path / "server.log"  # as SGLang 0.5.23 says it on a machine without a GPU
    log.write_text(
        "W1125 Ignore import error: No module named 'cutlass'\n"
        "Traceback (most recent call last):\n"
        '  File "/x/platforms/device_mixin.py", line 189, in get_device\n'
        "NotImplementedError\n"
        "\n"
        "During handling of the above exception, another exception occurred:\n"
        "\n"
        "Traceback (most recent call last):\n"
        '  File "/x/utils/common.py", line 1124, in get_device\n'
        "    raise RuntimeError(\n"
        "RuntimeError: No accelerator (CUDA, XPU, HPU) or platform plugin is available.\n"
        "Traceback (most recent call last):\n"
        "ValueError: of another process, later\n",
        encoding="utf-8",
    )
    error = explain_server_death(1, log)
    assert "No usable NVIDIA driver" in str(error)
    assert "RuntimeError: No accelerator (CUDA, XPU, HPU)" in str(error)
    assert "(common.py:1124)" in str(error)
    assert "nvidia-smi" in error.hint


def test_a_server_that_says_nothing_is_told_by_its_signal(tmp_path: Path) -> None:
    error = explain_server_death(-9, tmp_path / "nowhere.log", deaths=3)
    assert "died 3 times (exit status -9)" in str(error)
    assert "memory ran out" in str(error)
