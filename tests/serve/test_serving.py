"""`agentkit serve --mcp` and `serve_agent` in processes of their own, on stdio and over HTTP."""

import json
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio import to_thread
from anyio.abc import Process
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from agentkit.mcp import config_of, open_servers
from agentkit.policies import Timeouts
from agentkit.protocols import CURRENT_CALL, CallContext
from agentkit.testing import FakeSGLang
from agentkit.testing.answers import Answer, Fault

StartProcess = Callable[..., AbstractAsyncContextManager[Process]]

PATIENCE = 60.0  # seconds; a process needs a few to start, where nothing else runs
pytestmark = pytest.mark.timeout(2 * PATIENCE)
STALLED = Answer(text="Once upon a time", fault=Fault("stall", after=2))


def command(model: FakeSGLang, *more: str) -> list[str]:
    return ["-m", "agentkit", "serve", "--mcp", "--base-url", model.base_url, "--no-plan", *more]


@asynccontextmanager
async def over_stdio(
    arguments: list[str], environment: Mapping[str, str], folder: Path, mode: Any = "auto"
) -> AsyncGenerator[Client]:
    server = StdioServerParameters(
        command=sys.executable, args=arguments, env=dict(environment), cwd=folder
    )
    async with Client(stdio_client(server), mode=mode, read_timeout_seconds=PATIENCE) as client:
        yield client


async def address(process: Process) -> str:
    """Return where a server says it is."""
    assert process.stderr is not None
    text = b""
    while not (found := re.search(rb"Serving run_task at (http://127\.0\.0\.1:\d+/mcp)\n", text)):
        text += await process.stderr.receive()
    return found[1].decode()


def text_of(result: CallToolResult) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def test_the_command_gives_answers_over_stdio_and_ends_with_its_input(
    environment: Mapping[str, str], tmp_path: Path, told: Any
) -> None:
    script = [Answer(calls=[("clock", {"zone": "Asia/Tokyo"})]), "It is noon.", "As I said: noon."]
    async with FakeSGLang(script) as model:
        arguments = command(model, "--instructions", "Be brief.", "--description", "Tells times.")
        async with over_stdio(arguments, environment, tmp_path) as client:
            (offered,) = (await client.list_tools()).tools
            assert (offered.name, offered.description) == ("run_task", "Tells times.")
            result = await client.call_tool(
                "run_task", {"task": "What time is it?"}, progress_callback=told
            )
            assert (result.is_error, text_of(result)) == (False, "It is noon.")
            assert told.lines == ["step 1", "clock: started", "clock: done", "step 2"]
            found = result.structured_content
            assert found is not None
            assert (found["stop"], found["steps"]) == ("done", 2)
            more = {"task": "Sure?", "conversation_id": found["conversation_id"]}
            assert text_of(await client.call_tool("run_task", more)) == "As I said: noon."
    assert model.requests[0].body["messages"][0]["content"].startswith("Be brief.\n")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("wire", ["stdio", "http"])
async def test_a_cancelled_call_closes_the_request_to_the_model(
    environment: Mapping[str, str],
    tmp_path: Path,
    start: StartProcess,
    told: Any,
    wire: str,
    mode: Any,
) -> None:
    @asynccontextmanager
    async def connected(model: FakeSGLang) -> AsyncGenerator[Client]:
        if wire == "stdio":
            async with over_stdio(command(model), environment, tmp_path, mode) as client:
                yield client
        else:
            async with start(*command(model, "--http", "0"), cwd=tmp_path) as process:
                where = await address(process)
                async with Client(where, mode=mode, read_timeout_seconds=PATIENCE) as client:
                    yield client
                process.terminate()
                assert await process.wait() == 143

    async with FakeSGLang([STALLED, "Still here."]) as model, connected(model) as client:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                await client.call_tool("run_task", {"task": "Tell"}, progress_callback=told)

            tasks.start_soon(ask)
            await told.wait_for("step 1")
            await model.wait_until(lambda seen: bool(seen.running))
            tasks.cancel_scope.cancel()
        await model.wait_until(lambda seen: seen.disconnects == 1)
        assert text_of(await client.call_tool("run_task", {"task": "There?"})) == "Still here."


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
ASK = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "run_task", "arguments": {"task": "Tell"}},
}


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGINT", "client is gone"])
@pytest.mark.parametrize("when", ["idle", "in a run"])
async def test_the_end_of_input_and_signals_end_everything(
    tmp_path: Path, start: StartProcess, how: str, when: str
) -> None:
    clock = {"command": sys.executable, "args": ["-m", "agentkit_tools", "clock"]}
    (tmp_path / "mcp_servers.json").write_text(json.dumps({"mcpServers": {"own": clock}}))
    async with (
        FakeSGLang([STALLED] if when == "in a run" else []) as model,
        start(*command(model), cwd=tmp_path) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        await process.stdin.send(json.dumps(INITIALIZE).encode() + b"\n")
        out = await process.stdout.receive()
        if when == "in a run":
            await process.stdin.send(json.dumps(ASK).encode() + b"\n")
            await model.wait_until(lambda seen: bool(seen.running))
        if how == "client is gone":
            await process.stdout.aclose()
        if how in {"end of input", "client is gone"}:
            await process.stdin.aclose()
            expected = 0
        else:
            process.send_signal(signal.Signals[how])
            expected = 128 + signal.Signals[how]
        if how != "client is gone":
            out += b"".join([piece async for piece in process.stdout])
            assert [json.loads(line)["jsonrpc"] for line in out.splitlines()]
        said = b"".join([piece async for piece in process.stderr])
        assert await process.wait() == expected
        assert b"Traceback" not in said
        if when == "in a run":
            await model.wait_until(lambda seen: not seen.running)


SHOUTING = """
import os, subprocess, sys
import anyio
from agentkit import Agent, Policy, tool
from agentkit.serve import serve_agent
from agentkit.testing import ScriptedModel, call
from agentkit.toolkit import Registry

kept = sys.stdout

@tool
def shout() -> str:
    "Write to stdout in every way there is."
    print("one")
    kept.write("two\\n")
    os.write(1, b"three\\n")
    subprocess.run(["echo", "four"], check=True)
    return sys.stdin.read() + "shouted"

model = ScriptedModel([call("shout"), "Done."])
agent = Agent(name="run_task", model=model, registry=Registry([shout]), policy=Policy(), plan=False)
anyio.run(serve_agent, agent)
"""


async def test_what_tools_print_goes_to_stderr(tmp_path: Path, start: StartProcess) -> None:
    (tmp_path / "shouting.py").write_text(SHOUTING, encoding="utf-8")
    async with start("shouting.py", cwd=tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        requests = (json.dumps(INITIALIZE), json.dumps(ASK))
        await process.stdin.send("\n".join([*requests, ""]).encode())
        out = b""
        while b'"id":2' not in out:
            out += await process.stdout.receive()
        await process.stdin.aclose()
        out += b"".join([piece async for piece in process.stdout])
        said = b"".join([piece async for piece in process.stderr])
    assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 2]
    assert sorted(said.decode().split()) == ["four", "one", "three", "two"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_command_serves_several_clients_over_http(
    tmp_path: Path, start: StartProcess, told: Any, mode: Any
) -> None:
    async with (
        FakeSGLang("It is noon.") as model,
        start(*command(model, "--no-mcp", "--http", "0"), cwd=tmp_path) as process,
    ):
        where = await address(process)
        async with (
            Client(where, mode=mode, read_timeout_seconds=PATIENCE) as one,
            Client(where, mode=mode, read_timeout_seconds=PATIENCE) as other,
        ):
            for client in (one, other):
                result = await client.call_tool(
                    "run_task", {"task": "What time is it?"}, progress_callback=told
                )
                assert text_of(result) == "It is noon."
                assert (result.structured_content or {})["stop"] == "done"
            assert told.lines == ["step 1", "step 1"]
            process.send_signal(signal.SIGINT)  # with both clients still there
            assert await process.wait() == 130


async def test_http_is_for_local_pages_and_names_only(tmp_path: Path, start: StartProcess) -> None:
    async with (
        FakeSGLang([]) as model,
        start(*command(model, "--http", "0"), cwd=tmp_path) as process,
        httpx2.AsyncClient() as client,
    ):
        where = await address(process)
        accept = {"Accept": "application/json, text/event-stream"}
        for strange, status in (
            ({}, 200),
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
        ):
            answer = await client.post(where, json=INITIALIZE, headers={**accept, **strange})
            assert answer.status_code == status
        process.terminate()
        assert await process.wait() == 143


async def test_a_signal_ends_runs_over_http_with_the_client_still_waiting(
    tmp_path: Path, start: StartProcess
) -> None:
    async with (
        FakeSGLang([STALLED]) as model,
        start(*command(model, "--http", "0"), cwd=tmp_path) as process,
        httpx2.AsyncClient(timeout=PATIENCE) as client,
    ):
        where = await address(process)
        headers = {"Accept": "application/json, text/event-stream"}
        begun = await client.post(where, json=INITIALIZE, headers=headers)
        headers["Mcp-Session-Id"] = begun.headers["mcp-session-id"]
        async with client.stream("POST", where, json=ASK, headers=headers) as answer:
            await model.wait_until(lambda seen: bool(seen.running))
            process.terminate()
            assert b"It is" not in await answer.aread()
        assert await process.wait() == 143
        await model.wait_until(lambda seen: not seen.running)


async def test_our_own_client_uses_an_agent_and_hears_of_its_progress(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    heard: list[tuple[float, str]] = []

    def hear(done: float, _total: float | None, text: str) -> None:
        heard.append((done, text))

    async with FakeSGLang("It is noon.") as model:
        entry = {"command": sys.executable, "args": command(model), "cwd": str(tmp_path)}
        variables = {k: v for k, v in environment.items() if k.startswith(("AGENTKIT_", "PYTHON"))}
        servers_file = {"mcpServers": {"helper": {**entry, "env": variables}}}
        config = await to_thread.run_sync(config_of, servers_file, environment)
        async with open_servers(config, timeouts=Timeouts()) as servers:
            (tool,) = servers.tools
            assert tool.spec.name == "run_task"
            CURRENT_CALL.set(CallContext(run_id="r", call_id="c", key="r:1", report=hear))
            text = await tool.call(tool.validate({"task": "What time is it?"}))
    assert text.splitlines()[0] == "It is noon."
    assert heard[0] == (1, "step 1")
