"""`agentkit mcp` where it is used in a way that cannot work, or where its output goes nowhere."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from agentkit.mcp import write_raw

Cli = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
EVIL = str(Path(__file__).parents[1] / "mcp" / "servers" / "evil.py")
PATIENCE = 120.0
pytestmark = pytest.mark.timeout(2 * PATIENCE)

FILE = Path("mcp_servers.json")


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., None]:
    """Return what writes a file with one server, `evil`, that behaves as its mode says."""

    def write(mode: str = "good", **more: Any) -> None:
        server = {"command": sys.executable, "args": [EVIL, mode, str(tmp_path)], **more}
        FILE.write_text(json.dumps({"mcpServers": {"evil": server}}), "utf-8")

    return write


Entry = Callable[..., None]


@pytest.mark.parametrize("name", ["", " ", "$schema", "servers", "mcpServers"])
def test_a_name_that_means_something_else_is_no_name_of_a_server(cli: Cli, name: str) -> None:
    outcome = cli("mcp", "add", name, "prog")
    assert (outcome.code, f"{name!r} cannot be the name" in outcome.stderr) == (2, True)
    assert not FILE.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["w", "--env", "A=1", "prog"], "The command is '--env', which is an option."),
        (["w", "--", "--env"], "Options come before the name"),
        (["w", "ftp://example.org"], "An address begins with http:// or https://."),
        (["w", ""], "The command is empty."),
        (["w", "--"], "The command is empty."),
    ],
)
def test_a_command_that_cannot_be_one_is_refused(cli: Cli, words: list[str], said: str) -> None:
    outcome = cli("mcp", "add", *words)
    assert (outcome.code, said in outcome.stderr) == (2, True)
    assert not FILE.exists()


def test_a_command_may_follow_two_dashes(cli: Cli) -> None:
    assert cli("mcp", "add", "w", "--", "prog", "-y").code == 0
    assert json.loads(FILE.read_text("utf-8"))["mcpServers"] == {
        "w": {"command": "prog", "args": ["-y"]}
    }


def test_a_key_of_the_file_is_no_server_that_could_be_taken_out(cli: Cli) -> None:
    FILE.write_text('{"$schema": "x", "a": {"command": "prog"}}', "utf-8")
    outcome = cli("mcp", "remove", "$schema")
    assert (outcome.code, "There are: a." in outcome.stderr) == (2, True)
    assert "$schema" in FILE.read_text("utf-8")
    FILE.write_text('{"mcpServers": {"$schema": {"command": "prog"}}}', "utf-8")
    assert cli("mcp", "remove", "$schema").code == 0  # where it is none, it is only in the way
    assert json.loads(FILE.read_text("utf-8")) == {"mcpServers": {}}


def test_a_server_whose_name_would_hide_all_others_is_not_taken_over(cli: Cli) -> None:
    FILE.write_text('{"a": {"command": "prog"}}', "utf-8")
    theirs = {"mcpServers": {"servers": {"command": "x"}, "b": {"command": "y"}}}
    Path("theirs.json").write_text(json.dumps(theirs), "utf-8")
    outcome = cli("mcp", "import", "theirs.json", "--from", "claude")
    assert outcome.code == 0
    assert "server 'servers' of theirs.json left out" in outcome.stderr
    assert json.loads(FILE.read_text("utf-8")) == {"a": {"command": "prog"}, "b": {"command": "y"}}


def test_the_file_keeps_its_shape_whoever_writes_it() -> None:
    before = {"a": {"command": "prog"}}
    write_raw(FILE, before)
    with pytest.raises(Exception, match="cannot be called 'servers' here"):
        write_raw(FILE, {**before, "servers": {"command": "x"}})
    assert json.loads(FILE.read_text("utf-8")) == before
    write_raw(FILE, {"mcpServers": before})  # which is another shape with the same servers
    write_raw(FILE, {"mcpServers": before, "servers": {}})


def test_only_what_is_started_is_said_to_start(cli: Cli, tmp_path: Path) -> None:
    good = {"command": sys.executable, "args": [EVIL, "good", str(tmp_path)]}
    wrong = {"command": "x", "env": {"A": "${SURELY_NOT_SET}"}}
    FILE.write_text(json.dumps({"mcpServers": {"good": good, "wrong": wrong}}), "utf-8")
    assert "Starting good…" in cli("mcp", "list").stderr
    FILE.write_text(json.dumps({"mcpServers": {"wrong": wrong}}), "utf-8")
    assert "Starting" not in cli("mcp", "list").stderr


def test_a_tool_that_is_wanted_and_not_there_fails_the_trial(cli: Cli, entry: Entry) -> None:
    entry(includeTools=["ech0"])
    tried, listed = cli("mcp", "test"), cli("mcp", "list")
    assert (tried.code, listed.code) == (5, 0)
    for outcome in (tried, listed):
        assert "✗ MCP 'evil' has not what 'includeTools' names: ech0." in outcome.stderr
    assert "• MCP 'evil': there is no tool 'ech0' to include" in listed.stderr
    entry(includeTools=["echo"])
    assert cli("mcp", "test").code == 0
    entry(includeTools=["echo", "ech0"], excludeTools=["ech0"])
    assert cli("mcp", "test").code == 0


def test_a_failure_is_told_once(cli: Cli) -> None:
    script = "import sys; sys.exit('no database here')"
    server = {"command": sys.executable, "args": ["-c", script.replace("no data", "no d\\x61ta")]}
    FILE.write_text(json.dumps({"mcpServers": {"a": server}}), "utf-8")
    outcome = cli("mcp", "test")
    assert outcome.code == 5
    assert outcome.stderr.count("no database here") == 1


def test_words_of_another_time_are_not_the_end_of_the_log(cli: Cli, entry: Entry) -> None:
    log = Path(os.environ["AGENTKIT_STATE_DIR"]) / "logs" / "evil.log"
    log.parent.mkdir(parents=True)
    entry()
    for _ in range(2):
        log.write_text("long ago\n", "utf-8")
        assert "long ago" not in cli("mcp", "test").stderr
        FILE.write_text('{"mcpServers": {"evil": {"command": "not-here-at-all"}}}', "utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["logs", "evil"], ["schema"]])
def test_a_full_stdout_is_said_in_a_sentence(
    start: Start, entry: Entry, command: list[str]
) -> None:
    entry()
    log = Path(os.environ["AGENTKIT_STATE_DIR"]) / "logs" / "evil.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line\n", "utf-8")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = start("mcp", *command, stdout=full)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 141
    assert "✗ Nothing can be written to stdout: No space left on device.\n" in said
    assert "bug" not in said


@pytest.mark.parametrize("command", ["mcp test", "mcp list --json", "mcp schema"])
def test_a_closed_stdout_is_said_in_a_sentence(entry: Entry, command: str) -> None:
    entry()
    line = f'"$0" -m agentkit {command} >&-'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 141
    assert done.stderr.endswith("✗ Nothing can be written to stdout: it is closed.\n")


def test_a_closed_stderr_takes_nothing_from_the_answer(entry: Entry) -> None:
    entry()
    done = subprocess.run(
        ["sh", "-c", '"$0" -m agentkit mcp list --json 2>&-', sys.executable],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)[0]["status"]) == (0, "ready")


class _Elsewhere(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Send the client to another origin."""
        self.send_response(307)
        self.send_header("Location", "http://localhost:9/mcp")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - so it is called

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Give the address of a server that is somewhere else now."""
    with HTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/mcp"
        server.shutdown()
        thread.join()


def test_what_a_library_logs_is_not_on_the_terminal(start: Start, elsewhere: str) -> None:
    FILE.write_text(json.dumps({"mcpServers": {"a": {"url": elsewhere}}}), "utf-8")
    process = start("mcp", "test")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 5
    marked = ("Starting", "✗", "  Fix: ")
    assert [line for line in said.splitlines() if not line.startswith(marked)] == []


@pytest.fixture
def asked(entry: Entry, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Start `trust` at a terminal, and wait until it asks."""
    entry()
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "agentkit", "mcp", "trust", "evil"],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1"},
    ) as process:
        os.close(theirs)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(ours, 4096)
        yield process, ours
    os.close(ours)


def _rest(ours: int) -> str:
    seen = b""
    while True:
        try:
            seen += os.read(ours, 4096)
        except OSError:
            return seen.decode()


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("\x03", 130, "Nothing was approved."),
        ("\x04", 8, "Nothing was approved."),
        ("n\r", 8, "Nothing was approved."),
        ("y\r", 0, ""),
        ("", 130, "Interrupted (SIGINT)"),
    ],
)
def test_whoever_is_asked_to_trust_may_say_yes_or_no_or_leave(
    asked: tuple["subprocess.Popen[bytes]", int], typed: str, code: int, said: str
) -> None:
    process, ours = asked
    if typed:
        os.write(ours, typed.encode())
    else:
        process.send_signal(signal.SIGINT)
    assert said in _rest(ours)
    assert process.wait(PATIENCE) == code
    approved = list((Path(os.environ["AGENTKIT_STATE_DIR"]) / "pins").rglob("*.json"))
    assert bool(approved) == (code == 0)
