import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from typer.testing import CliRunner

from agentkit.cli import app
from agentkit.testing import FakeSGLang

Serve: TypeAlias = Callable[..., FakeSGLang]
Start: TypeAlias = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where neither settings nor servers lie around, and without colour."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return folder


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """Give a loop beside the test, which may then block."""
    with start_blocking_portal("asyncio") as portal:
        yield portal


@pytest.fixture
def serve(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a fake model server beside the test and point settings to it."""
    with ExitStack() as stack:

        def start(script: Any, **options: Any) -> FakeSGLang:
            server = FakeSGLang(script, **options)
            stack.enter_context(portal.wrap_async_context_manager(server))
            monkeypatch.setenv("AGENTKIT_BASE_URL", server.base_url)
            return server

        yield start


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Let a command block the loop: it is its own, and nobody else waits in it."""


@pytest.fixture
def meanwhile(portal: BlockingPortal) -> Iterator[Callable[[Callable[[], Awaitable[None]]], None]]:
    """Do something beside the command that the test waits for."""
    with ExitStack() as stack:

        def begin(work: Callable[[], Awaitable[None]]) -> None:
            stack.callback(portal.start_task_soon(work).cancel)

        yield begin


class Outcome:
    """What a command has left."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr


@pytest.fixture
def cli() -> Callable[..., Outcome]:
    """Run a command in this process."""

    def invoke(*arguments: str, stdin: str | bytes | None = None) -> Outcome:
        result = CliRunner().invoke(app, arguments, input=stdin, prog_name="agentkit")
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command in a process of its own; whatever is left is killed."""
    with ExitStack() as stack:

        def popen(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
            environment = {**os.environ, "PYTHONWARNINGS": "ignore", **options.pop("env", {})}
            for stream in ("stdin", "stdout", "stderr"):
                options.setdefault(stream, subprocess.PIPE)
            process = subprocess.Popen(
                [sys.executable, "-m", "agentkit", *arguments],
                env=environment,
                text=True,
                **options,
            )
            stack.callback(_end, process)
            return process

        yield popen


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            stream.close()
