"""Interpreters in a temporary folder of the test's own, and a search for what they leave."""

import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from agentkit.sandbox import Interpreter, WorkerLimits


def find_processes(folder: Path) -> set[int]:
    """Return every process that stands in the folder or was started for it."""
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue  # ended meanwhile, or a zombie
        if ("_janitor.py" in command and str(folder) in command) or place.startswith(str(folder)):
            found.add(int(entry.name))
    return found


@pytest.fixture
def processes_in() -> Callable[[Path], set[int]]:
    """The search for what an interpreter has started."""
    return find_processes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where interpreters make their folders; empty and without processes after the test."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert find_processes(folder) == set()
    assert list(folder.iterdir()) == []


def plain(limits: WorkerLimits | None = None) -> Interpreter:
    """Return an interpreter at the weakest level."""
    return Interpreter(limits, isolation="process", minimum="process")


@pytest_asyncio.fixture
async def interpreter(place: Path) -> AsyncGenerator[Interpreter]:
    """An interpreter at the weakest level that is closed after the test."""
    opened = plain()
    yield opened
    await opened.aclose()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """A secret in the environment of the host."""
    monkeypatch.setenv("SECRET_TOKEN", "canary-7301")
    assert "SECRET_TOKEN" in os.environ
    return "canary-7301"
