"""Calls that want approval, from the command line: nobody there, a yes, a no, a person."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.testing import Answer

Cli = Callable[..., Any]
Serve = Callable[..., Any]

EVIL = Path(__file__).parents[1] / "mcp" / "servers" / "evil.py"
CALL = Answer(calls=[("echo", {"text": "hello"})])


@pytest.fixture(autouse=True)
def careful_server(empty_folder: Path) -> Path:
    """Configure an MCP server whose calls want approval; it notes those it gets."""
    entry = {
        "command": sys.executable,
        "args": [str(EVIL), "good", str(empty_folder)],
        "includeTools": ["echo"],
        "approval": "always",
    }
    file = empty_folder / "mcp_servers.json"
    file.write_text(json.dumps({"mcpServers": {"careful": entry}}), encoding="utf-8")
    return empty_folder / "calls"


def test_with_nobody_there_it_stops_with_code_8_and_goes_on_with_a_yes(
    cli: Cli, serve: Serve, careful_server: Path
) -> None:
    serve([CALL, Answer(text="Said hello.")])
    outcome = cli("run", "Say hello", "--no-plan", "-q")
    assert (outcome.code, outcome.stdout) == (8, "")
    assert "Stopped early (approval): A person has to approve the call of echo." in outcome.stderr
    assert "agentkit resume " in outcome.stderr
    assert not careful_server.exists()

    outcome = cli("resume")
    assert outcome.code == 2
    assert 'Approval: echo(text="hello")' in outcome.stderr
    outcome = cli("resume", "last", "--yes", "-q")
    assert (outcome.code, outcome.stdout) == (0, "Said hello.\n")
    assert careful_server.read_text(encoding="utf-8") == "echo\n"
    outcome = cli("resume", "last", "--yes")
    assert outcome.code == 2
    assert "No paused run 'last'." in outcome.stderr


def test_a_no_and_its_reason_reach_the_model(cli: Cli, serve: Serve, careful_server: Path) -> None:
    server = serve([CALL, Answer(text="Then not.")])
    said = json.loads(cli("run", "Say hello", "--no-plan", "--output", "json", "-q").stdout)
    assert (said["status"], said["stop"]) == ("paused", "approval")
    assert [(one["name"], one["arguments"]) for one in said["waiting"]] == [
        ("echo", {"text": "hello"})
    ]
    outcome = cli("resume", said["run_id"][:6], "--no", "--because", "It is late", "-q")
    assert (outcome.code, outcome.stdout) == (0, "Then not.\n")
    told = server.requests[-1].body["messages"][-1]["content"]
    assert told == "Not run: the person you work for has refused this call: It is late."
    assert not careful_server.exists()


def test_yes_approves_all(cli: Cli, serve: Serve, careful_server: Path) -> None:
    serve([CALL, Answer(text="Said hello.")])
    assert cli("run", "Say hello", "--no-plan", "-q", "--yes").code == 0
    assert careful_server.exists()


def test_what_is_kept_is_for_its_owner_only(cli: Cli, serve: Serve) -> None:
    serve([CALL])
    assert cli("run", "Say hello", "--no-plan", "-q").code == 8
    (kept,) = (Path(os.environ["AGENTKIT_STATE_DIR"]) / "paused").glob("*.json")
    assert kept.stat().st_mode & 0o777 == 0o600


def test_an_unknown_run_is_a_usage_error(cli: Cli) -> None:
    outcome = cli("resume", "abc", "--yes")
    assert outcome.code == 2
    assert "No paused run 'abc'.\n  Fix: Paused runs: none." in outcome.stderr


@pytest.mark.parametrize(
    ("typed", "told", "called"), [("y\n", "hello", True), ("not now\n", "not now", False)]
)
def test_at_a_terminal_a_person_is_asked(
    serve: Serve, careful_server: Path, typed: str, told: str, called: bool
) -> None:
    server = serve([CALL, Answer(text="Done.")])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "agentkit", "run", "Say hello", "--no-plan"]
    with subprocess.Popen(
        command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        seen = b""
        while b"Make this call?" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, typed.replace("\n", "\r").encode())
        while True:  # else it waits for us to read
            try:
                seen += os.read(ours, 4096)
            except OSError:
                break
        assert process.stdout is not None
        assert process.stdout.read() == "Done.\n"
    os.close(ours)
    assert process.returncode == 0
    assert b"Approval: echo" in seen
    assert told in server.requests[-1].body["messages"][-1]["content"]
    assert careful_server.exists() == called
