"""`agentkit serve` as a command: wrong options, approvals, and a signal before it serves."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agentkit.testing import Answer, FakeSGLang

if TYPE_CHECKING:
    import subprocess

Cli = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
Serve = Callable[..., FakeSGLang]

REQUESTS: tuple[dict[str, Any], ...] = (
    {
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    },
    {
        "id": 2,
        "method": "tools/call",
        "params": {"name": "run_task", "arguments": {"task": "What time is it?"}},
    },
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Which protocol? MCP is the only one so far."),
        (["--http", "8000"], "Which protocol? MCP is the only one so far."),
        (["--mcp", "--http", "70000"], "'--http': Input should be less than or equal to 65535"),
        (["--mcp", "--concurrency", "0"], "'--concurrency'"),
        (["--mcp", "--mcp-servers", "nowhere.json"], "there is no file nowhere.json"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(cli: Cli, arguments: list[str], message: str) -> None:
    outcome = cli("serve", *arguments)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert message in outcome.stderr


def test_a_port_that_is_taken_is_named_before_a_model_is_looked_for(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = cli("serve", "--mcp", "--http", str(port))
    assert outcome.code == 3
    assert f"Port {port} cannot be used: Address already in use" in outcome.stderr


def test_a_signal_while_an_mcp_server_starts_ends_both(
    start: Start, serve: Serve, empty_folder: Path
) -> None:
    serve([])
    sign = empty_folder / "sign"
    os.mkfifo(sign)
    mute = {"command": "sh", "args": ["-c", f"echo $$ > {sign}; exec sleep 600"]}
    Path("mcp_servers.json").write_text(json.dumps({"mute": mute}), encoding="utf-8")
    process = start("serve", "--mcp")
    server = int(sign.read_text(encoding="utf-8"))
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (143, "")
    assert "Traceback" not in stderr
    assert not Path(f"/proc/{server}").exists()


@pytest.mark.parametrize(("flags", "stop"), [([], "approval"), (["--yes"], "done")])
def test_a_call_that_wants_approval_is_made_with_yes_alone(
    start: Start, serve: Serve, flags: list[str], stop: str
) -> None:
    serve([Answer(calls=[("own__clock", {"zone": "UTC"})]), "It is noon."][: 2 if flags else 1])
    own = {"command": sys.executable, "args": ["-m", "agentkit_tools", "clock"]}
    file = Path("own.json")
    file.write_text(json.dumps({"own": {**own, "approval": "always", "prefix": True}}), "utf-8")
    process = start("serve", "--mcp", "--no-plan", "--mcp-servers", str(file), *flags)
    assert process.stdin is not None
    assert process.stdout is not None
    for request in REQUESTS:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **request}) + "\n")
        process.stdin.flush()
    answers = [json.loads(process.stdout.readline()) for _ in REQUESTS]
    process.communicate()
    assert process.returncode == 0
    assert answers[1]["result"]["structuredContent"]["stop"] == stop
