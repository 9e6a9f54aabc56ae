"""Servers of the old kind, whose answers come in one long stream."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import pytest
from starlette.responses import PlainTextResponse

from agentkit.errors import OutcomeUnknownError, ToolError
from agentkit.mcp import ServerConfig
from tests.mcp.test_http import serving

Opened = Callable[..., AbstractAsyncContextManager[Any]]

SCRIPT = Path(__file__).parent / "servers" / "old.py"


@pytest.fixture(name="old")
def an_old_server() -> Iterator[str]:
    """Return the address of a real one, in a process of its own: its library leaves tasks."""
    with subprocess.Popen([sys.executable, SCRIPT], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


@pytest.fixture(name="tell")
async def what_tells_it(old: str) -> AsyncIterator[Callable[[str], Any]]:
    async with httpx2.AsyncClient(base_url=old, trust_env=False) as client:
        yield client.get


@pytest.mark.parametrize("transport", ["sse", ""])
async def test_its_tools_are_called(
    opened: Opened, old: str, transport: Literal["", "sse"]
) -> None:
    config = ServerConfig(name="old", url=f"{old}/mcp", transport=transport)
    async with opened(config) as session:
        assert session.states["old"].error == ""
        assert await session.call("add", a=2, b=3) == "5"
        with pytest.raises(ToolError, match="Error executing tool fail"):
            await session.call("fail")
        results = [0] * 20

        async def add(number: int) -> None:
            results[number] = int(await session.call("add", a=number, b=1))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(add, number)
        assert results == list(range(1, 21))


async def test_a_message_that_is_refused_fails_its_call_and_the_next_one_connects_again(
    opened: Opened, old: str, tell: Callable[[str], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    config = ServerConfig(name="old", url=f"{old}/mcp", transport="sse", call_seconds=20)
    async with opened(config) as session:
        await tell("/refuse/401")
        with pytest.raises(ToolError, match="HTTP 401: access refused"):
            await session.call("add", a=2, b=3)
        await tell("/refuse/0")
        assert await session.call("add", a=2, b=3) == "5"
    assert "Traceback" not in capfd.readouterr().err


async def test_after_a_stream_has_ended_the_next_call_but_one_connects_again(
    opened: Opened, old: str, tell: Callable[[str], Any]
) -> None:
    config = ServerConfig(name="old", url=f"{old}/mcp", transport="sse", call_seconds=20)
    async with opened(config) as session:
        assert await session.call("add", a=1, b=1) == "2"
        await tell("/cut")
        with pytest.raises(OutcomeUnknownError, match="the connection was lost"):
            await session.call("add", a=1, b=1)
        assert await session.call("add", a=1, b=2) == "3"


async def test_what_is_no_server_at_all_is_told_by_the_first_refusal(opened: Opened) -> None:
    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await PlainTextResponse("gone", status_code=404)(scope, receive, send)

    async with serving(nothing) as url, opened(ServerConfig(name="old", url=url)) as session:
        assert "HTTP 404" in session.states["old"].error
