"""Servers that misbehave: each costs one clear error, and nothing else."""

import json
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentkit.errors import RequiredToolError, ToolError, ToolInputError, ToolTimeoutError
from agentkit.mcp import ServerConfig

Opened = Callable[..., AbstractAsyncContextManager[Any]]
Hostile = Callable[..., ServerConfig]


async def wait_for_note(file: Path, lines: int = 1) -> list[str]:
    """Wait until the server has written that many lines."""
    path = anyio.Path(file)
    while True:
        found = (await path.read_text("utf-8")).splitlines() if await path.exists() else []
        if len(found) >= lines:
            return found
        await anyio.sleep(0.01)


async def test_a_server_that_dies_at_start_is_named_and_the_others_work(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    dying = hostile("exit_at_start", "dying", secrets=("s3cr3t-value",))
    async with opened(dying, hostile(), log_dir=tmp_path / "logs") as session:
        state = session.states["dying"]
        assert state.status == "failed"
        assert "exit code 3" in state.error
        assert "FATAL: the key *** is wrong" in state.error
        assert "s3cr3t" not in state.error + state.hint
        assert await session.call("echo", text="still here") == "still here"
    log = await anyio.Path(tmp_path / "logs" / "dying.log").read_text("utf-8")
    assert log.startswith("starting\nFATAL")


async def test_a_server_that_never_answers_fails_at_its_own_deadline(
    opened: Opened, hostile: Hostile
) -> None:
    silent = hostile("hang_at_start", "silent", connect_seconds=0.3)
    async with opened(silent, hostile()) as session:
        assert session.states["silent"].status == "failed"
        assert "did not answer within 0.3 s" in session.states["silent"].error
        assert await session.call("echo", text="hi") == "hi"


async def test_a_required_server_that_fails_ends_the_opening_at_once(
    opened: Opened, hostile: Hostile
) -> None:
    dying = hostile("exit_at_start", "dying", required=True)
    with pytest.raises(RequiredToolError, match=r"'dying' cannot be used: .*exit code 3"):
        async with opened(dying, hostile("hang_at_start", "silent")):
            pytest.fail("it must not open")


@pytest.mark.parametrize(("tool", "end"), [("crash", "exit code 7"), ("segv", "SIGSEGV")])
async def test_a_crash_fails_the_calls_under_way_and_the_next_call_starts_anew(
    opened: Opened, hostile: Hostile, tmp_path: Path, tool: str, end: str
) -> None:
    failures: list[str] = []
    async with opened(hostile()) as session:

        async def lost(name: str) -> None:
            with pytest.raises(ToolError, match="What the call has done is unknown") as caught:
                await session.call(name)
            failures.append(str(caught.value))

        async with anyio.create_task_group() as calls:
            calls.start_soon(lost, "hang")
            await wait_for_note(tmp_path / "hanging")
            calls.start_soon(lost, tool)
        assert all(end in failure for failure in failures)
        assert await session.call("echo", text="again") == "again"
    assert await wait_for_note(tmp_path / "calls") == ["hang", tool, "echo"]  # nothing is repeated
    assert len(await wait_for_note(tmp_path / "starts")) == 2


@pytest.mark.parametrize("tool", ["hang", "block"])
async def test_a_call_that_hangs_ends_at_its_deadline_and_a_late_answer_is_ignored(
    opened: Opened, hostile: Hostile, tmp_path: Path, tool: str
) -> None:
    async with opened(hostile("ignore_eof", call_seconds=0.3)) as session:
        assert session.tools[tool].spec.timeout_seconds == 0.3
        with pytest.raises(ToolTimeoutError, match=f"{tool} of the MCP server 'evil' took longer"):
            await session.call(tool)
        if tool == "hang":
            await wait_for_note(tmp_path / "cancelled")
            assert await session.call("echo", text="hi") == "hi"


async def test_cancelling_the_caller_cancels_the_call_and_leaves_the_session_usable(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    async with opened(hostile()) as session:
        async with anyio.create_task_group() as calls:
            calls.start_soon(session.call, "hang")
            await wait_for_note(tmp_path / "hanging")
            calls.cancel_scope.cancel()
        cancelled = await wait_for_note(tmp_path / "cancelled")
        assert cancelled == await wait_for_note(tmp_path / "hanging")
        assert await session.call("echo", text="hi") == "hi"
    assert len(await wait_for_note(tmp_path / "starts")) == 1


@pytest.mark.parametrize("mode", ["banner", "bom", "stderr_flood", "ignore_eof"])
async def test_noise_around_the_protocol_is_put_up_with(
    opened: Opened, hostile: Hostile, mode: str
) -> None:
    async with opened(hostile(mode)) as session:
        assert session.states["evil"].error == ""
        assert await session.call("echo", text="\N{SNOWMAN}") == "\N{SNOWMAN}"


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("utf8", "bad: \ufffd\ufffd"),
        ("surrogate", "half: ?"),
        ("batch", "in a list"),
        ("crlf", "crlf"),
        ("ansi", "red right"),
        ("flood", "after the flood"),
        ("ask_back", "refused"),
    ],
)
async def test_a_malformed_answer_is_understood_where_it_has_a_sense(
    opened: Opened, hostile: Hostile, tool: str, expected: str
) -> None:
    async with opened(hostile(call_seconds=20)) as session:
        assert await session.call(tool) == expected
        assert await session.call("echo", text="next") == "next"


async def test_an_answer_that_makes_no_sense_fails_its_call_at_once(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile()) as session:
        with pytest.raises(ToolError, match="not valid JSON"):
            await session.call("half")
        with pytest.raises(ToolError, match="surrogates not allowed"):
            await session.call("echo", text="\ud800")
        assert await session.call("echo", text="next") == "next"


@pytest.mark.parametrize("tool", ["huge", "huge_id_last"])
async def test_an_oversized_answer_fails_its_call_and_costs_no_memory(
    opened: Opened, hostile: Hostile, tool: str
) -> None:
    async with opened(hostile(max_message_bytes=1_000_000, max_result_chars=1000)) as session:
        with pytest.raises(ToolError, match=r"20\.0 MB, more than the limit of 1\.0 MB"):
            await session.call(tool, bytes=20_000_000)
        text = await session.call(tool, bytes=900_000)
        assert "899000 of 900000 characters left out" in text
        assert len(text) < 1100


async def test_an_endless_answer_ends_the_connection_and_the_next_call_starts_anew(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile(max_message_bytes=1_000_000)) as session:
        with pytest.raises(ToolError, match="a line without end"):
            await session.call("endless")
        assert await session.call("echo", text="again") == "again"


async def test_bad_tools_are_left_out_or_mended_one_by_one(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile("bad_tools")) as session:
        state = session.states["evil"]
        assert state.status == "ready"
        left_out = ("not_an_object", "schema_is_text", "bad_type", "deep", "only_a_task")
        assert all(any(name in note for note in state.notes) for name in (*left_out, "dup"))
        names = ["bad_rest", "dots_and_spaces__", "dup", "echo", "hostile", "referring"]
        assert list(session.tools)[:6] == names
        assert not session.tools.keys() & set(left_out)
        assert all(len(name) <= 64 for name in session.tools)
        specs = {name: tool.spec for name, tool in session.tools.items()}
        assert specs["echo"].description == "good  one"
        assert specs["dup"].description == "first"
        assert specs["required_null"].parameters["properties"] == {"a": {}}
        assert specs["referring"].parameters["properties"]["far"] == {}
        with pytest.raises(ToolInputError, match="day: 'sunday' is not one of"):
            session.tools["referring"].validate({"day": "sunday"})
        assert session.tools["hostile"].validate({"text": "a" * 50 + "!"})  # the server's to check
        assert await session.call("echo", text="works") == "works"


@pytest.mark.parametrize(("mode", "count"), [("same_page", 1), ("more_pages", 50)])
async def test_a_list_without_end_is_cut(
    opened: Opened, hostile: Hostile, mode: str, count: int
) -> None:
    async with opened(hostile(mode)) as session:
        assert len(session.tools) == count
        assert any("does not end" in note for note in session.states["evil"].notes)


async def test_structured_content_that_breaks_its_promise_is_used_and_flagged(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile()) as session:
        lie = await session.call("lie")
        assert lie.startswith('{"count":"many"}\n[the structured content does not fit')
        assert "plain\n[" in await session.call("no_structure")
        assert await session.call("redos") == json.dumps(
            {"text": "a" * 40 + "!"}, separators=(",", ":")
        )


async def test_what_is_not_text_is_summed_up_and_never_fetched(
    opened: Opened, hostile: Hostile
) -> None:
    async with opened(hostile()) as session:
        assert (await session.call("media")).splitlines() == [
            "[image, image/png, 11 bytes, not shown]",
            "[link to file:///etc/passwd (passwords), not fetched]",
            "[resource note://1]",
            "inside",
            "[resource, unknown type, 11 bytes, not shown]",
        ]


async def test_a_server_inherits_no_secret(
    opened: Opened, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("UV_PUBLISH_TOKEN", "t")
    monkeypatch.setenv("SSL_CERT_FILE", "/certs")
    async with opened(hostile(env={"MINE": "yes"})) as session:
        seen = json.loads(await session.call("environment"))
    assert not {"OPENAI_API_KEY", "UV_PUBLISH_TOKEN"} & set(seen)
    assert (seen["SSL_CERT_FILE"], seen["MINE"]) == ("/certs", "yes")


@pytest.mark.parametrize("tool", ["child", "child_setsid"])
async def test_grandchildren_end_with_their_server(
    opened: Opened,
    hostile: Hostile,
    tool: str,
    marked_processes: Callable[[], list[str]],
) -> None:
    async with opened(hostile()) as session:
        assert await session.call(tool) == "started"
        with anyio.fail_after(20):  # a command line is there a moment after its process
            while len(await anyio.to_thread.run_sync(marked_processes)) != 2:
                await anyio.lowlevel.checkpoint()
    assert await anyio.to_thread.run_sync(marked_processes) == []


async def test_the_error_of_the_block_leaves_it_as_it_is(opened: Opened, hostile: Hostile) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with opened(hostile()):
            raise KeyError("mine")


async def test_calls_from_many_tasks_share_one_server(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    answers: dict[int, str] = {}
    async with opened(hostile()) as session:

        async def ask(number: int) -> None:
            answers[number] = await session.call("echo", text=str(number))

        async with anyio.create_task_group() as calls:
            for number in range(100):
                calls.start_soon(ask, number)
    assert answers == {number: str(number) for number in range(100)}
    assert len(await wait_for_note(tmp_path / "starts")) == 1


async def test_the_log_of_a_server_holds_no_secret_and_is_for_its_owner_alone(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    logs = anyio.Path(tmp_path / "logs")
    dying = hostile("unended", "dying", secrets=("s3cr3t-value",))
    async with opened(dying, log_dir=Path(logs)) as session:
        assert "The key is ***" in session.states["dying"].error
    first, last = (await (logs / "dying.log").read_text("utf-8")).splitlines()
    assert len(first) == 2000
    assert last == "The key is ***"
    assert stat.S_IMODE((await logs.stat()).st_mode) == 0o700
    assert stat.S_IMODE((await (logs / "dying.log").stat()).st_mode) == 0o600


async def test_a_log_that_others_could_read_is_replaced(
    opened: Opened, hostile: Hostile, tmp_path: Path
) -> None:
    log = anyio.Path(tmp_path / "dying.log")
    await log.write_text("old", "utf-8")
    await log.chmod(0o644)
    async with opened(hostile("exit_at_start", "dying"), log_dir=tmp_path):
        pass
    assert (await log.read_text("utf-8")).startswith("starting\n")
    assert stat.S_IMODE((await log.stat()).st_mode) == 0o600
