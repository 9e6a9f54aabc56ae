"""Resources and prompts: for people, and as tools where the file asks for them."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.mcp import McpConfig, McpServers, ServerConfig, open_servers
from agentkit.policies import Timeouts

SCRIPT = Path(__file__).parent / "servers" / "reading.py"


@asynccontextmanager
async def reading(
    media_dir: Path | None = None, *, as_tools: bool = False
) -> AsyncGenerator[McpServers]:
    server = ServerConfig(
        name="notes",
        command=sys.executable,
        args=(str(SCRIPT),),
        resources=as_tools,
        prompts=as_tools,
    )
    config = McpConfig(servers=(server,))
    async with open_servers(config, timeouts=Timeouts(), media_dir=media_dir) as found:
        yield found


async def test_resources_are_listed_and_read_without_what_hides_in_them(tmp_path: Path) -> None:
    async with reading(tmp_path / "media") as servers:
        found = {one.uri: one for one in await servers.resources("notes")}
        assert set(found) == {"note://today", "note://picture", "note://day/{day}"}
        assert found["note://today"].description == "What is done today."
        assert await servers.read("notes", "note://today") == "water the plants!"
        assert await servers.read("notes", "note://day/monday") == "nothing on monday"
        told = await servers.read("notes", "note://picture")
        assert told.startswith("[resource, image/png, ")
        (kept,) = await to_thread.run_sync(lambda: list((tmp_path / "media").iterdir()))
        assert await to_thread.run_sync(kept.read_bytes) == b"hello"
        with pytest.raises(ToolError, match="MCP server 'notes': "):
            await servers.read("notes", "note://nowhere")
        with pytest.raises(ToolError, match="'nobody' is not there"):
            await servers.resources("nobody")


async def test_prompts_are_listed_and_written() -> None:
    async with reading() as servers:
        (greet,) = await servers.prompts("notes")
        assert (greet.name, dict(greet.arguments)) == ("greet", {"name": True, "tone": False})
        text = await servers.prompt("notes", "greet", {"name": "Ada"})
        assert text == "Greet Ada, and be kind."
        with pytest.raises(ToolError, match="MCP server 'notes': "):
            await servers.prompt("notes", "greet", {})


async def test_a_model_has_tools_for_them_only_where_the_file_says_so() -> None:
    async with reading() as servers:
        assert not [tool for tool in servers.tools if tool.spec.name.startswith("notes__")]
    async with reading(as_tools=True) as servers:
        tools = {tool.spec.name: tool for tool in servers.tools}
        assert [name for name in tools if name.startswith("notes__")] == [
            "notes__get_prompt",
            "notes__list_prompts",
            "notes__list_resources",
            "notes__read_resource",
        ]
        assert tools["notes__read_resource"].spec.effect == "pure"
        listed = await tools["notes__list_resources"].call({})
        assert "note://today text/plain today What is done today." in listed
        read = tools["notes__read_resource"]
        assert await read.call(read.validate({"uri": "note://today"})) == "water the plants!"
        assert await tools["notes__list_prompts"].call({}) == "greet(name, tone): Greet somebody."
        prompt = tools["notes__get_prompt"]
        given = prompt.validate({"name": "greet", "arguments": {"name": "Ada", "tone": "short"}})
        assert await prompt.call(given) == "Greet Ada, and be short."
