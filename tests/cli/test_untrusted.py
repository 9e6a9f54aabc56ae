"""What a command with nobody there does not do any more once it has read what is untrusted."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.testing import Answer

Cli = Callable[..., Any]
Serve = Callable[..., Any]

EVIL = Path(__file__).parents[1] / "mcp" / "servers" / "evil.py"
TURNS = [
    Answer(calls=[("echo", {"text": "hello"})]),
    Answer(calls=[("echo", {"text": "again"})]),
    "Said it.",
]


@pytest.fixture
def configured(empty_folder: Path) -> Callable[..., Path]:
    """Return what configures a server; it notes the calls it gets."""

    def configure(**settings: Any) -> Path:
        args = [str(EVIL), "good", str(empty_folder)]
        entry = {"command": sys.executable, "args": args, "includeTools": ["echo"], **settings}
        file = empty_folder / "mcp_servers.json"
        file.write_text(json.dumps({"mcpServers": {"one": entry}}), encoding="utf-8")
        return empty_folder / "calls"

    return configure


def test_what_was_not_called_is_named_at_the_end(
    cli: Cli, serve: Serve, configured: Callable[..., Path]
) -> None:
    calls = configured()
    server = serve(TURNS)
    outcome = cli("run", "Say hello", "--no-plan")
    assert outcome.code == 0
    assert "untrusted: the run has read echo" in outcome.stderr
    assert "1 call not made after reading echo: echo" in outcome.stderr
    assert calls.read_text(encoding="utf-8").split() == ["echo"]
    said = server.requests[-1].body["messages"][-1]["content"]
    assert said.startswith("Not run: this run has read untrusted content (echo)")
    shown = cli("trace", "view", "last")
    assert "untrusted the run has read echo" in shown.stdout


def test_a_program_reads_it_as_json(
    cli: Cli, serve: Serve, configured: Callable[..., Path]
) -> None:
    configured()
    serve(TURNS)
    said = json.loads(cli("run", "Say hello", "--no-plan", "--output", "json").stdout)
    assert (said["status"], said["untrusted"], said["held_back"]) == ("ok", ["echo"], ["echo"])


@pytest.mark.parametrize("rule", ["setting", "server", "trusted", "yes", "policy"])
def test_a_rule_of_the_person_lets_it_be_called(
    cli: Cli,
    serve: Serve,
    configured: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
) -> None:
    entry = {"server": {"autoApprove": ["echo"]}, "trusted": {"trusted": True}}
    if rule == "policy":
        monkeypatch.setenv("AGENTKIT_UNTRUSTED", "allow")
    if rule == "setting":
        monkeypatch.setenv("AGENTKIT_ALLOW_TOOLS", "send, echo")
    calls = configured(**entry.get(rule, {}))
    serve(TURNS)
    yes = ["--yes"] if rule == "yes" else []
    said = json.loads(cli("run", "Hello", "--no-plan", "--output", "json", *yes).stdout)
    assert said["held_back"] == []
    assert calls.read_text(encoding="utf-8").split() == ["echo"] * 2
