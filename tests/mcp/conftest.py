"""Servers to test against, and the proof that none outlives its test."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agentkit.mcp import McpConfig, ServerConfig

SERVERS = Path(__file__).parent / "servers"

Hostile = Callable[..., ServerConfig]


@pytest.fixture(autouse=True)
def no_server_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Fail a test after which a process lives that descends from one of its servers."""
    mark = uuid4().hex
    monkeypatch.setenv("XDG_TEST_MARK", mark)  # servers inherit what begins with XDG_
    yield mark
    assert marked_processes(mark) == []


def marked_processes(mark: str) -> list[str]:
    """Return the command lines of all processes, but ours, that carry the mark."""
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture
def hostile() -> Hostile:
    """Return what makes the configuration of a server that misbehaves in one way."""

    def make(mode: str, *args: str, name: str = "evil", **settings: Any) -> ServerConfig:
        script = str(SERVERS / "evil.py")
        return ServerConfig(
            name=name, command=sys.executable, args=(script, mode, *args), **settings
        )

    return make


def config(*servers: ServerConfig) -> McpConfig:
    """Return a configuration made by hand."""
    return McpConfig(servers=servers)
