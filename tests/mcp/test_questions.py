"""What servers ask of us while they work on a call."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.mcp import Answerer, McpConfig, Question, ServerConfig, open_servers
from agentkit.policies import Timeouts
from agentkit.protocols import Tool

SCRIPT = Path(__file__).parent / "servers" / "reading.py"


@asynccontextmanager
async def asking(
    answerer: Answerer | None = None, **settings: Any
) -> AsyncGenerator[dict[str, Tool]]:
    server = ServerConfig(name="asks", command=sys.executable, args=(str(SCRIPT),), **settings)
    config = McpConfig(servers=(server,))
    async with open_servers(config, timeouts=Timeouts(), answerer=answerer) as found:
        yield {tool.spec.name: tool for tool in found.tools}


async def test_a_question_is_answered_by_whoever_was_named() -> None:
    seen: list[Question] = []

    async def answer(question: Question) -> dict[str, Any] | None:
        seen.append(question)
        return {"dish": "soup", "count": 2}

    async with asking(answer) as tools:
        assert await tools["ask"].call({}) == "dish='soup' count=2"
    (question,) = seen
    assert (question.server, question.message, question.url) == ("asks", "What shall it be?", "")
    assert set(question.schema["properties"]) == {"dish", "count"}


async def test_a_question_may_be_declined() -> None:
    async def decline(_: Question) -> dict[str, Any] | None:
        return None

    async with asking(decline) as tools:
        assert await tools["ask"].call({}) == "decline"


async def test_where_nobody_can_be_asked_a_question_is_refused_and_the_server_goes_on() -> None:
    async with asking() as tools:
        with pytest.raises(ToolError, match=r"elicitation"):
            await tools["ask"].call({})
        assert await tools["plain"].call({}) == "plain"


async def test_an_answer_that_never_comes_ends_with_the_call() -> None:
    async def think_for_ever(_: Question) -> dict[str, Any] | None:
        await anyio.sleep_forever()
        return None

    async with asking(think_for_ever, call_seconds=0.3) as tools:
        with pytest.raises(ToolError, match=r"took longer than 0\.3 s"):
            await tools["ask"].call({})
        assert await tools["plain"].call({}) == "plain"


async def test_folders_are_told_only_where_the_file_names_them(tmp_path: Path) -> None:
    async with asking() as tools:
        with pytest.raises(ToolError):
            await tools["folders"].call({})
    folder = await to_thread.run_sync(tmp_path.resolve)
    async with asking(roots=(folder,)) as tools:
        assert await tools["folders"].call({}) == folder.as_uri()


async def test_a_server_of_the_old_protocol_asks_as_well(hostile: Any, opened: Any) -> None:
    async def answer(question: Question) -> dict[str, Any] | None:
        return {"dish": f"soup for {question.server}"}

    async with opened(hostile(), answerer=answer) as session:
        said = json.loads(await session.call("elicit"))
        assert said == {"action": "accept", "content": {"dish": "soup for evil"}}
    async with opened(hostile()) as session:
        assert "error" in json.loads(await session.call("elicit"))


async def test_a_server_does_not_get_to_use_our_model() -> None:
    async with asking() as tools:
        with pytest.raises(ToolError):
            await tools["think"].call({})
        assert await tools["plain"].call({}) == "plain"
