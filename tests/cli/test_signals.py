import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal

from agentkit.cli import app
from agentkit.cli._signals import Stopper
from agentkit.testing import Answer, FakeSGLang, Fault

Cli = Callable[..., Any]
Serve = Callable[..., FakeSGLang]
Meanwhile = Callable[[Callable[[], Awaitable[None]]], None]


def _is_asked(server: FakeSGLang) -> bool:
    return bool(server.requests)


def _is_left(server: FakeSGLang) -> bool:
    return server.disconnects == 1


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Awaitable[None]]:
    """Send a signal, and wait until it has been heard."""
    numbers: list[int] = []
    hear = Stopper._hear

    def spy(self: Stopper, number: int) -> None:
        hear(self, number)
        numbers.append(number)

    async def send(number: int) -> None:
        before = len(numbers)
        _send(number)
        while len(numbers) == before:
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(Stopper, "_hear", spy)
    return send


def test_ctrl_c_once_lets_the_step_end(
    cli: Cli, serve: Serve, meanwhile: Meanwhile, heard: Any
) -> None:
    call = ("clock", {"zone": "Asia/Tokyo"})
    server = serve(Answer(calls=[call], fault=Fault("stall", after=1)))

    async def interrupt() -> None:
        await server.wait_until(_is_asked)
        await heard(signal.SIGINT)
        server.release()

    meanwhile(interrupt)
    outcome = cli("run", "work", "--output", "json")
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["stop"], said["status"]) == (130, "cancelled", "cancelled")
    assert (said["steps"], said["calls"]) == (1, 1)
    assert "Stopping after this step. Press Ctrl-C again to stop now." in outcome.stderr
    assert "result: clock ok" in outcome.stderr


def test_ctrl_c_that_an_answer_overtakes_is_a_success(
    cli: Cli, serve: Serve, meanwhile: Meanwhile, heard: Any
) -> None:
    server = serve(Answer(text="Hello.", fault=Fault("stall", after=1)))

    async def interrupt() -> None:
        await server.wait_until(_is_asked)
        await heard(signal.SIGINT)
        server.release()

    meanwhile(interrupt)
    outcome = cli("run", "hello")
    assert (outcome.code, outcome.stdout) == (0, "Hello.\n")


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGTERM], 143),
    ],
)
def test_the_model_is_let_go_at_once(
    cli: Cli,
    serve: Serve,
    portal: BlockingPortal,
    meanwhile: Meanwhile,
    heard: Any,
    numbers: list[int],
    code: int,
) -> None:
    server = serve(Answer(text="one two three four", fault=Fault("stall", after=4)))

    async def interrupt() -> None:
        await server.wait_until(_is_asked)
        for number in numbers:
            await heard(number)

    meanwhile(interrupt)
    outcome = cli("run", "count", "--output", "json")
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["stop"], said["status"]) == (code, "cancelled", "cancelled")
    assert "Stopping now." in outcome.stderr
    portal.call(server.wait_until, _is_left)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_run_begins_is_told_to_programs(
    cli: Cli, serve: Serve, meanwhile: Meanwhile, empty_folder: Path, number: int, code: int
) -> None:
    serve([])
    up = empty_folder / "up"
    os.mkfifo(up)
    mute = {"command": "sh", "args": ["-c", f"echo up > {up}; exec sleep 60"]}
    servers = {"mcpServers": {"mute": mute}}
    (empty_folder / "mcp_servers.json").write_text(json.dumps(servers), encoding="utf-8")

    async def interrupt() -> None:
        await to_thread.run_sync(up.read_text)  # now the command waits for its server
        _send(number)

    meanwhile(interrupt)
    outcome = cli("run", "hello", "--output", "json")
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["status"], said["run_id"]) == (code, "cancelled", None)


@pytest.mark.parametrize("output", ["text", "jsonl"])
def test_a_reader_that_leaves_is_no_bug(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
) -> None:
    serve([Answer(text="word " * 50)])
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            app(["run", "talk", "--output", output])
    assert ended.value.code == 141
    assert "✗" not in capsys.readouterr().err


def test_a_signal_that_the_caller_ignores_stops_nothing(
    cli: Cli, serve: Serve, meanwhile: Meanwhile
) -> None:
    server = serve(Answer(text="Hello.", fault=Fault("stall", after=1)))

    async def hang_up() -> None:
        await server.wait_until(_is_asked)
        _send(signal.SIGHUP)
        server.release()

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        meanwhile(hang_up)
        outcome = cli("run", "hello")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (outcome.code, outcome.stdout) == (0, "Hello.\n")
