"""Agents to serve, clients that ask them, and the proof that no process outlives its test."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio.abc import Process
from mcp import Client

from agentkit import Agent, Policy
from agentkit.serve import make_server
from agentkit.toolkit import Registry

MakeAgent = Callable[..., Agent]
Connect = Callable[..., AbstractAsyncContextManager[Client]]
StartProcess = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def make_agent() -> MakeAgent:
    """Return a maker of agents: model, tools, and any field of `Agent`."""

    def make(model: Any, *tools: Any, **fields: Any) -> Agent:
        fields = {"name": "helper", "policy": Policy(), "plan": False} | fields
        return Agent(model=model, registry=Registry(tools), **fields)

    return make


@pytest.fixture(params=["auto", "legacy"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return what connects the SDK's client to an agent, in this process, in either protocol era."""

    @asynccontextmanager
    async def open_client(agent: Agent, **options: Any) -> AsyncGenerator[Client]:
        async with Client(make_server(agent, **options), mode=request.param) as client:
            yield client

    return open_client


@pytest.fixture
def start() -> StartProcess:
    """Return what starts a program that serves; whatever is left is killed."""

    @asynccontextmanager
    async def open_process(*command: str, cwd: Path) -> AsyncGenerator[Process]:
        process = await anyio.open_process(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
        )
        async with process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()

    return open_process


@pytest.fixture(autouse=True)
def no_process_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process, be it a grandchild in a session of its own."""
    mark = uuid4().hex
    monkeypatch.setenv("LC_AGENTKIT_TEST_MARK", mark)  # MCP servers inherit what begins with XDG_
    yield
    others = [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    assert not [entry for entry in others if int(entry.name) != os.getpid() and _has(entry, mark)]


def _has(process: Path, mark: str) -> bool:
    try:
        return mark.encode() in (process / "environ").read_bytes()
    except OSError:
        return False  # it has ended, or is another user's


class Told:
    """A progress callback that remembers, and lets a test wait."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float | None, str | None]] = []
        self._news = anyio.Event()

    async def __call__(self, done: float, total: float | None, text: str | None) -> None:
        self.seen.append((done, total, text))
        self._news.set()
        self._news = anyio.Event()

    @property
    def lines(self) -> list[str | None]:
        return [text for _, _, text in self.seen]

    async def wait_for(self, line: str) -> None:
        """Wait until it was told."""
        while line not in self.lines:
            await self._news.wait()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def environment() -> Mapping[str, str]:
    """Return the variables of a server that a client starts."""
    return dict(os.environ)
