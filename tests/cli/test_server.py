"""`agentkit server`, with the program that stands for SGLang."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parents[1] / "sglang" / "programs"
PATIENCE = 60.0
pytestmark = pytest.mark.timeout(2 * PATIENCE)

Start = Callable[..., "subprocess.Popen[str]"]
Cli = Callable[..., Any]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Path]:
    """Settings with which the program is started in place of SGLang; nothing of it is left."""
    monkeypatch.setenv("AGENTKIT_SERVER_PYTHON", sys.executable)
    monkeypatch.setenv("AGENTKIT_WEIGHTS", str(PROGRAMS))
    monkeypatch.setenv("PYTHONPATH", str(PROGRAMS))
    yield home / "state"
    for record in (home / "state" / "engines").glob("*.json"):  # a test that failed
        subprocess.run(
            [sys.executable, "-m", "agentkit", "server", "stop", "--all"], check=False, timeout=60
        )
        pytest.fail(f"a server was left behind: {record}")


@pytest.fixture
def run(start: Start) -> Callable[..., tuple[int, str, str]]:
    """Run a command to its end in a process of its own."""

    def running(*arguments: str, **environment: str) -> tuple[int, str, str]:
        process = start(*arguments, env=environment)
        stdout, stderr = process.communicate(timeout=PATIENCE)
        return process.returncode, stdout, stderr

    return running


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_server_is_started_shown_used_and_stopped(run: Any, installed: Path) -> None:
    port = free_port()
    code, url, said = run("server", "start", "qwen3-scripted", "--port", str(port))
    assert (code, url) == (0, f"http://127.0.0.1:{port}/v1\n"), said
    assert "load: qwen3-scripted, KV cache, " in said
    assert "agentkit server stop qwen3-scripted" in said

    code, shown, _ = run("server", "status", "--json")
    [status] = json.loads(shown)
    assert (code, status["profile"], status["state"]) == (0, "qwen3-scripted", "ready")
    assert (status["running"], status["queued"]) == (0, 0)
    assert "api_key" not in status
    assert Path(status["log"]).is_relative_to(installed)
    code, shown, _ = run("server", "status")
    assert code == 0
    assert "qwen3-scripted  ready" in shown

    code, answer, said = run(
        *("run", "--engine", "qwen3-scripted", "--no-mcp", "Hello!"),
        AGENTKIT_SAMPLING='{"temperature": 0}',
    )
    assert (code, answer) == (0, "Hello! How can I help you today?\n"), said
    assert f":{port}" in said  # it was shared, not started once more

    code, variables, _ = run("server", "env")
    assert code == 0
    assert f"export AGENTKIT_BASE_URL=http://127.0.0.1:{port}/v1" in variables
    key = variables.partition("AGENTKIT_API_KEY=")[2].strip()

    code, log, _ = run("server", "logs", "-n", "2")
    assert code == 0
    assert log.splitlines()[-1] == "The server is fired up and ready to roll!"
    assert key not in Path(status["log"]).read_text(encoding="utf-8")

    code, again, said = run("server", "start", "qwen3-scripted", "--port", str(free_port()))
    assert (code, again) == (0, url)
    assert "running already, at another port" in said

    code, _, said = run("server", "stop")
    assert (code, said) == (0, f"stopping qwen3-scripted (http://127.0.0.1:{port})\n")
    assert run("server", "status")[1].startswith("No engine of yours is running.")
    code, _, said = run("server", "stop")
    assert (code, said.splitlines()[0]) == (2, "✗ No engine of yours is running.")


def test_a_restart_is_another_process_at_the_same_port(run: Any, installed: Path) -> None:
    port = str(free_port())
    assert run("server", "start", "qwen3-scripted", "--port", port)[0] == 0
    before = json.loads(run("server", "status", "--json")[1])[0]
    code, url, _ = run("server", "restart", "qwen3-scripted", "--port", port)
    assert (code, url) == (0, f"http://127.0.0.1:{port}/v1\n")
    after = json.loads(run("server", "status", "--json")[1])[0]
    assert before["pid"] != after["pid"]
    assert run("server", "stop", "--all")[0] == 0


def test_ctrl_c_while_it_loads_stops_it(start: Start, run: Any, installed: Path) -> None:
    hold = installed.parent / "hold"
    hold.write_text("weights", encoding="utf-8")
    profile = installed.parent / "held.toml"
    text = (PROGRAMS.parents[2] / "launch" / "qwen3-scripted.toml").read_text(encoding="utf-8")
    profile.write_text(f'{text}FAKE_SGLANG_HOLD = "{hold}"\n', encoding="utf-8")
    process = start("server", "start", str(profile))
    assert process.stderr is not None
    while "weights" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, "✗ Interrupted (SIGINT)." in said) == (130, True)
    assert json.loads(run("server", "status", "--json")[1]) == []
    code, _, where = run("server", "logs", "held")  # of one that is gone, too
    assert (code, "held." in where) == (0, True)


def test_a_server_that_dies_is_explained_in_three_lines(run: Any, installed: Path) -> None:
    profile = installed.parent / "dying.toml"
    text = (PROGRAMS.parents[2] / "launch" / "qwen3-scripted.toml").read_text(encoding="utf-8")
    says = "torch.OutOfMemoryError: CUDA out of memory."
    more = f'FAKE_SGLANG = "die"\nFAKE_SGLANG_SAYS = "{says}"\n'
    profile.write_text(text + more, encoding="utf-8")
    code, stdout, said = run("server", "start", str(profile), "-q")
    assert (code, stdout) == (4, "")
    problem, fix = said.splitlines()
    assert "Memory ran out." in problem
    assert "agentkit server plan" in fix


def test_what_cannot_be_started_says_why(cli: Cli, home: Path) -> None:
    outcome = cli("server", "start", "qwen3-scripted")
    assert outcome.code == 4
    assert "needs a model server, and none is installed" in outcome.stderr
    assert "agentkit server install" in outcome.stderr
    outcome = cli("server", "start", "qwen3-14b-awq")
    assert (outcome.code, "It needs a GPU, and none is here" in outcome.stderr) == (4, True)
    outcome = cli("server", "start", "nonsense")
    assert (outcome.code, "No launch profile of a server named" in outcome.stderr) == (2, True)
    outcome = cli("server", "start")
    assert (outcome.code, "agentkit server plan" in outcome.stderr) == (4, True)
    outcome = cli("server", "stop", "qwen3-14b")
    assert (outcome.code, "qwen3-14b is not running" in outcome.stderr) == (2, True)
    outcome = cli("server", "logs")
    assert (outcome.code, "has left no log" in outcome.stderr) == (2, True)


@pytest.mark.parametrize(
    ("gib", "auto"),
    [
        (16, "qwen3-14b-awq with KV cache of 8 bits"),
        (24, "qwen3-14b-awq;"),
        (48, "qwen3-14b;"),
        (80, "qwen3-14b;"),
    ],
)
def test_a_plan_names_the_right_profile(cli: Cli, gib: int, auto: str) -> None:
    outcome = cli("server", "plan", "--vram", str(gib))
    assert outcome.code == 0
    assert f"auto: {auto}" in outcome.stdout
    assert f"a GPU of {gib} GB: {gib}.0 GiB" in outcome.stdout


def test_a_plan_for_one_profile_tells_by_its_code_whether_it_fits(cli: Cli) -> None:
    assert cli("server", "plan", "qwen3-14b-awq", "--vram", "24").code == 0
    outcome = cli("server", "plan", "qwen3-14b", "--vram", "24", "--json")
    assert outcome.code == 4
    plan = json.loads(outcome.stdout)
    assert plan["auto"] == "qwen3-14b-awq"
    assert plan["profiles"][0]["fits"] is False
    assert "Weights take 27.5 GiB" in plan["profiles"][0]["reason"]
    assert cli("server", "plan", "nonsense").code == 2
    assert "auto: qwen3-14b-tp2" in cli("server", "plan", "--vram", "24", "--gpus", "2").stdout


def test_every_profile_is_listed(cli: Cli) -> None:
    outcome = cli("server", "profiles")
    for name in ("qwen3-14b-awq", "qwen3-14b-vllm", "qwen3-scripted", "qwen2.5-coder-1.5b"):
        assert name in outcome.stdout
    names = [one["name"] for one in json.loads(cli("server", "profiles", "--json").stdout)]
    assert len(names) == len(set(names)) == 19


def test_doctor_looks_at_a_server_of_ours(
    cli: Cli, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_ENGINE", "qwen3-scripted")
    outcome = cli("doctor", "--json")
    found = {check["name"]: check for check in json.loads(outcome.stdout)["checks"]}
    assert found["environment"]["message"] == sys.executable
    assert found["weights"]["message"] == str(PROGRAMS)
    monkeypatch.setenv("AGENTKIT_ENGINE", "qwen3-14b")
    outcome = cli("doctor", "--json")
    assert outcome.code == 4
    found = {check["name"]: check for check in json.loads(outcome.stdout)["checks"]}
    assert "does not fit" in found["engine"]["message"]


def test_doctor_probes_the_server(cli: Cli, serve: Any) -> None:
    serve(None)
    outcome = cli("doctor", "--probe", "--json")
    found = {check["name"]: check for check in json.loads(outcome.stdout)["checks"]}
    assert found["tool call, streamed"]["status"] == "ok"
    assert found["cache report"]["group"] == "probes"


def test_a_command_ends_as_soon_as_its_reader_does(run: Any, installed: Path) -> None:
    """`agentkit server logs -f | head` must not go on for ever."""
    log = installed / "logs" / "old.0123456789abcdef.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo\n", encoding="utf-8")
    script = f"'{sys.executable}' -m agentkit server logs -f | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"({script}) & sleep 2; echo three >> '{log}'; wait"],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "one\n"


@pytest.mark.parametrize("command", ["doctor", "server profiles"])
def test_a_table_whose_reader_has_gone_ends_without_a_traceback(command: str, home: Path) -> None:
    script = f"'{sys.executable}' -m agentkit {command} | (exec 0<&-; sleep 4)"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_a_server_of_others_is_shown_with_its_load(cli: Cli, serve: Any, home: Path) -> None:
    server = serve(None)
    [status] = json.loads(cli("server", "status", "--json").stdout)
    assert (status["profile"], status["state"], status["url"]) == (
        "base_url",
        "of others",
        server.url,
    )
    assert (status["running"], status["cache_tokens"]) == (0, 32_768)
    assert "of others" in cli("server", "status").stdout
