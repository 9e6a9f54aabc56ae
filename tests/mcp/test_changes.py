"""Servers that come up late, change what they offer, sleep, and say how far they are."""

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.mcp import McpConfig, McpServers, ServerConfig, open_servers
from agentkit.mcp import _opening as opening
from agentkit.policies import Timeouts
from agentkit.protocols import CURRENT_CALL, CallContext, Tool

Hostile = Callable[..., ServerConfig]
CHANGING = Path(__file__).parent / "servers" / "changing.py"


@asynccontextmanager
async def serving(*servers: ServerConfig, **options: Any) -> AsyncGenerator[McpServers]:
    """Open servers, and leave their changes to be seen."""
    config = McpConfig(servers=servers)
    async with open_servers(config, timeouts=Timeouts(), **options) as found:
        yield found


def tool(servers: McpServers, name: str) -> Tool:
    return next(one for one in servers.tools if one.spec.name == name)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process brings about."""
    while not condition():  # noqa: ASYNC110 - of no event here
        await anyio.sleep(0.01)


def names(servers: McpServers) -> set[str]:
    return {one.spec.name for one in servers.tools}


async def test_a_changed_list_is_read_anew_and_what_is_gone_says_so(hostile: Hostile) -> None:
    async with serving(hostile("changing")) as servers:
        before, echo, gone = servers.version, tool(servers, "echo"), tool(servers, "gone")
        assert await gone.call({"text": "here"}) == "here"
        await tool(servers, "change").call({})
        await until(lambda: "fresh" in names(servers))
        assert servers.version > before
        assert "gone" not in names(servers)
        assert await tool(servers, "fresh").call({"text": "new"}) == "new"
        with pytest.raises(ToolError, match="gone cannot be called: the server does not offer it"):
            await gone.call({})
        assert await echo.call({"text": "the old one"}) == "the old one"


async def test_a_storm_of_changes_is_one_reading(hostile: Hostile) -> None:
    async with serving(hostile("changing")) as servers:
        await tool(servers, "change").call({"times": 20_000})
        await until(lambda: "fresh" in names(servers))
        assert int(await tool(servers, "listed").call({})) <= 3


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_a_server_of_the_newest_protocol_tells_of_changes_in_a_stream(kind: str) -> None:
    async with changing_server(kind) as config, serving(config) as servers:
        assert servers.states[0].protocol == "2026-07-28"
        assert names(servers) == {"grow"}
        assert "grown" in await tool(servers, "grow").call({})
        with anyio.fail_after(20):
            await until(lambda: "grown" in names(servers))
        assert await tool(servers, "grown").call({}) == "here I am"


@asynccontextmanager
async def changing_server(kind: str) -> AsyncGenerator[ServerConfig]:
    if kind == "stdio":
        yield ServerConfig(name="new", command=sys.executable, args=(str(CHANGING),))
        return
    async with await anyio.open_process([sys.executable, str(CHANGING), "http"]) as process:
        assert process.stdout is not None
        url = (await process.stdout.receive()).decode().strip()
        yield ServerConfig(name="new", url=url)
        process.terminate()


async def test_a_server_that_could_not_start_is_tried_again_and_what_is_missing_is_told(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_FIRST_REST", 0.05)
    async with serving(hostile("late", "db"), hostile("good", "other")) as servers:
        assert servers.states[0].status == "failed"
        assert "the database is not up yet" in servers.states[0].error
        assert "'db' are not there: it could not be started" in servers.missing
        await to_thread.run_sync((tmp_path / "may_start").touch)
        await until(lambda: servers.states[0].status == "ready")
        await until(lambda: any(name.startswith("db__") for name in names(servers)))
        assert servers.missing == ""
        # Both offer the same tools: who was there first keeps the plain names.
        assert await tool(servers, "echo").call({"text": "other"}) == "other"
        assert await tool(servers, "db__echo").call({"text": "late"}) == "late"


async def test_a_server_that_nobody_calls_sleeps_and_wakes_for_the_next_call(
    hostile: Hostile, tmp_path: Path
) -> None:
    async with serving(hostile(idle_seconds=0.2)) as servers:
        starts = tmp_path / "starts"
        pid = (await to_thread.run_sync(starts.read_text)).strip()
        await until(lambda: not Path(f"/proc/{pid}").exists())
        assert servers.states[0].status == "ready"
        assert await tool(servers, "echo").call({"text": "awake"}) == "awake"
        assert len((await to_thread.run_sync(starts.read_text)).split()) == 2
        assert servers.states[0].restarts == 0


async def test_how_far_a_call_is_reaches_whoever_watches(hostile: Hostile) -> None:
    told: list[tuple[float, float | None, str]] = []

    def report(done: float, total: float | None, text: str) -> None:
        told.append((done, total, text))

    CURRENT_CALL.set(CallContext(run_id="r", call_id="c", key="r:1", report=report))
    async with serving(hostile()) as servers:
        assert await tool(servers, "progress").call({"steps": 20_000}) == "all parts"
    assert told[0] == (1.0, 3.0, "part 1")
    assert len(told) < 100  # each of 20,000 words would be as many events


async def test_images_are_kept_as_files_for_their_owner(hostile: Hostile, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    async with serving(hostile(), media_dir=folder) as servers:
        said = await tool(servers, "media").call({})
    kept = await to_thread.run_sync(lambda: sorted(folder.iterdir()))
    assert [path.suffix for path in kept].count(".png") == 1
    image = next(path for path in kept if path.suffix == ".png")
    assert f"[image, image/png, 11 bytes, kept as {image}]" in said
    assert await to_thread.run_sync(image.read_bytes) == b"hello hello"
    assert os.stat(image).st_mode & 0o777 == 0o600  # noqa: PTH116
    assert "[link to file:///etc/passwd (passwords), not fetched]" in said
