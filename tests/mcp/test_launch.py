"""Which program is started for a command, and what it inherits."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import anyio
import pytest

from agentkit.errors import McpServerError
from agentkit.mcp import McpConfig, ServerConfig, open_servers
from agentkit.mcp._diary import Diary
from agentkit.mcp._launch import MARK, SESSION, plan_launch
from agentkit.policies import Timeouts

SCRIPTS = Path(sysconfig.get_path("scripts"))


def argv(command: str, *args: str, path: str = os.defpath) -> tuple[str, ...]:
    config = ServerConfig(name="a", command=command, args=args)
    launch = plan_launch(config, {"PATH": path}, "mark", "session", forked_here=False)
    assert (launch.env[MARK], launch.env[SESSION]) == ("mark", "session")
    return launch.argv[3:] if launch.argv[1] == "--core=0" else launch.argv


def test_our_own_scripts_come_before_the_path() -> None:
    assert argv("mcp-server-time", "--x", path="") == (str(SCRIPTS / "mcp-server-time"), "--x")


@pytest.mark.parametrize("runner", [("uvx",), ("uv", "tool", "run")])
def test_a_package_that_is_here_is_not_fetched(runner: tuple[str, ...]) -> None:
    assert argv(*runner, "mcp-server-time", "--x") == (str(SCRIPTS / "mcp-server-time"), "--x")


def test_a_package_that_is_not_here_is_left_to_its_runner(tmp_path: Path) -> None:
    for runner in ("uvx", "npx"):
        program = tmp_path / runner
        program.write_text("#!/bin/sh\n", encoding="ascii")
        program.chmod(0o755)
    found = argv("npx", "-y", "some-server", path=str(tmp_path))
    assert found == (str(tmp_path / "npx"), "-y", "some-server")
    assert argv("uvx", "not-here", path=str(tmp_path))[1:] == ("not-here",)
    assert argv("uvx", "mcp-server-time@1.0", path=str(tmp_path))[1:] == ("mcp-server-time@1.0",)


@pytest.mark.parametrize(
    ("command", "hint"),
    [("npx", "Node.js"), ("uvx", "Install uv"), ("no-such-thing", "Install 'no-such-thing'")],
)
def test_a_command_that_is_not_there_is_named_with_where_it_was_sought(
    command: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.mcp._launch._scripts", lambda: str(tmp_path))
    with pytest.raises(
        McpServerError, match=rf"'{command}' was not found: .* PATH \(1 folder\)"
    ) as e:
        argv(command, path="/nowhere")
    assert "/nowhere" not in str(e.value)
    assert hint in e.value.hint


@pytest.mark.parametrize("folder", ["", "/nowhere/"])
def test_arguments_within_the_command_are_said_to_belong_elsewhere(folder: str) -> None:
    with pytest.raises(McpServerError) as caught:
        argv(f"{folder}mcp-server-time --local-timezone 'Asia/Tokyo x'")
    assert caught.value.hint == (
        f'Arguments go into \'args\': "command": "{folder}mcp-server-time", '
        '"args": ["--local-timezone", "Asia/Tokyo x"].'
    )


async def test_the_log_of_an_earlier_time_does_not_outlive_a_server_that_says_nothing(
    tmp_path: Path,
) -> None:
    silent = ServerConfig(name="a", command=sys.executable, args=("-c", "pass"))
    log = anyio.Path(tmp_path / "a.log")
    await log.write_text("long ago\n", "utf-8")
    async with open_servers(
        McpConfig(servers=(silent,)), timeouts=Timeouts(), log_dir=tmp_path
    ) as servers:
        assert servers.states[0].status == "failed"
    assert not await log.exists()


async def test_a_log_that_others_could_read_is_replaced_by_one_that_they_cannot(
    tmp_path: Path,
) -> None:
    path = anyio.Path(tmp_path / "logs" / "a.log")
    await path.parent.mkdir()
    await path.write_text("long ago\n", "utf-8")
    await path.chmod(0o644)
    diary = Diary(Path(path))
    await diary.begin()
    assert not await path.exists()
    await diary.add(b"one\ntwo")
    await diary.finish()
    assert await path.read_text("utf-8") == "one\ntwo\n"
    assert (await path.stat()).st_mode & 0o777 == 0o600


def test_a_folder_that_is_not_there_is_named() -> None:
    config = ServerConfig(name="a", command="x", cwd=Path("/nowhere/at/all"))
    with pytest.raises(McpServerError, match="'/nowhere/at/all' does not exist"):
        plan_launch(config, {}, "mark", "session", forked_here=False)


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="no prlimit here")
async def test_a_server_has_only_the_memory_that_the_file_gives_it() -> None:
    script = "import resource, sys; sys.exit(str(resource.getrlimit(resource.RLIMIT_AS)[0]))"
    config = ServerConfig(
        name="a", command=sys.executable, args=("-c", script), max_memory_bytes=2_000_000_000
    )
    async with open_servers(McpConfig(servers=(config,)), timeouts=Timeouts()) as servers:
        assert "It said: 2000000000" in servers.states[0].error
