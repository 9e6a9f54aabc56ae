"""What is left when things end out of turn: nothing."""

import math
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit.errors import McpServerError, ToolError
from agentkit.mcp import McpConfig, ServerConfig, open_servers
from agentkit.mcp import _server as server_module
from agentkit.mcp._surroundings import Surroundings
from agentkit.policies import Timeouts

SERVERS = Path(__file__).parent / "servers"

Opened = Callable[..., AbstractAsyncContextManager[Any]]
Hostile = Callable[..., ServerConfig]
Marked = Callable[[], list[str]]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something outside this process."""
    while not await to_thread.run_sync(condition):  # noqa: ASYNC110 - not of this process
        await anyio.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("mode", ["good", "ignore_eof", "wrapped", "child_setsid"])
async def test_a_server_ends_when_we_are_killed(
    mode: str, backend: str, marked_processes: Marked
) -> None:
    """Wrapped as npx does it, with children in sessions of their own, deaf to what it is told."""
    script = [str(SERVERS / "parent.py"), str(SERVERS / "evil.py"), mode, backend]
    async with await anyio.open_process(
        [sys.executable, *script], stdin=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        assert (await parent.stdout.receive()).startswith(b"ready")
        assert len(await to_thread.run_sync(marked_processes)) >= 2
        parent.kill()
    await until(lambda: not marked_processes())


async def test_cancelling_the_opening_leaves_nothing(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as tasks:

        async def wait_in_vain() -> None:
            async with opened(hostile("hang_at_start")):
                pytest.fail("it must not open")

        tasks.start_soon(wait_in_vain)
        await until((tmp_path / "starts").exists)
        tasks.cancel_scope.cancel()


async def test_cancelling_a_run_mid_call_leaves_nothing(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            async with opened(hostile()) as session, anyio.create_task_group() as calls:
                calls.start_soon(session.call, "hang")
                calls.start_soon(session.call, "hang")

        tasks.start_soon(run)
        await until((tmp_path / "hanging").exists)
        tasks.cancel_scope.cancel()


async def test_a_server_that_crashed_while_idle_is_started_again_unnoticed(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    async with opened(hostile()) as session:
        pid = (await anyio.Path(tmp_path / "starts").read_text("utf-8")).strip()
        await anyio.run_process(["kill", "-KILL", pid])
        await until(lambda: not Path(f"/proc/{pid}").exists())
        await anyio.wait_all_tasks_blocked()  # the end of its pipe is read by now
        assert await session.call("echo", text="hi") == "hi"


async def test_servers_start_side_by_side(opened: Opened, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for pipe in (here, there):
        os.mkfifo(pipe)

    def server(name: str, waits: str) -> ServerConfig:
        # A pipe opens when both ends do, so neither server goes on before the other has begun.
        script = f'{waits}; exec "$0" "$@"'
        args = ("-c", script, sys.executable, str(SERVERS / "evil.py"), "good", str(tmp_path))
        return ServerConfig(name=name, command="sh", args=args)

    one = server("one", f"echo up > {here}; read up < {there}")
    two = server("two", f"read up < {here}; echo up > {there}")
    async with opened(one, two) as session:
        assert {state.status for state in session.states.values()} == {"ready"}


async def test_a_configuration_without_servers_opens_to_nothing() -> None:
    disabled = ServerConfig(name="off", command="x", disabled=True)
    unset = ServerConfig(name="unset", command="x", problem="env.T: the variable T is not set")
    config = McpConfig(servers=(disabled, unset))
    async with open_servers(config, timeouts=Timeouts()) as servers:
        assert servers.tools == ()
        assert [(s.name, s.status, s.error) for s in servers.states] == [
            ("off", "disabled", ""),
            ("unset", "failed", "env.T: the variable T is not set"),
        ]


def test_a_server_that_keeps_ending_is_left_alone_for_a_while(
    virtual_time: Callable[[Callable[[], Awaitable[object]]], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[float] = []

    class Doomed:
        """A connection that ends as soon as it is asked for."""

        def __init__(self, *_: object, **__: object) -> None:
            self.opened = anyio.Event()
            self.ended = anyio.Event()
            self.usable = True
            self.asleep = False
            self.failure: McpServerError | None = None

        async def run(self) -> None:
            starts.append(anyio.current_time())
            self.usable, self.failure = False, McpServerError("exit code 1")
            self.opened.set()

    monkeypatch.setattr(server_module, "Connection", Doomed)

    async def scenario() -> None:
        config = ServerConfig(name="doomed", command="x", call_seconds=math.inf)
        async with anyio.create_task_group() as tasks:
            around = Surroundings(timeouts=Timeouts(), environ={})
            server = server_module.Server(config, around, tasks.start_soon)
            await server.connection.opened.wait()
            for _ in range(5):
                with pytest.raises(ToolError, match="could not be started again: exit code 1"):
                    await server.call("x", {}, None)
            with pytest.raises(ToolError, match="ended 5 times in 5 minutes and is left alone"):
                await server.call("x", {}, None)
            await anyio.sleep(300)
            with pytest.raises(ToolError, match="could not be started again"):
                await server.call("x", {}, None)

    virtual_time(scenario)
    first, *again = starts
    assert [round(at - first, 1) for at in again[:5]] == [0.0, 0.5, 1.5, 3.5, 7.5]
    assert len(again) == 6
