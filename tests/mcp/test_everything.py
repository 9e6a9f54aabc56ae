"""The server that offers everything, on Node.js: each of its tools over each of its transports."""

import fcntl
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from platformdirs import user_cache_path

from agentkit.errors import ToolError, ToolInputError
from agentkit.mcp import ServerConfig
from agentkit.protocols import CURRENT_CALL, CallContext

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]  # the first of them may have to install

Opened = Callable[..., AbstractAsyncContextManager[Any]]

PACKAGE, VERSION = "@modelcontextprotocol/server-everything", "2026.8.31"
INSTALL_SECONDS = 180

CALLS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "echo": ({"message": "Grüße, 東京"}, r"Echo: Grüße, 東京"),
    "get-annotated-message": (
        {"messageType": "error", "includeImage": True},
        r"Error: Operation failed\n\[image, image/png, \d+ bytes, kept as \S+\.png\]",
    ),
    "get-env": ({}, r'\{.*"PATH": ".*\}'),
    "get-resource-links": (
        {"count": 2},
        (
            r"Here are 2 resource links .*"
            r"\n\[link to demo://resource/dynamic/blob/1 \(Blob Resource 1\), not fetched\]"
            r"\n\[link to demo://resource/dynamic/text/2 \(Text Resource 2\), not fetched\]"
        ),
    ),
    "get-resource-reference": (
        {"resourceType": "Text", "resourceId": 7},
        r"Returning .* Resource 7:\n\[resource demo://resource/dynamic/text/7\]\nResource 7: .*",
    ),
    "get-structured-content": (
        {"location": "Chicago"},
        re.escape('{"temperature":36,"conditions":"Light rain / drizzle","humidity":82}'),
    ),
    "get-sum": ({"a": 1, "b": 2.5}, r"The sum of 1 and 2\.5 is 3\.5\."),
    "get-tiny-image": (
        {},
        r"Here's .*\n\[image, image/png, \d+ bytes, kept as .*\]\n.* MCP logo\.",
    ),
    "gzip-file-as-resource": (
        {"name": "tides.gz", "data": "data:text/plain,high%20water", "outputType": "resource"},
        r"\[resource, application/gzip, \d+ bytes, kept as \S+\.gz\]",
    ),
    "toggle-simulated-logging": ({}, r"Started simulated, random-leveled logging .*"),
    "toggle-subscriber-updates": ({}, r"Started simulated resource updated notifications .*"),
    "trigger-long-running-operation": (
        {"duration": 0.4, "steps": 2},
        r"Long running operation completed\. Duration: 0\.4 seconds, Steps: 2\.",
    ),
}
"""Each tool with arguments and what its answer is: a tool without a line here fails a test."""

ONLY_AS_TASKS = {"simulate-research-query"}


@pytest.fixture(scope="session", name="script")
def the_installed_script() -> Path:
    """Return the server's script, installed once for all runs of the tests on this machine."""
    if shutil.which("node") is None or (npm := shutil.which("npm")) is None:
        pytest.skip("no node and npm here: install Node.js")
    name = PACKAGE.rpartition("/")[2]
    folder = user_cache_path("agentkit-tests") / f"{name}-{VERSION}"
    script = folder / "node_modules" / PACKAGE / "dist" / "index.js"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            if not script.is_file():
                install(npm, folder)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"npm cannot install {PACKAGE}@{VERSION}: {said.strip()[:300]}")
    return script


def install(npm: str, folder: Path) -> None:
    """Install the package into `folder`: all of it, or nothing."""
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
    command = (npm, "install", "--prefix", str(partial), *options, f"{PACKAGE}@{VERSION}")
    subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=INSTALL_SECONDS, cwd=partial
    )
    partial.rename(folder)


@contextmanager
def listening(script: Path, mode: str) -> Generator[str]:
    """Run the server on a port of its own; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ("node", str(script), mode)
    # It listens to the whole network and tells its environment to whoever asks.
    environment = {"PATH": os.environ["PATH"], "PORT": str(port)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            while f"on port {port}" not in said:
                said = process.stdout.readline()
                assert said, "it has ended before it was ready"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture(params=["stdio", "http", "sse", "sse, not told so"])
def everything(script: Path, request: pytest.FixtureRequest) -> Iterator[ServerConfig]:
    """Return how to reach the server, over each of its transports."""
    match request.param:
        case "stdio":
            yield ServerConfig(name="everything", command="node", args=(str(script), "stdio"))
        case "http":
            with listening(script, "streamableHttp") as url:
                yield ServerConfig(name="everything", url=f"{url}/mcp", transport="http")
        case kind:
            transport = "sse" if kind == "sse" else ""
            with listening(script, "sse") as url:
                yield ServerConfig(name="everything", url=f"{url}/sse", transport=transport)


async def test_every_tool_of_it_is_called_and_answers(
    opened: Opened, everything: ServerConfig, tmp_path: Path
) -> None:
    async with opened(everything, media_dir=tmp_path) as session:
        assert session.states["everything"].error == ""
        assert set(session.tools) == set(CALLS)
        for name, (arguments, answer) in CALLS.items():
            text = await session.call(name, **arguments)
            assert re.fullmatch(answer, text, re.DOTALL), (name, text)
        for name in ("toggle-simulated-logging", "toggle-subscriber-updates"):
            assert (await session.call(name)).startswith("Stopped simulated")
        with pytest.raises(ToolInputError, match="location: 'Paris' is not one of"):
            await session.call("get-structured-content", location="Paris")


async def test_what_can_only_be_run_as_a_task_is_left_out_and_named(
    opened: Opened, everything: ServerConfig
) -> None:
    async with opened(everything) as session:
        notes = session.states["everything"].notes
    assert set(notes) == {
        f"tool {name!r} was left out: it can only be run as a task" for name in ONLY_AS_TASKS
    }


async def test_its_steps_are_told_while_it_works(opened: Opened, everything: ServerConfig) -> None:
    told: list[tuple[float, float | None, str]] = []

    def report(done: float, total: float | None, text: str) -> None:
        told.append((done, total, text))

    CURRENT_CALL.set(CallContext(run_id="r", call_id="c", key="r:1", report=report))
    async with opened(everything) as session:
        await session.call("trigger-long-running-operation", duration=0.6, steps=3)
    assert told[0] == (1.0, 3.0, "")
    assert told == sorted(told)


async def test_its_resources_are_listed_and_read(
    opened: Opened, everything: ServerConfig, tmp_path: Path
) -> None:
    async with opened(everything, media_dir=tmp_path) as session:
        servers = session.servers
        listed = {one.uri: one for one in await servers.resources("everything")}
        features = "demo://resource/static/document/features.md"
        assert (listed[features].name, listed[features].media_type) == (
            "features.md",
            "text/markdown",
        )
        assert list(listed)[-2:] == [
            "demo://resource/dynamic/text/{resourceId}",
            "demo://resource/dynamic/blob/{resourceId}",
        ]
        text = await servers.read("everything", features)
        assert text.startswith("# Everything Server - Features\n")
        assert "- `echo` (tools/echo.ts)" in text
        said = await servers.read("everything", "demo://resource/dynamic/text/2")
        assert said.startswith("Resource 2: This is a plaintext resource created at ")

        packed = {"name": "tides.gz", "data": "data:text/plain,high%20water"}
        link = await session.call("gzip-file-as-resource", **packed)
        uri = "demo://resource/session/tides.gz"
        assert link == f"[link to {uri} (tides.gz), not fetched]"
        said = await servers.read("everything", uri)
        kept = re.fullmatch(r"\[resource, application/gzip, (\d+) bytes, kept as (.*)\]", said)
        assert kept is not None
        data = await to_thread.run_sync(Path(kept[2]).read_bytes)
        assert (gzip.decompress(data), len(data)) == (b"high water", int(kept[1]))
        with pytest.raises(ToolError, match="demo://nowhere not found"):
            await servers.read("everything", "demo://nowhere")


async def test_its_prompts_are_listed_and_written(opened: Opened, everything: ServerConfig) -> None:
    async with opened(everything) as session:
        servers = session.servers
        listed = {one.name: one.arguments for one in await servers.prompts("everything")}
        assert listed == {
            "simple-prompt": {},
            "args-prompt": {"city": True, "state": False},
            "completable-prompt": {"department": True, "name": True},
            "resource-prompt": {"resourceType": True, "resourceId": True},
        }
        where = {"city": "Chicago", "state": "Illinois"}
        said = await servers.prompt("everything", "args-prompt", where)
        assert said == "What's weather in Chicago, Illinois?"
        which = {"resourceType": "Text", "resourceId": "2"}
        said = await servers.prompt("everything", "resource-prompt", which)
        assert "user: [resource demo://resource/dynamic/text/2]\nResource 2: " in said
        with pytest.raises(ToolError, match="Invalid arguments for prompt args-prompt"):
            await servers.prompt("everything", "args-prompt", {})


async def test_it_is_told_no_secret_of_ours(
    opened: Opened, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf-1")
    mine = {"GREETING": "hello"}
    local = ServerConfig(name="everything", command="node", args=(str(script),), env=mine)
    async with opened(local) as session:
        told = json.loads(await session.call("get-env"))
    assert told["GREETING"] == "hello"
    assert "HF_TOKEN" not in told
