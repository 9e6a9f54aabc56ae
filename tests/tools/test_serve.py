"""The tools through the MCP SDK's own client, in processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import TextContent

from agentkit_tools.__main__ import NAMES, load, main

COMMAND = [sys.executable, "-m", "agentkit_tools"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the servers make their temporary folders; empty after the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("AGENTKIT_CODE_ISOLATION", "process")  # a namespace has its folder inside
    yield tmp_path
    until = time.monotonic() + 30
    while list(tmp_path.iterdir()):
        # A janitor whose host was killed removes the folder as its last act, and tells nobody.
        assert time.monotonic() < until, "the folder was left behind"
        time.sleep(0.01)


@asynccontextmanager
async def connected(*names: str) -> AsyncGenerator[Client]:
    server = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], *names], env=dict(os.environ)
    )
    async with Client(stdio_client(server), read_timeout_seconds=60) as client:
        yield client


async def call(client: Client, name: str, **arguments: Any) -> tuple[bool, str]:
    result = await client.call_tool(name, arguments)
    (content,) = result.content
    assert isinstance(content, TextContent)
    return bool(result.is_error), content.text


async def test_all_tools_answer_over_stdio(folder: Path) -> None:
    async with connected("all") as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == [tool.spec.name for tool in load(NAMES)]
        assert listed[0].input_schema == load(["clock"])[0].spec.parameters
        failed, text = await call(client, "clock", zone="Asia/Tokyo")
        assert (failed, "UTC+09:00" in text) == (False, True)
        assert await call(client, "code_interpreter", code="x = 41") == (False, "x = 41")
        assert await call(client, "code_interpreter", code="x + 1") == (False, "42")
        code = "import os\nos.system('echo from a shell; cat')\nprint('{\"jsonrpc\": \"2.0\"}')"
        failed, text = await call(client, "code_interpreter", code=code)
        assert (failed, "from a shell" in text) == (False, True)  # and the protocol is unharmed
        failed, text = await call(client, "fetch", url="http://127.0.0.1/")
        assert (failed, "not a public address" in text) == (True, True)
        failed, text = await call(client, "clock", zone="Asia/Tokio")
        assert (failed, "Asia/Tokyo" in text) == (True, True)
        failed, text = await call(client, "clock", place="Tokyo")
        assert (failed, "place" in text) == (True, True)
        assert (await call(client, "telescope"))[0]


@asynccontextmanager
async def served(*arguments: str) -> AsyncGenerator[Process]:
    process = await anyio.open_process(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


def _request(number: int, method: str, params: str) -> bytes:
    return f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{params}}}\n'.encode()


INITIALIZE = _request(
    1,
    "initialize",
    '{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}',
)
SLEEP = _request(
    2,
    "tools/call",
    '{"name":"code_interpreter","arguments":{"code":"import time; time.sleep(600)"}}',
)


async def _started_cell(process: Process, folder: Path) -> None:
    """Leave the server in the middle of a cell."""
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.send(INITIALIZE)
    assert b'"id":1' in await process.stdout.receive()
    await process.stdin.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n' + SLEEP)
    with anyio.fail_after(30):  # the folder of the interpreter is the only sign from outside
        # By its name: the server's `tempfile` tries the place with a file, which a kill would leave.
        while not [entry async for entry in anyio.Path(folder).glob("agentkit-code-*")]:
            pass


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGKILL"])
async def test_a_server_that_ends_in_the_middle_of_a_cell_leaves_nothing(
    folder: Path, how: str
) -> None:
    async with served("code_interpreter") as process:
        await _started_cell(process, folder)
        if how == "end of input":
            assert process.stdin is not None
            await process.stdin.aclose()
            expected = 0
        else:
            number = signal.Signals[how]
            process.send_signal(number)
            expected = -number if how == "SIGKILL" else 128 + number
        with anyio.fail_after(30):
            assert await process.wait() == expected


async def test_input_from_a_file_or_from_nowhere_is_served_to_its_end(tmp_path: Path) -> None:
    script = tmp_path / "requests"
    script.write_bytes(INITIALIZE)
    for stdin, expected in ((script, b'"serverInfo"'), (Path(os.devnull), b"")):
        async with await anyio.open_file(stdin, "rb") as file:
            done = await anyio.run_process([*COMMAND, "clock"], stdin=file.wrapped)
        assert expected in done.stdout


async def test_tools_are_served_over_http_without_shared_variables(folder: Path) -> None:
    async with served("clock", "code_interpreter", "--http", "0") as process:
        assert process.stderr is not None
        text = b""
        while b"/mcp" not in text:
            text += await process.stderr.receive()
        found = re.search(
            rb"Serving clock, time_elsewhere, code_interpreter at (http://\S+/mcp)", text
        )
        assert found is not None
        async with Client(found[1].decode(), read_timeout_seconds=60) as client:
            assert not (await call(client, "clock", zone="UTC"))[0]
            assert await call(client, "code_interpreter", code="x = 1") == (False, "x = 1")
            assert "NameError" in (await call(client, "code_interpreter", code="x"))[1]
        process.terminate()
        with anyio.fail_after(30):
            await process.wait()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["telescope"], "No tool named 'telescope'. Known tools: clock, fetch, code_interpreter"),
        (["clock", "telescope"], "No tool named 'telescope'"),
        ([], "Which tool? Known tools: clock, fetch, code_interpreter"),
        (["clock", "--http", "70000"], "Port 70000 does not exist"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_port_that_is_taken_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["clock", "--http", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"agentkit_tools: Port {port} cannot be used: Address already in use.\n"
    )
