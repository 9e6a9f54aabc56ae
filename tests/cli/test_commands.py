import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.testing import Answer

Cli = Callable[..., Any]
Serve = Callable[..., Any]


def test_tools_are_listed_with_what_they_cost(cli: Cli) -> None:
    outcome = cli("tools", "list")
    assert outcome.code == 0
    for name in ("clock", "time_elsewhere", "fetch", "code_interpreter"):
        assert f" {name} " in outcome.stdout
    names = [tool["name"] for tool in json.loads(cli("tools", "list", "--json").stdout)]
    assert "clock" in names


def test_a_tool_is_shown_as_a_model_sees_it(cli: Cli) -> None:
    assert '"zone"' in cli("tools", "show", "clock").stdout
    said = json.loads(cli("tools", "show", "clock", "--json").stdout)
    assert said["parameters"]["properties"]["zone"]["type"] == "string"


def test_a_tool_is_called_by_hand(cli: Cli) -> None:
    outcome = cli("tools", "call", "code_interpreter", '{"code": "6 * 7"}')
    assert (outcome.code, outcome.stdout) == (0, "42\n")
    outcome = cli("tools", "call", "code_interpreter", "-", "--json", stdin='{"code": "6 * 7"}')
    assert json.loads(outcome.stdout)["text"].strip() == "42"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "No tool named 'nothing'"),
        (["clock", "{"], "not JSON"),
        (["clock", "[]"], "one JSON object"),
        (["clock", '{"zone": "Mars/Base"}'], "Mars/Base"),
    ],
)
def test_a_call_that_makes_no_sense_is_a_usage_error(
    cli: Cli, arguments: list[str], said: str
) -> None:
    outcome = cli("tools", "call", *arguments)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert said in outcome.stderr


def test_no_trace_is_said_and_not_an_error(cli: Cli) -> None:
    outcome = cli("trace", "list")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "No run has left a trace" in outcome.stderr
    outcome = cli("trace", "view")
    assert outcome.code == 2
    assert "No run has left a trace" in outcome.stderr


def test_a_run_is_listed_and_viewed(cli: Cli, serve: Serve) -> None:
    serve([Answer(calls=[("clock", {"zone": "Asia/Tokyo"})]), Answer(text="It is late.")])
    cli("run", "What time is it?", "-q")
    (run,) = json.loads(cli("trace", "list", "--json").stdout)
    assert (run["task"], run["outcome"], run["steps"]) == ("What time is it?", "done", 2)
    assert run["run_id"][:8] in cli("trace", "list").stdout
    shown = cli("trace", "view", run["run_id"][:8]).stdout
    assert 'clock(zone="Asia/Tokyo")' in shown
    assert "It is late." in shown
    lines = cli("trace", "view", "--json").stdout.splitlines()
    assert json.loads(lines[-1])["event"] == "end"


def test_models_are_listed_and_described(cli: Cli) -> None:
    profiles = json.loads(cli("models", "list", "--json").stdout)
    assert sum(profile["default"] for profile in profiles) == 1
    default = profiles[0]["name"]
    assert f"{default} (default)" in cli("models", "list").stdout
    assert f"agentkit models pull {default}" in cli("models", "info").stdout
    assert json.loads(cli("models", "info", default, "--json").stdout)["name"] == default
    outcome = cli("models", "info", "nothing")
    assert outcome.code == 2
    assert default in outcome.stderr


def test_a_name_is_usage_on_the_command_line_and_configuration_in_the_settings(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("models", "pull", "nothing").code == 2
    monkeypatch.setenv("AGENTKIT_WEIGHTS", "nothing")
    assert cli("models", "pull").code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--weights", "nope"],
        ["--mcp", "none.json"],
        ["--base-url", "nonsense"],
        ["--weights", "a.gguf"],
    ],
)
def test_what_the_command_line_names_wrongly_is_usage(cli: Cli, arguments: list[str]) -> None:
    outcome = cli("run", "hello", *arguments, "--output", "json")
    assert outcome.code == 2
    assert json.loads(outcome.stdout)["error"]["kind"] == "InvalidTaskError"


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["models", "info", "nothing"], 2, "InvalidTaskError"),
        (["tools", "show", "nothing"], 2, "UnknownToolError"),
        (["tools", "call", "clock", "{"], 2, "InvalidTaskError"),
        (["tools", "call", "clock", '{"zone": "Nowhere"}'], 2, "ToolInputError"),
        (["mcp", "test", "--file", "none.json"], 3, "ConfigurationError"),
        (["trace", "view", "nothing"], 2, "InvalidTaskError"),
    ],
)
def test_a_program_that_asked_for_json_reads_errors_in_json(
    cli: Cli, arguments: list[str], code: int, kind: str
) -> None:
    outcome = cli(*arguments, "--json")
    assert outcome.code == code
    assert json.loads(outcome.stdout)["error"]["kind"] == kind
    assert outcome.stderr.startswith("✗ ")
    assert cli(*arguments).stdout == ""


def test_a_file_is_pulled_by_looking_at_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    outcome = cli("models", "pull", str(tmp_path / "mine.gguf"))
    assert (outcome.code, outcome.stdout.strip()) == (0, str(tmp_path / "mine.gguf"))
    assert cli("models", "pull", str(tmp_path / "gone.gguf")).code == 2


def test_servers_are_listed_and_a_failing_one_fails_the_test(cli: Cli, empty_folder: Path) -> None:
    assert "There are no MCP servers" in cli("mcp", "list").stderr
    assert json.loads(cli("mcp", "list", "--json").stdout) == []
    servers = {"mcpServers": {"gone": {"command": "no-such-program", "required": True}}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps(servers), encoding="utf-8")
    outcome = cli("mcp", "list")
    assert outcome.code == 0
    assert "failed" in outcome.stdout
    assert "✗ MCP 'gone'" in outcome.stderr
    assert cli("mcp", "test").code == 5
    assert json.loads(cli("mcp", "test", "gone", "--json").stdout)[0]["status"] == "failed"
    assert cli("mcp", "test", "other").code == 2
    assert cli("mcp", "test", "--file", "none.json").code == 3


def test_a_disabled_server_is_not_said_to_work(cli: Cli, empty_folder: Path) -> None:
    servers = {"off": {"command": "x", "disabled": True}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps(servers), encoding="utf-8")
    outcome = cli("mcp", "test", "off")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "'off' is disabled" in outcome.stderr


def test_the_log_of_a_server_is_shown_without_its_secrets(cli: Cli, empty_folder: Path) -> None:
    script = "import os, sys; sys.exit('one\\ntwo: ' + os.environ['API_KEY'])"
    entry = {"command": sys.executable, "args": ["-c", script], "env": {"API_KEY": "s3cr3t-value"}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps({"a": entry}), encoding="utf-8")
    outcome = cli("mcp", "logs", "a")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "has written nothing" in outcome.stderr
    cli("mcp", "list")
    assert cli("mcp", "logs", "a").stdout.splitlines() == ["one", "two: ***"]
    assert cli("mcp", "logs", "a", "-n", "1").stdout.splitlines() == ["two: ***"]
    outcome = cli("mcp", "logs", "b")
    assert outcome.code == 2
    assert "There are: a." in outcome.stderr


def test_the_last_words_of_a_server_are_found_under_any_name(cli: Cli, empty_folder: Path) -> None:
    script = "import sys; sys.exit('no database here')"
    servers = {"a/b": {"command": sys.executable, "args": ["-c", script]}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps(servers), encoding="utf-8")
    assert "  | no database here" in cli("mcp", "test").stderr


def _doctor(cli: Cli) -> tuple[int, dict[tuple[str, str], dict[str, str]]]:
    outcome = cli("doctor", "--json")
    said = json.loads(outcome.stdout)
    assert said["exit_code"] == outcome.code
    return outcome.code, {(one["group"], one["name"]): one for one in said["checks"]}


def test_the_doctor_finds_a_healthy_server(cli: Cli, serve: Serve) -> None:
    serve([])
    code, found = _doctor(cli)
    assert code == 0
    message = found["model", "server"]["message"]
    assert "qwen3-scripted on sglang" in message
    assert "8,192 tokens of context" in message
    assert found["tools", "code_interpreter"]["message"].startswith("6 * 7 gives 42; isolation: ")
    assert found["mcp", "servers"]["message"] == "none configured"
    assert {one["status"] for one in found.values()} == {"ok"}


def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(
    cli: Cli, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_BASE_URL", "http://127.0.0.1:9/v1")
    servers = {"mcpServers": {"gone": {"command": "no-such-program"}}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps(servers), encoding="utf-8")
    code, found = _doctor(cli)
    assert code == 4
    assert found["model", "server"]["status"] == "fail"
    assert found["model", "server"]["fix"]
    assert found["mcp", "gone"]["status"] == "warn"  # a run goes on without it
    shown = cli("doctor")
    assert shown.code == 4
    assert "\n    → " in shown.stdout


def test_the_doctor_fails_for_a_required_server(cli: Cli, serve: Serve, empty_folder: Path) -> None:
    serve([])
    servers = {"mcpServers": {"gone": {"command": "no-such-program", "required": True}}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps(servers), encoding="utf-8")
    assert _doctor(cli)[0] == 5


def test_the_doctor_fails_for_settings_first(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_PLAN", "maybe")
    code, found = _doctor(cli)
    assert code == 3
    assert "AGENTKIT_PLAN" in found["settings", "settings"]["message"]


def test_the_doctor_names_an_engine_that_there_is_not(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_ENGINE", "magic")
    code, found = _doctor(cli)
    assert code == 3
    assert "There is no engine 'magic'" in found["model", "engine"]["message"]
    assert "AGENTKIT_ENGINE" in found["model", "engine"]["fix"]


def test_the_doctor_looks_into_the_weights_and_at_the_folder(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "state").touch()
    monkeypatch.setenv("AGENTKIT_WEIGHTS", str(tmp_path / "empty.gguf"))
    monkeypatch.setenv("AGENTKIT_STATE_DIR", str(tmp_path / "state"))
    code, found = _doctor(cli)
    assert (code, found["model", "weights"]["status"]) == (4, "fail")
    assert "is no GGUF file" in found["model", "weights"]["message"]
    assert found["disk", "traces"]["status"] == "warn"
    assert found["disk", "traces"]["fix"]


def test_without_a_server_the_doctor_looks_at_the_weights(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENTKIT_CACHE_DIR", str(tmp_path / "cache"))
    _, found = _doctor(cli)
    assert found["model", "weights"]["status"] == "warn"
    assert found["model", "weights"]["fix"].startswith("agentkit models pull ")


def test_the_password_of_a_base_url_is_in_no_output(
    cli: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve([Answer(text="Hello.")])
    monkeypatch.setenv("AGENTKIT_BASE_URL", server.base_url.replace("//", "//me:hidden-word@"))
    code, found = _doctor(cli)
    assert (code, found["model", "server"]["status"]) == (0, "ok")
    assert server.base_url in found["model", "server"]["message"]
    assert "hidden" not in json.dumps(list(found.values()))
    outcome = cli("run", "hello", "--output", "json")
    assert outcome.code == 0
    assert "hidden" not in outcome.stdout + outcome.stderr


def test_the_last_lines_of_a_failing_server_are_shown_short_and_without_secrets(
    cli: Cli, empty_folder: Path
) -> None:
    words = "print('x' * 5000, 'the key is s3cr3t-value', sep='\\n', file=sys.stderr)"
    server = {
        "command": sys.executable,
        "args": ["-c", f"import sys; {words}"],
        "env": {"API_KEY": "s3cr3t-value"},
    }
    (empty_folder / "mcp_servers.json").write_text(json.dumps({"a": server}), encoding="utf-8")
    outcome = cli("mcp", "test")
    assert outcome.code == 5
    assert "  | the key is ***" in outcome.stderr
    assert "s3cr3t" not in outcome.stderr
    assert max(len(line) for line in outcome.stderr.splitlines()) < 1000
