"""The servers that a checkout starts with, run for real."""

import json
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from anyio import to_thread

from agentkit.errors import ToolError, ToolInputError
from agentkit.mcp import ServerState, open_servers, read_config
from agentkit.policies import Timeouts
from agentkit.protocols import Tool

SHIPPED = Path(__file__).parents[2] / "mcp_servers.json"


def by_name(tools: tuple[Tool, ...]) -> Mapping[str, Tool]:
    return {tool.spec.name: tool for tool in tools}


async def test_the_shipped_servers_start_from_this_environment_and_answer() -> None:
    config = await to_thread.run_sync(read_config, SHIPPED, os.environ)
    told: list[ServerState] = []
    async with open_servers(config, timeouts=Timeouts(), on_state=told.append) as servers:
        assert [(state.name, state.status, state.error) for state in servers.states] == [
            ("time", "ready", ""),
            ("fetch", "ready", ""),
        ]
        assert {state.name for state in told} == {"time", "fetch"}
        tools = by_name(servers.tools)
        assert list(tools) == ["convert_time", "get_current_time", "fetch"]

        tokyo = tools["get_current_time"]
        arguments = tokyo.validate({"timezone": "Asia/Tokyo"})
        answer = json.loads(await tokyo.call(arguments))
        assert datetime.fromisoformat(answer["datetime"]).utcoffset() == timedelta(hours=9)

        with pytest.raises(ToolError, match="Mars/Phobos"):
            await tokyo.call(tokyo.validate({"timezone": "Mars/Phobos"}))
        with pytest.raises(ToolInputError, match="'timezone' is a required property"):
            tokyo.validate({"zone": "Asia/Tokyo"})
        with pytest.raises(ToolError, match="not a public address"):
            await tools["fetch"].call({"url": "http://127.0.0.1:9/"})
