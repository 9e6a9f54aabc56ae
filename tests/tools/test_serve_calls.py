"""Calls of served tools while they go on: how far they are, and their end before their time."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import TextContent

PATIENCE = 60.0  # seconds; a process needs a few to start, where nothing else runs
pytestmark = [
    pytest.mark.timeout(2 * PATIENCE),
    pytest.mark.parametrize("mode", ["auto", "legacy"]),
    pytest.mark.parametrize("wire", ["stdio", "http"]),
]
COUNTING = """
import sys
from agentkit import tool
from agentkit.protocols import current_call
from agentkit_tools._serve import serve

@tool
async def count() -> str:
    "Count to three."
    call = current_call()
    for text in ("pages", "still there"):
        call.report(1, 3, text)
    call.report(3, 3, "")
    return call.key

sys.exit(serve([count], 0 if "--http" in sys.argv else None))
"""


@asynccontextmanager
async def connected(wire: str, mode: Any, *arguments: str) -> AsyncGenerator[Client]:
    if wire == "stdio":
        server = StdioServerParameters(
            command=sys.executable, args=[*arguments], env=dict(os.environ)
        )
        async with Client(stdio_client(server), mode=mode, read_timeout_seconds=PATIENCE) as client:
            yield client
        return
    command = [sys.executable, *arguments, "--http", "0"]
    async with await anyio.open_process(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        text = b""
        while not (found := re.search(rb"Serving \w+ at (http://\S+/mcp)\n", text)):
            text += await process.stderr.receive()
        async with Client(found[1].decode(), mode=mode, read_timeout_seconds=PATIENCE) as client:
            yield client
        process.terminate()
        assert await process.wait() == 143


async def call(client: Client, name: str, **arguments: Any) -> str:
    (content,) = (await client.call_tool(name, arguments)).content
    assert isinstance(content, TextContent)
    return content.text


async def test_what_a_tool_reports_reaches_the_client_and_only_grows(
    tmp_path: Path, wire: str, mode: Any
) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    over = anyio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))
        if progress == 3:
            over.set()

    script = tmp_path / "counting.py"
    script.write_text(COUNTING, encoding="utf-8")
    async with connected(wire, mode, str(script)) as client:
        assert await call(client, "count")  # a client that does not ask hears nothing
        result = await client.call_tool(
            "count", {}, progress_callback=hear, meta={"agentkit/idempotencyKey": "r:1"}
        )
        await over.wait()
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert content.text == "r:1"
    assert [(round(done), total, text) for done, total, text in seen] == [
        (1, 3, "pages"),
        (1, 3, "still there"),
        (3, 3, None),
    ]
    assert seen[0][0] < seen[1][0]


async def test_a_cancelled_call_interrupts_its_cell(
    tmp_path: Path, wire: str, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_CODE_ISOLATION", "process")  # it gives a sign outside its folder
    sign = tmp_path / "sign"
    os.mkfifo(sign)
    cell = (
        f"import time\nwith open({str(sign)!r}, 'w') as sign:\n"
        "    sign.write('up\\n')\n    sign.flush()\n    time.sleep(600)"
    )
    async with connected(wire, mode, "-m", "agentkit_tools", "code_interpreter") as client:
        assert await call(client, "code_interpreter", code="x = 41") == "x = 41"
        running = anyio.CancelScope()

        async def run() -> None:
            with running:
                await call(client, "code_interpreter", code=cell)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            with await to_thread.run_sync(sign.open) as reader:
                assert await to_thread.run_sync(reader.readline) == "up\n"
                running.cancel()
                assert await to_thread.run_sync(reader.read) == ""  # nobody has it open any more
        said = await call(client, "code_interpreter", code="x + 1")
        assert said == "42" if wire == "stdio" else "NameError" in said
