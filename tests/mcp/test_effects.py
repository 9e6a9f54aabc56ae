"""What a server says of its effects counts where it is trusted, and nowhere else."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, Policy, ToolResult
from agentkit.mcp import ServerConfig, config_of
from agentkit.testing import ScriptedModel, call
from agentkit.toolkit import Registry

Opened = Callable[..., AbstractAsyncContextManager[Any]]
Hostile = Callable[..., ServerConfig]


async def read(session: Any, name: str) -> str:
    """Return what a run reads of one call."""
    with ScriptedModel([call(name), "Done."]) as model:
        agent = Agent(
            name="test", model=model, registry=Registry(session.tools.values()), policy=Policy()
        )
        result = await agent.run("Go", plan=False)
    return next(entry.text for entry in result.transcript if isinstance(entry, ToolResult))


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_call_in_flight_at_a_crash_is_repeated_only_for_a_trusted_server(
    opened: Opened, hostile: Hostile, tmp_path: Path, trusted: bool
) -> None:
    async with opened(hostile(trusted=trusted)) as session:
        effects = {name: one.spec.effect for name, one in session.tools.items()}
        text = await read(session, "crash_once")
    calls = (await anyio.Path(tmp_path / "calls").read_text()).split()
    if trusted:
        assert (effects["crash_once"], effects["meta"], effects["echo"]) == (
            "pure",
            "idempotent",
            "once",
        )
        assert (text, calls) == ("the second time", ["crash_once"] * 2)
    else:
        assert set(effects.values()) == {"once"}
        assert calls == ["crash_once"]
        assert "What the call has done is unknown" in text


async def test_a_call_carries_its_key_and_the_time_that_is_left(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile(call_seconds=20)) as session:
        meta = json.loads(await read(session, "meta"))
        assert json.loads(await session.call("meta")).get("agentkit/idempotencyKey") is None
    assert meta["agentkit/idempotencyKey"].endswith(":1")
    assert 15 < meta["agentkit/secondsLeft"] <= 20


async def test_a_server_may_want_approval_but_for_some_tools(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile(approval="always", approved=("echo",))) as session:
        asks = {name for name, one in session.tools.items() if one.spec.needs_approval({})}
        assert asks == set(session.tools) - {"echo"}


def test_the_file_says_whom_to_trust_and_what_to_ask_about() -> None:
    entry = {"command": "x", "trusted": True, "approval": "always", "autoApprove": ["a"]}
    server = config_of({"mcpServers": {"one": entry}}, {}).servers[0]
    assert (server.trusted, server.approval, server.approved) == (True, "always", ("a",))
    wrong = config_of({"mcpServers": {"one": {"command": "x", "approval": "maybe"}}}, {})
    assert "'approval' is 'maybe'" in wrong.servers[0].problem
