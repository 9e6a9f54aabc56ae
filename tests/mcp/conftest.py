"""Servers to test against, and the proof that none outlives its test."""

import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agentkit.mcp import McpConfig, ServerConfig, ServerState, open_servers
from agentkit.policies import Timeouts
from agentkit.protocols import Tool

SCRIPT = Path(__file__).parent / "servers" / "evil.py"


@dataclass
class Session:
    """Open servers, easy to ask."""

    tools: Mapping[str, Tool]
    states: Mapping[str, ServerState]
    servers: Any

    async def call(self, name: str, /, **arguments: Any) -> str:
        """Call as the loop does: validate, then run."""
        tool = self.tools[name]
        return await tool.call(tool.validate(arguments))


@pytest.fixture
def opened() -> Callable[..., AbstractAsyncContextManager[Session]]:
    """Return what opens servers that were configured by hand."""

    @asynccontextmanager
    async def open_them(*servers: ServerConfig, **options: Any) -> AsyncGenerator[Session]:
        config = McpConfig(servers=servers)
        async with open_servers(config, timeouts=Timeouts(), **options) as found:
            yield Session(
                {tool.spec.name: tool for tool in found.tools},
                {state.name: state for state in found.states},
                found,
            )

    return open_them


@pytest.fixture
def hostile(tmp_path: Path) -> Callable[..., ServerConfig]:
    """Return what configures a server that misbehaves as it is told, and takes notes of it."""

    def make(mode: str = "good", name: str = "evil", **settings: Any) -> ServerConfig:
        args = (str(SCRIPT), mode, str(tmp_path))
        return ServerConfig(name=name, command=sys.executable, args=args, **settings)

    return make


@pytest.fixture
def marked_processes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return what lists the processes that descend from the servers of this test."""
    mark = uuid4().hex
    monkeypatch.setenv("LC_AGENTKIT_TEST_MARK", mark)  # servers inherit what begins with LC_

    def find() -> list[str]:
        entries = Path("/proc").iterdir()
        pids = [int(entry.name) for entry in entries if entry.name.isdecimal()]
        every = [_command_if_marked(pid, mark.encode()) for pid in pids if pid != os.getpid()]
        return [command for command in every if command]

    return find


@pytest.fixture(autouse=True)
def no_server_left(marked_processes: Callable[[], list[str]]) -> Iterator[None]:
    """Fail a test that leaves a process, be it a grandchild in a session of its own."""
    yield
    assert marked_processes() == []


def _command_if_marked(pid: int, mark: bytes) -> str:
    try:
        if mark not in Path(f"/proc/{pid}/environ").read_bytes():
            return ""
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""  # it has ended, or is another user's
