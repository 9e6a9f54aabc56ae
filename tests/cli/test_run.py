import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit.cli import _perform
from agentkit.cli._view import View
from agentkit.errors import EngineError
from agentkit.events import Event, TextDelta
from agentkit.testing import Answer, Fault

Cli = Callable[..., Any]
Serve = Callable[..., Any]

_CLOCK = Answer(calls=[("clock", {"zone": "Asia/Tokyo"})])


def test_the_answer_alone_is_on_stdout(cli: Cli, serve: Serve) -> None:
    serve([_CLOCK, Answer(text="It is late.", thinking="I saw the clock.")])
    outcome = cli("run", "What time is it?")
    assert (outcome.code, outcome.stdout) == (0, "It is late.\n")
    assert 'call: clock(zone="Asia/Tokyo")' in outcome.stderr
    assert "result: clock ok" in outcome.stderr
    assert "thinking: I saw the clock." in outcome.stderr
    assert "2 steps · 1 call" in outcome.stderr
    assert "\x1b" not in outcome.stderr


def test_quiet_leaves_stderr_empty(cli: Cli, serve: Serve) -> None:
    serve([Answer(text="Hello.")])
    outcome = cli("run", "Say hello", "--quiet")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "Hello.\n", "")


def test_a_task_can_come_from_stdin(cli: Cli, serve: Serve) -> None:
    server = serve([Answer(text="Hello.")])
    assert cli("run", "-", "-q", stdin="Say hello\n").code == 0
    assert server.requests[0].body["messages"][-1]["content"] == "Say hello"


@pytest.mark.parametrize("arguments", [["run"], ["run", "-"], ["run", "  "]])
def test_an_empty_task_is_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    outcome = cli(*arguments, stdin=" \n")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("✗ There is no task.\n  Fix: ")


def test_json_tells_everything_in_one_object(cli: Cli, serve: Serve) -> None:
    serve([_CLOCK, Answer(text="It is late.")])
    outcome = cli("run", "What time is it?", "--output", "json", "-q")
    said = json.loads(outcome.stdout)
    assert outcome.code == 0
    assert list(said) == [
        "schema_version",
        "status",
        "stop",
        "text",
        "run_id",
        "usage",
        "steps",
        "calls",
        "seconds",
        "error",
        "trace",
        "mcp",
        "waiting",
        "untrusted",
        "held_back",
    ]
    assert (said["status"], said["stop"], said["text"]) == ("ok", "done", "It is late.")
    assert (said["steps"], said["calls"], said["error"]) == (2, 1, None)
    assert said["usage"]["requests"] == 2
    events = [
        json.loads(line)["event"]
        for line in Path(said["trace"]).read_text(encoding="utf-8").splitlines()
    ]
    assert (events[0], events[-1]) == ("run", "end")


def test_jsonl_is_the_stream_of_events(cli: Cli, serve: Serve) -> None:
    serve([Answer(text="Hello there.")])
    outcome = cli("run", "Say hello", "--output", "jsonl", "-q")
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert events[0]["event"] == "run"
    assert events[-1]["event"] == "end"
    said = "".join(event["text"] for event in events if event["event"] == "text")
    assert said == "Hello there."


def test_an_empty_answer_is_no_success(cli: Cli, serve: Serve) -> None:
    serve(Answer(fault="empty"))
    outcome = cli("run", "Say hello", "--output", "json", "-q")
    said = json.loads(outcome.stdout)
    assert outcome.code == 7
    assert said["status"] == "failed"
    assert said["error"]["message"]


def test_a_server_that_is_down_gives_three_lines_and_4(cli: Cli) -> None:
    outcome = cli("run", "hello", "--base-url", "http://127.0.0.1:9/v1", "-q")
    assert (outcome.code, outcome.stdout) == (4, "")
    assert "http://127.0.0.1:9/v1" in outcome.stderr
    assert "  Fix: " in outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 3


def test_what_could_not_begin_is_json_too_when_asked_for(cli: Cli) -> None:
    outcome = cli("run", "x", "--base-url", "http://127.0.0.1:9/v1", "-q", "--output", "json")
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["status"], said["run_id"]) == (4, "failed", None)
    assert said["error"]["kind"] == "ModelUnavailableError"
    outcome = cli("run", "x", "--base-url", "http://127.0.0.1:9/v1", "-q", "--output", "jsonl")
    assert json.loads(outcome.stdout)["event"] == "error"


def test_a_refused_request_fails_the_run_with_4(cli: Cli, serve: Serve) -> None:
    serve(Answer(fault=Fault("status", status=400)))
    outcome = cli("run", "hello", "-q")
    assert (outcome.code, outcome.stdout) == (4, "")
    assert outcome.stderr.startswith("✗ ")


def test_retries_are_told(cli: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_RETRY__FIRST_DELAY", "0")
    serve([Answer(fault=Fault("status", status=503)), Answer(text="Here.")])
    outcome = cli("run", "hello")
    assert (outcome.code, outcome.stdout) == (0, "Here.\n")
    assert "retry: attempt 2 in " in outcome.stderr


def test_a_limit_ends_with_6_and_says_how_to_raise_it(cli: Cli, serve: Serve) -> None:
    serve(_CLOCK)
    outcome = cli("run", "What time is it?", "--max-steps", "1", "-q")
    assert outcome.code == 6
    assert "--max-steps" in outcome.stderr


def test_a_deadline_ends_with_6(cli: Cli, serve: Serve) -> None:
    serve(Answer(text="never", fault=Fault("stall")))
    outcome = cli("run", "hello", "--timeout", "0.2", "-q", "--output", "json")
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["status"], said["stop"]) == (6, "limit", "deadline")


def test_bad_settings_end_with_3(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_ENGINE", "magic")
    outcome = cli("run", "hello")
    assert outcome.code == 3
    assert "AGENTKIT_ENGINE" in outcome.stderr


def test_a_broken_server_file_ends_with_3(cli: Cli, serve: Serve, empty_folder: Path) -> None:
    serve([])
    (empty_folder / "mcp_servers.json").write_text("{", encoding="utf-8")
    outcome = cli("run", "hello")
    assert outcome.code == 3
    assert "mcp_servers.json" in outcome.stderr


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "no-such-program"},
        {"command": "sh", "env": {"TOKEN": "${NOT_SET_ANYWHERE}"}},
        {"command": ["sh"]},
    ],
)
def test_a_required_server_that_is_missing_ends_with_5(
    cli: Cli, serve: Serve, empty_folder: Path, entry: dict[str, Any]
) -> None:
    serve([])
    servers = {"mcpServers": {"gone": {**entry, "required": True}}}
    (empty_folder / "mine.json").write_text(json.dumps(servers), encoding="utf-8")
    outcome = cli("run", "hello", "--mcp", "mine.json")
    assert outcome.code == 5
    assert "gone" in outcome.stderr


def test_a_server_that_is_missing_is_named_and_the_run_goes_on(
    cli: Cli, serve: Serve, empty_folder: Path
) -> None:
    serve([Answer(text="Hello.")])
    servers = {"mcpServers": {"gone": {"command": "no-such-program"}}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps(servers), encoding="utf-8")
    outcome = cli("run", "hello", "--output", "json")
    said = json.loads(outcome.stdout)
    assert outcome.code == 0
    assert [(one["name"], one["status"]) for one in said["mcp"]] == [("gone", "failed")]
    assert "✗ MCP 'gone'" in outcome.stderr


@pytest.mark.parametrize(
    "arguments", [["--engine", "magic"], ["--max-steps", "0"], ["--output", "xml"], ["--nope"]]
)
def test_a_wrong_option_is_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    assert cli("run", "hello", *arguments).code == 2


def test_thinking_can_be_turned_off(cli: Cli, serve: Serve) -> None:
    server = serve([Answer(text="Hello.", thinking="hm")])
    assert cli("run", "hello", "--no-thinking", "-q").code == 0
    body = server.requests[0].body
    assert body["chat_template_kwargs"]["enable_thinking"] is False


def test_control_characters_of_a_tool_do_not_reach_the_screen(cli: Cli, serve: Serve) -> None:
    call = ("code_interpreter", {"code": "print('\\x1b[2J gone')"})
    serve([Answer(calls=[call]), Answer(text="done")])
    outcome = cli("run", "clear the screen")
    assert outcome.code == 0
    assert "\x1b" not in outcome.stderr


def test_a_bug_says_so_and_where(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("agentkit.settings.read_settings", broken)
    outcome = cli("run", "hello")
    assert outcome.code == 1
    assert len(outcome.stderr.splitlines()) == 3
    assert "ZeroDivisionError in " in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "Traceback" in cli("run", "hello", "--verbose").stderr


@pytest.mark.parametrize("command", [["run", "-"], ["run"], ["tools", "call", "clock", "-"]])
def test_input_that_is_not_utf_8_is_a_usage_error_with_its_place(
    cli: Cli, command: list[str]
) -> None:
    outcome = cli(*command, stdin=b"one\ncaf\xe9")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "is not UTF-8: byte 7 (0xe9, line 2)" in outcome.stderr
    assert "  Fix: " in outcome.stderr
    assert "bug" not in outcome.stderr


def test_a_closed_stdin_is_no_task(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.cli._stdin.is_open", lambda: False)
    outcome = cli("run")
    assert outcome.code == 2
    assert "There is no task." in outcome.stderr


@pytest.fixture
def lose_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose the engine as soon as the model has begun to write, as the embedded one is lost."""
    opened, look = _perform.open_runtime, _perform.view_for
    said: list[anyio.Event] = []

    @asynccontextmanager
    async def losing(*given: Any, **options: Any) -> AsyncGenerator[Any]:
        said.append(anyio.Event())
        scope = anyio.CancelScope()

        async def watch() -> None:
            await said[0].wait()
            scope.cancel()

        async with opened(*given, **options) as runtime, anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            with scope:
                yield runtime
        raise EngineError("The engine is gone.")

    def watching(**options: Any) -> View:
        view = look(**options)
        show = view.event

        def event(happened: Event) -> None:
            show(happened)
            if isinstance(happened, TextDelta):
                said[0].set()

        monkeypatch.setattr(view, "event", event)
        return view

    monkeypatch.setattr(_perform, "open_runtime", losing)
    monkeypatch.setattr(_perform, "view_for", watching)


@pytest.mark.usefixtures("lose_engine")
def test_an_engine_lost_in_the_middle_leaves_a_document_with_what_there_was(
    cli: Cli, serve: Serve
) -> None:
    serve([Answer(text="It is late in Tokyo.", fault=Fault("stall", after=3))])
    outcome = cli("run", "What time is it?", "--output", "json", "-q")
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["status"], said["stop"]) == (4, "failed", "failed")
    assert said["error"]["kind"] == "EngineError"
    assert said["error"]["message"] == "The engine is gone."
    assert said["text"].startswith("It")
    assert said["steps"] == 1
    assert said["run_id"] in Path(said["trace"]).name


@pytest.mark.usefixtures("lose_engine")
def test_an_engine_lost_in_the_middle_ends_the_stream_of_events_with_the_error(
    cli: Cli, serve: Serve
) -> None:
    serve([Answer(text="It is late in Tokyo.", fault=Fault("stall", after=3))])
    outcome = cli("run", "What time is it?", "--output", "jsonl", "-q")
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert outcome.code == 4
    assert (events[-1]["event"], events[-1]["kind"]) == ("error", "EngineError")
    assert events[-1]["run_id"] == events[0]["run_id"]


def test_a_program_is_told_of_a_task_that_is_none(cli: Cli) -> None:
    outcome = cli("run", " ", "--output", "json")
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["status"], said["stop"]) == (2, "failed", "failed")
    assert said["error"]["message"] == "There is no task."
    outcome = cli("run", " ", "--output", "jsonl")
    assert json.loads(outcome.stdout)["kind"] == "InvalidTaskError"


def test_a_picture_goes_along(cli: Cli, serve: Serve, empty_folder: Path) -> None:
    server = serve([Answer(text="A cat.")])
    (empty_folder / "cat").write_bytes(b"\x89PNG\r\n\x1a\n...")
    assert cli("run", "What is it?", "--image", "cat", "-q", "--no-mcp").code == 0
    kinds = [part["type"] for part in server.requests[0].body["messages"][-1]["content"]]
    assert kinds == ["image_url", "text"]


@pytest.mark.parametrize(
    ("content", "told"), [(b"%PDF", "it is no PNG"), (None, "No such file or directory")]
)
def test_what_is_no_picture_is_a_usage_error(
    cli: Cli, empty_folder: Path, content: bytes | None, told: str
) -> None:
    if content is not None:
        (empty_folder / "cat").write_bytes(content)
    outcome = cli("run", "What is it?", "--image", "cat")
    assert outcome.code == 2
    assert told in outcome.stderr
