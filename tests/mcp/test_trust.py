"""Definitions of tools are believed once; what changes waits for a person."""

import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit.errors import RequiredToolError, ToolError
from agentkit.mcp import McpConfig, McpServers, ServerConfig, open_servers
from agentkit.policies import Timeouts

Hostile = Callable[..., ServerConfig]


@asynccontextmanager
async def trusting(folder: Path, server: ServerConfig) -> AsyncGenerator[McpServers]:
    config = McpConfig(servers=(server,))
    async with open_servers(config, timeouts=Timeouts(), pins_dir=folder / "pins") as found:
        yield found


def names(servers: McpServers) -> list[str]:
    return [tool.spec.name for tool in servers.tools]


async def test_what_was_seen_first_is_believed_and_what_changes_is_withheld(
    hostile: Hostile, tmp_path: Path
) -> None:
    server = hostile("rug_pull")
    async with trusting(tmp_path, server) as servers:
        assert names(servers) == ["change", "echo", "gone", "listed"]
        assert servers.states[0].withheld == ()
    async with trusting(tmp_path, server) as servers:
        assert names(servers) == ["change", "listed"]
        state = servers.states[0]
        assert state.withheld == ("echo", "fresh")
        assert "tool 'echo': its definition is not the one that was approved" in state.notes
        assert "tool 'fresh': it is new since the server was approved" in state.notes
        assert "2 of the tools of the MCP server 'evil' cannot be used" in servers.missing
        found = {one.name: one for one in await servers.review("evil")}
        assert {name: one.kind for name, one in found.items()} == {
            "echo": "changed",
            "fresh": "new",
            "gone": "gone",
        }
        assert found["echo"].before is not None
        assert found["echo"].after is not None
        assert found["echo"].before["description"] == "Say it again."
        assert "id_rsa" in found["echo"].after["description"]
        await servers.approve("evil")
        assert names(servers) == ["change", "echo", "fresh", "listed"]
        assert servers.missing == ""
    async with trusting(tmp_path, server) as servers:
        assert servers.states[0].withheld == ()


async def test_a_change_while_it_runs_withholds_the_tool_from_those_who_have_it(
    hostile: Hostile, tmp_path: Path
) -> None:
    async with trusting(tmp_path, hostile("changing")) as servers:
        tools = {tool.spec.name: tool for tool in servers.tools}
        await tools["change"].call({})
        while "echo" in names(servers):  # noqa: ASYNC110 - another process brings it about
            await anyio.sleep(0.01)
        with pytest.raises(ToolError, match="echo cannot be called: its definition is not the one"):
            await tools["echo"].call({"text": "hello"})


async def test_nothing_is_offered_before_it_is_approved_where_the_file_says_so(
    hostile: Hostile, tmp_path: Path
) -> None:
    careful = hostile("changing", pins="approved")
    async with trusting(tmp_path, careful) as servers:
        assert names(servers) == []
        assert servers.states[0].status == "ready"
        await servers.approve("evil")
        assert names(servers) == ["change", "echo", "gone", "listed"]
    with pytest.raises(RequiredToolError, match="none of its tools is approved") as caught:
        async with trusting(tmp_path / "elsewhere", replace(careful, required=True)):
            pytest.fail("it must not open")
    assert "agentkit mcp trust evil" in caught.value.hint


async def test_approvals_that_cannot_be_read_withhold_all(hostile: Hostile, tmp_path: Path) -> None:
    server = hostile("changing")
    async with trusting(tmp_path, server):
        (path,) = await to_thread.run_sync(lambda: list((tmp_path / "pins").iterdir()))
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116
    for content in ('{"tools": {"echo"', '{"tools": [1]}', "[]", '{"tools": {"echo": {}}}'):
        await to_thread.run_sync(path.write_text, content)
        async with trusting(tmp_path, server) as servers:
            assert names(servers) == []
            assert "are damaged" in servers.states[0].notes[0]


async def test_another_command_under_the_same_name_is_another_server(
    hostile: Hostile, tmp_path: Path
) -> None:
    async with trusting(tmp_path, hostile("good")):
        pass
    async with trusting(tmp_path, hostile("changing")) as servers:
        assert servers.states[0].withheld == ()
    pins = await to_thread.run_sync(lambda: list((tmp_path / "pins").iterdir()))
    assert len(pins) == 2


async def test_pins_hold_no_secret_of_the_command(hostile: Hostile, tmp_path: Path) -> None:
    server = hostile("changing", secrets=(str(tmp_path),))
    async with trusting(tmp_path, server):
        (path,) = await to_thread.run_sync(lambda: list((tmp_path / "pins").iterdir()))
    kept: dict[str, Any] = json.loads(await to_thread.run_sync(path.read_text))
    assert str(tmp_path) not in kept["target"]
    assert "***" in kept["target"]


async def test_where_pins_are_off_a_server_is_believed(hostile: Hostile, tmp_path: Path) -> None:
    for _ in range(2):
        async with trusting(tmp_path, hostile("rug_pull", pins="off")) as servers:
            assert servers.states[0].withheld == ()
            assert "echo" in names(servers)
