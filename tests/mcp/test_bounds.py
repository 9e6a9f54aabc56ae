"""Bounds that a server meets when it tries: on what it may ask, list, send and call itself."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit.errors import OutcomeUnknownError, ToolError
from agentkit.mcp import ServerConfig
from agentkit.mcp._listing import Listing, mended_list
from agentkit.mcp._names import choose_names
from agentkit.mcp._pins import Pins
from tests.mcp._watch import watched

SERVERS = Path(__file__).parent / "servers"
Hostile = Callable[..., ServerConfig]
Opened = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.mark.parametrize("code", [-32000, -32001])
async def test_an_error_with_a_code_of_the_sdk_is_an_error_like_others(
    opened: Opened, hostile: Hostile, tmp_path: Path, code: int
) -> None:
    async with opened(hostile()) as session:
        with pytest.raises(ToolError, match="MCP server 'evil': no such city !!!") as caught:
            await session.call("own_code", code=code)
        assert not isinstance(caught.value, OutcomeUnknownError)
        assert len(str(caught.value)) < 600
        assert "\x1b" not in str(caught.value)
        assert await session.call("echo", text="still here") == "still here"
    assert len((await to_thread.run_sync((tmp_path / "starts").read_text)).split()) == 1


@pytest.mark.parametrize(
    ("tool", "expected"),
    [("interrogate", "asked enough"), ("blocks", r"\[21000 further parts left out\]")],
)
async def test_a_flood_costs_neither_time_nor_memory(
    opened: Opened, hostile: Hostile, tool: str, expected: str
) -> None:
    async with opened(hostile(call_seconds=30)) as session:
        assert re.search(expected, await session.call(tool))  # what is made once is made here
        async with watched():
            assert re.search(expected, await session.call(tool))
            assert await session.call("echo", text="next") == "next"


@pytest.mark.parametrize("tool", ["lists"])
async def test_an_answer_of_too_many_parts_is_refused_at_once(
    opened: Opened, hostile: Hostile, tool: str
) -> None:
    async with opened(hostile(call_seconds=30)) as session, watched():
        with pytest.raises(ToolError, match="more than 25,000 parts"):
            await session.call(tool)
        assert await session.call("echo", text="next") == "next"


async def test_a_list_of_nothing_is_passed_over(opened: Opened, hostile: Hostile) -> None:
    async with opened(hostile(call_seconds=30)) as session, watched():
        assert await session.call("batch_of_nothing") == "after it"


async def test_a_page_under_an_id_written_as_text_is_mended_too(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile("text_ids")) as session, watched():
        assert set(session.tools) == {"echo", "redos"}
        assert "aaaa" in await session.call("redos")  # its pattern is for nobody to run


async def test_of_many_pictures_the_first_are_kept(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    folder = tmp_path / "media"
    async with opened(hostile(), media_dir=folder) as session:
        lines = (await session.call("pictures")).splitlines()
    assert len(lines) == 500
    assert sum("kept as" in line for line in lines) == 20
    assert len(await to_thread.run_sync(lambda: list(folder.iterdir()))) == 20


async def test_a_server_that_repeats_a_secret_is_not_heard(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile(secrets=("s3cr3t-value",))) as session:
        assert await session.call("tell_secret") == "the key is ***"
        with pytest.raises(ToolError) as caught:
            await session.call("tell_secret", loud=True)
        assert str(caught.value) == "the key is ***"


async def test_a_stream_that_cannot_be_resumed_leaves_the_outcome_unknown(
    opened: Opened, tmp_path: Path
) -> None:
    command = [sys.executable, str(SERVERS / "evil_http.py"), "good", str(tmp_path)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        url = (await process.stdout.receive()).decode().strip()
        try:
            async with opened(ServerConfig(name="evil", url=url, call_seconds=20)) as session:
                with pytest.raises(OutcomeUnknownError):
                    await session.call("drop_with_id")
        finally:
            process.kill()


def test_a_definition_that_is_too_long_is_left_out_and_the_list_is_bounded() -> None:
    long = {"name": "long", "inputSchema": {"type": "object", "x": "y" * 70_000}}
    wide = {"name": "wide", "inputSchema": {"type": "object", "enum": [0] * 70_000}}
    fine = {"name": "fine", "inputSchema": {"type": "object"}}
    listing = Listing()
    answer = mended_list({"tools": [long, wide, fine]}, listing)
    assert [tool["name"] for tool in answer["tools"]] == ["fine"]
    assert [note.split(":")[0] for note in listing.notes] == [
        "tool 'long' was left out",
        "tool 'wide' was left out",
    ]
    heavy: list[Any] = [
        {"name": f"t{n}", "description": "x" * 60_000, "inputSchema": {}} for n in range(500)
    ]
    full = Listing()
    mended_list({"tools": heavy}, full)
    assert 100 < len(full.tools) < 200
    assert len(full.notes) <= 100


def test_no_server_takes_a_name_that_is_another_s() -> None:
    evil = ServerConfig(name="evil")
    files = ServerConfig(name="files", prefix=True)
    wiki = ServerConfig(name="wiki")
    offers = [(evil, ["files__read", "READ", "search_tools"]), (files, ["read"]), (wiki, ["read"])]
    names = choose_names(offers, ["search_tools"], servers=["evil", "files", "wiki"])
    assert names == [
        {
            "READ": "evil__READ",
            "files__read": "evil__files__read",
            "search_tools": "evil__search_tools",
        },
        {"read": "files__read"},
        {"read": "wiki__read"},
    ]


async def test_tools_for_reading_do_not_collide_with_those_of_others(
    opened: Opened, hostile: Hostile
) -> None:
    one = replace(hostile("good", "a.b"), resources=True)
    two = replace(hostile("good", "a_b"), resources=True)
    async with opened(one, two) as session:
        reading = sorted(name for name in session.tools if "resource" in name)
    assert len(reading) == len(set(reading)) == 4


def listing_of(*names: str) -> Listing:
    listing = Listing()
    tools: list[Any] = [{"name": name, "inputSchema": {}} for name in names]
    mended_list({"tools": tools}, listing)
    return listing


def test_where_pins_cannot_be_written_the_first_list_counts_while_we_run(tmp_path: Path) -> None:
    folder = tmp_path / "pins"
    folder.symlink_to(tmp_path / "nowhere")
    pins = Pins(folder, ServerConfig(name="a", command="x"))
    first = pins.judge(listing_of("one"))
    assert first.withheld == {}
    assert "its tools are not pinned" in first.note
    assert set(pins.judge(listing_of("one", "two")).withheld) == {"two"}
    strict = Pins(folder, ServerConfig(name="a", command="x", pins="approved"))
    assert set(strict.judge(listing_of("one")).withheld) == {"one"}


async def test_what_is_approved_is_what_was_shown(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    pins = tmp_path / "pins"
    config = hostile("changing", pins="approved")
    async with opened(config, pins_dir=pins) as session:
        await session.servers.review("evil")
        server = session.servers._servers["evil"]
        await server._learn(listing_of("echo", "other"))  # it changes while a person reads
        await session.servers.approve("evil")
        assert session.servers.states[0].withheld == ("echo", "other")
    (path,) = await to_thread.run_sync(lambda: list(pins.iterdir()))
    kept: dict[str, Any] = json.loads(await to_thread.run_sync(path.read_text))
    assert set(kept["tools"]) == {"change", "echo", "gone", "listed"}


async def test_names_of_withheld_tools_are_not_told_in_the_system_s_place(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    async with opened(hostile("changing", pins="approved"), pins_dir=tmp_path) as session:
        told = session.servers.missing
    assert told.startswith("- 4 of the tools of the MCP server 'evil' cannot be used")
    assert "echo" not in told
