"""The servers that a checkout starts with, run for real."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from anyio import to_thread

from agentkit.errors import ToolError, ToolInputError
from agentkit.mcp import ServerState, open_servers, read_config
from agentkit.policies import Timeouts
from agentkit.protocols import Tool

SHIPPED = Path(__file__).parents[2] / "mcp_servers.json"


def by_name(tools: Sequence[Tool]) -> Mapping[str, Tool]:
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
        assert list(tools) == ["convert_time", "get_current_time", "fetch"]  # each is called

        tokyo = tools["get_current_time"]
        arguments = tokyo.validate({"timezone": "Asia/Tokyo"})
        answer = json.loads(await tokyo.call(arguments))
        assert datetime.fromisoformat(answer["datetime"]).utcoffset() == timedelta(hours=9)

        noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        convert = tools["convert_time"]
        converted = json.loads(await convert.call(convert.validate(noon)))
        there = datetime.fromisoformat(converted["target"]["datetime"])
        assert (there.hour, there.minute, converted["time_difference"]) == (21, 0, "+9.0h")

        with pytest.raises(ToolError, match="Mars/Phobos"):
            await tokyo.call(tokyo.validate({"timezone": "Mars/Phobos"}))
        with pytest.raises(ToolInputError, match="'timezone' is a required property"):
            tokyo.validate({"zone": "Asia/Tokyo"})
        with pytest.raises(ToolError, match="not a public address"):
            await tools["fetch"].call({"url": "http://127.0.0.1:9/"})


PAGE = b"""<html><head><title>Harbour</title></head><body><article><h1>Tides</h1>
<p>High water is at <b>six</b> o'clock.</p></article></body></html>"""


class Pages(BaseHTTPRequestHandler):
    """Serves one page, and no robots.txt."""

    def do_GET(self) -> None:
        found = self.path == "/tides"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE) if found else 0))
        self.end_headers()
        self.wfile.write(PAGE if found else b"")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it overrides
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_fetch_reads_a_page_and_installs_nothing(
    opened: Callable[..., AbstractAsyncContextManager[Any]], site: str, tmp_path: Path
) -> None:
    config = await to_thread.run_sync(read_config, SHIPPED, os.environ)
    shipped = next(server for server in config.servers if server.name == "fetch")
    local = replace(shipped, args=("--allow-private-ips",))
    async with opened(local, log_dir=tmp_path) as session:
        assert list(session.tools) == ["fetch"]
        page = await session.call("fetch", url=f"{site}/tides")
        assert "High water is at" in page
        assert "six" in page
        with pytest.raises(ToolError, match="404"):
            await session.call("fetch", url=f"{site}/gone")
        with pytest.raises(ToolInputError, match="max_length: 'all' is not of type 'integer'"):
            await session.call("fetch", url=site, max_length="all")
    said = await to_thread.run_sync((tmp_path / "fetch.log").read_text)
    assert "node executable not found" in said
    assert "npm" not in said
