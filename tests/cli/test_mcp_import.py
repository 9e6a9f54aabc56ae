"""`agentkit mcp import`: what is written, what is left alone, and what is said."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
EVIL = Path(__file__).parents[1] / "mcp" / "servers" / "evil.py"


@pytest.fixture
def put(
    empty_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, object], Path]:
    """Return what writes a file into the working folder, or into a home of the person's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))

    def write(name: str, content: object) -> Path:
        path = tmp_path / "me" / name[2:] if name.startswith("~/") else empty_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    return write


Put = Callable[[str, object], Path]


def written(folder: Path, name: str = "mcp_servers.json") -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def test_servers_of_a_file_are_taken_over_and_work(cli: Cli, put: Put, empty_folder: Path) -> None:
    good = {"type": "stdio", "command": sys.executable, "args": [str(EVIL), "changing"]}
    put(".vscode/mcp.json", {"servers": {"good": good}})
    outcome = cli("mcp", "import", ".vscode/mcp.json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "✓ good  from .vscode/mcp.json\n"
    assert "Took over 1 server into mcp_servers.json." in outcome.stderr
    assert written(empty_folder) == {"mcpServers": {"good": good}}
    assert (empty_folder / "mcp_servers.json").stat().st_mode & 0o777 == 0o600
    assert cli("mcp", "test", "good").code == 0


def test_a_host_is_looked_for_in_the_folder_and_at_home(
    cli: Cli, put: Put, empty_folder: Path
) -> None:
    put(".cursor/mcp.json", {"mcpServers": {"a": {"command": "here"}}})
    home = {"a": {"command": "home"}, "b": {"command": "home"}}
    put("~/.cursor/mcp.json", {"mcpServers": home})
    outcome = cli("mcp", "import", "cursor", "--file", "mine.json")
    assert outcome.code == 0
    servers = written(empty_folder, "mine.json")["mcpServers"]
    assert servers == {"a": {"command": "here"}, "b": {"command": "home"}}
    assert f"left out: that of {empty_folder / '.cursor/mcp.json'} stays." in outcome.stderr


def test_a_broken_file_of_a_host_does_not_hide_its_others(cli: Cli, put: Put) -> None:
    put(".vscode/settings.json", "{ broken")
    put(".vscode/mcp.json", {"servers": {"a": {"command": "x"}}})
    outcome = cli("mcp", "import", "vscode")
    assert outcome.code == 0
    assert "settings.json:1:3: not valid JSON" in outcome.stderr


def test_what_is_there_stays_unless_it_is_to_be_replaced(
    cli: Cli, put: Put, empty_folder: Path
) -> None:
    ours: dict[str, Any] = {
        "note": "ours",
        "servers": {"a": {"command": "ours"}, "z": {"command": "z"}},
    }
    put("mcp_servers.json", ours)
    clear = {"command": "theirs", "env": {"TOKEN": "s3cr3t-value"}}
    put(".mcp.json", {"mcpServers": {"a": clear, "b": {"command": "b"}}})
    outcome = cli("mcp", "import", "claude")
    assert outcome.code == 0
    assert "server 'a' of" in outcome.stderr
    assert "yours stays. Use --replace" in outcome.stderr
    assert "env.TOKEN" not in outcome.stderr  # it was not taken over
    assert list(written(empty_folder)["servers"].items()) == [
        *ours["servers"].items(),
        ("b", {"command": "b"}),
    ]
    outcome = cli("mcp", "import", ".mcp.json", "--replace")
    assert written(empty_folder)["servers"]["a"] == clear
    assert written(empty_folder)["note"] == "ours"
    assert "server 'a': env.TOKEN holds a secret in clear; better write ${TOKEN}" in outcome.stderr
    assert "s3cr3t" not in outcome.stderr + outcome.stdout


def test_nothing_new_is_nothing_written(cli: Cli, put: Put) -> None:
    path = put("mcp_servers.json", '{"a": {"command": "ours"}}')
    put("theirs.json", {"mcpServers": {"a": {"command": "theirs"}}})
    outcome = cli("mcp", "import", "theirs.json")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "Nothing was taken over." in outcome.stderr
    assert path.read_text("utf-8") == '{"a": {"command": "ours"}}'


def test_a_dry_run_says_it_and_writes_nothing(cli: Cli, put: Put, empty_folder: Path) -> None:
    put("theirs.json", {"mcpServers": {"a": {"httpUrl": "http://h/mcp"}}})
    outcome = cli("mcp", "import", "theirs.json", "--dry-run")
    assert (outcome.code, outcome.stdout) == (0, "• a  from theirs.json\n")
    assert "Nothing was written" in outcome.stderr
    assert not (empty_folder / "mcp_servers.json").exists()


def test_what_a_server_still_needs_is_said(cli: Cli, put: Put) -> None:
    inputs = [{"id": "api-key", "type": "promptString", "description": "The key", "password": True}]
    servers = {"a": {"command": "x", "env": {"KEY": "${input:api-key}"}}, "b": {"args": ["x"]}}
    put(".vscode/mcp.json", {"inputs": inputs, "servers": servers})
    outcome = cli("mcp", "import", "vscode")
    assert outcome.code == 0
    assert "• Set the variable API_KEY, a password: The key." in outcome.stderr
    assert (
        "server 'a' cannot be used yet: env.KEY: the variable API_KEY is not set" in outcome.stderr
    )
    assert "server 'b' cannot be used yet" in outcome.stderr
    assert "needs either 'command' or 'url'" in outcome.stderr


def test_whose_file_it_is_may_be_said(cli: Cli, put: Put, empty_folder: Path) -> None:
    put("theirs.json", {"mcpServers": {"a": {"url": "http://h/x"}}})
    assert cli("mcp", "import", "theirs.json", "--from", "qwen-agent").code == 0
    assert written(empty_folder)["mcpServers"]["a"] == {"url": "http://h/x", "type": "sse"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["theirs.json", "--from", "emacs"], 2, "emacs"),
        (["cursor", "--from", "vscode"], 2, "SOURCE is 'cursor', but --from is 'vscode'."),
        (["theirs.json", "--file", "./theirs.json"], 2, "is the file that servers are taken"),
        (["none.json"], 3, "one of claude, vscode, cursor, gemini, qwen-agent"),
        (["broken.json"], 3, "broken.json:1:3: not valid JSON"),
        (["theirs.json", "--file", "broken.json"], 3, "broken.json:1:3: not valid JSON"),
        (["theirs.json", "--file", "none/mine.json"], 3, "cannot be written"),
        (["empty.json"], 3, "there are no MCP servers in it, read as a file of claude"),
        (["gemini"], 3, ".gemini/settings.json"),
        (["qwen-agent"], 3, "agentkit mcp import FILE --from qwen-agent"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_code(
    cli: Cli, put: Put, arguments: list[str], code: int, said: str
) -> None:
    put("theirs.json", {"mcpServers": {"a": {"command": "x"}}})
    put("broken.json", "{ a")
    put("empty.json", {"mcpServers": {}})
    outcome = cli("mcp", "import", *arguments)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert said in outcome.stderr


def test_help_names_every_host(cli: Cli) -> None:
    from agentkit.mcp import KINDS

    assert "|".join(KINDS) in cli("mcp", "import", "--help").stdout
