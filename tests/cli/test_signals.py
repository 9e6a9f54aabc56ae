import json
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from agentkit.testing import Answer, Fault

if TYPE_CHECKING:
    import subprocess

Start = Callable[..., "subprocess.Popen[str]"]
Serve = Callable[..., Any]

_STALLS = Answer(text="one two three four five six", fault=Fault("stall", after=4))


def _read_until(process: "subprocess.Popen[str]", what: str) -> str:
    """Read lines of stderr until one holds `what`; a process that never says it is killed."""
    assert process.stderr is not None
    guard = threading.Timer(30, process.kill)
    guard.start()
    seen = ""
    try:
        while what not in seen:
            line = process.stderr.readline()
            assert line, f"{what!r} was never said, but: {seen}"
            seen += line
    finally:
        guard.cancel()
        guard.join()
    return seen


def test_ctrl_c_once_lets_the_step_end(serve: Serve, start: Start) -> None:
    call = ("code_interpreter", {"code": "import time; time.sleep(1)"})
    serve(Answer(calls=[call]))
    process = start("run", "work", "--output", "json")
    _read_until(process, "call: code_interpreter")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    said = json.loads(stdout)
    assert (process.returncode, said["stop"], said["status"]) == (130, "cancelled", "cancelled")
    assert said["calls"] == 1
    assert "result: code_interpreter" in stderr


def test_sigterm_cancels_and_ends_with_143(serve: Serve, start: Start) -> None:
    serve(_STALLS)
    process = start("run", "count", "--output", "json")
    _read_until(process, "step 1")
    process.terminate()
    stdout, _ = process.communicate(timeout=30)
    assert (process.returncode, json.loads(stdout)["stop"]) == (143, "cancelled")


def test_ctrl_c_before_the_run_begins_ends_at_once(start: Start, tmp_path: Any) -> None:
    servers = {"mcpServers": {"mute": {"command": "sleep", "args": ["60"]}}}
    (tmp_path / "mute.json").write_text(json.dumps(servers), encoding="utf-8")
    process = start("mcp", "test", "--file", str(tmp_path / "mute.json"))
    _read_until(process, "Starting")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize("output", ["text", "jsonl"])
def test_a_reader_that_leaves_is_no_bug(serve: Serve, start: Start, output: str) -> None:
    serve([Answer(text="word " * 50)])
    process = start("run", "talk", "--output", output)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    stderr = process.stderr.read()
    assert process.wait(30) == 141
    assert "Traceback" not in stderr
    assert "✗" not in stderr
