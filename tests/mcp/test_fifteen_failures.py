"""Fifteen ways in which MCP servers fail, over stdio and over HTTP: each costs one short line.

In each case the loop goes on, memory stays flat, no process stays behind, another server answers
during and after it, and the model reads no traceback. What has no form on a transport: a banner and
a line without end (HTTP has messages of a length), HTTP statuses and streams (stdio has none).
"""

import re
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit.errors import ToolError, ToolTimeoutError, ToolUnavailableError
from agentkit.mcp import ServerConfig
from tests.mcp._watch import watched

SERVERS = Path(__file__).parent / "servers"
Hostile = Callable[..., ServerConfig]
Opened = Callable[..., AbstractAsyncContextManager[Any]]
Case = Callable[..., AbstractAsyncContextManager[Any]]

BOTH = ("stdio", "http")
MB = 1_000_000


@asynccontextmanager
async def over_http(mode: str, folder: Path, port: int = 0) -> AsyncGenerator[str]:
    """Run a server by hand as a process of its own."""
    command = [sys.executable, str(SERVERS / "evil_http.py"), mode, str(folder), str(port)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        try:
            yield (await process.stdout.receive()).decode().strip()
        finally:
            if process.returncode is None:
                process.kill()


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Load the SDK before: what that takes is not what a server costs."""
    import_module("agentkit.mcp._opening")


async def wait_for(path: Path) -> None:
    """Wait until a server has left a note."""
    while not await anyio.Path(path).exists():  # noqa: ASYNC110 - not of this process
        await anyio.sleep(0.01)


@pytest.fixture
def case(opened: Opened, hostile: Hostile, tmp_path: Path) -> Case:
    """Return what opens a server that misbehaves beside a good one, and watches what it costs."""

    @asynccontextmanager
    async def open_it(
        kind: str, mode: str = "good", options: dict[str, Any] | None = None, **settings: Any
    ) -> AsyncGenerator[Any]:
        good = replace(hostile("changing", "other"), prefix=True)
        async with AsyncExitStack() as stack:
            bad = hostile(mode, **settings)
            if kind == "http":
                url = await stack.enter_async_context(over_http(mode, tmp_path))
                bad = ServerConfig(name="evil", url=url, transport="http", **settings)
            await stack.enter_async_context(watched())
            session = await stack.enter_async_context(opened(bad, good, **(options or {})))
            assert await session.call("other__echo", text="during") == "during"
            yield session
            assert await session.call("other__echo", text="after") == "after"

    return open_it


def port_of(url: str) -> int:
    return int(url.split(":")[2].partition("/")[0])


def is_short(error: str) -> bool:
    """Tell whether a model can read it: a few lines, and nothing of our insides."""
    insides = ("Traceback", 'File "', "0x7f")
    return len(error) < 700 and error.count("\n") < 3 and not any(one in error for one in insides)


async def fails(session: Any, tool: str, expected: str, **arguments: Any) -> ToolError:
    """Call a tool that must fail, with a short line that says so."""
    with pytest.raises(ToolError) as caught:
        await session.call(tool, **arguments)
    assert re.search(expected, str(caught.value)), str(caught.value)
    assert is_short(str(caught.value)), str(caught.value)
    return caught.value


AT_THE_START = [
    ("stdio", "exit_at_start", r"ended before it was ready \(exit code 3\)\. It said: .*FATAL"),
    ("http", "exit_at_start", r"disconnected|closed|reset|[Cc]onnect"),
    ("stdio", "hang_at_start", r"did not answer within 1 s"),
    ("http", "hang_at_start", r"did not answer within 1 s"),
    ("http", "401", r"HTTP 401: access refused"),
    ("http", "403", r"HTTP 403: access refused"),
    ("http", "429", r"HTTP 429: too many requests; it asks to wait 7 s"),
    ("http", "503", r"HTTP 503: it is not available; it asks to wait 7 s"),
    ("http", "404", r"HTTP 404: nothing there"),
    ("http", "html", r"text/html"),
]


@pytest.mark.parametrize(("kind", "mode", "expected"), AT_THE_START)
async def test_a_server_that_does_not_come_up_is_named(
    case: Case, kind: str, mode: str, expected: str
) -> None:
    async with case(kind, mode, connect_seconds=1.0) as session:
        state = session.states["evil"]
        assert state.status == "failed"
        assert re.search(expected, state.error), state.error
        assert is_short(state.error), state.error
        assert state.hint


UNDERSTOOD: list[tuple[tuple[str, ...], str, dict[str, Any], str]] = [
    (BOTH, "utf8", {}, "bad: \ufffd\ufffd"),
    (BOTH, "surrogate", {}, "half: "),
    (BOTH, "ansi", {}, "red right"),
    (BOTH, "batch", {}, "in a list"),
    (BOTH, "crlf", {}, "crlf"),
    (BOTH, "flood", {}, "after the flood"),
    (BOTH, "ask_back", {}, "refused"),
    (BOTH, "lie", {}, "the structured content does not fit"),
    (BOTH, "no_structure", {}, "plain"),
    (BOTH, "redos", {}, "a" * 40),
    (BOTH, "media", {}, "[link to file:///etc/passwd (passwords), not fetched]"),
    (BOTH, "environment", {}, "PATH"),
    (("http",), "bom", {}, "after the mark"),
]


@pytest.mark.parametrize(
    ("kind", "tool", "arguments", "expected"),
    [(kind, *rest) for (kinds, *rest) in UNDERSTOOD for kind in kinds],
)
async def test_what_makes_sense_is_understood(
    case: Case,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    tool: str,
    arguments: dict[str, Any],
    expected: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    async with case(kind, call_seconds=20) as session:
        text = await session.call(tool, **arguments)
        assert expected in text
        assert kind == "http" or "sk-0123456789" not in text


FAILED: list[tuple[tuple[str, ...], str, dict[str, Any], str]] = [
    (BOTH, "hang", {}, r"took longer than 1 s"),
    (("stdio",), "block", {}, r"took longer than 1 s"),
    (("http",), "slow_loris", {}, r"took longer than 1 s"),
    (BOTH, "half", {}, r"not valid JSON|no JSON-RPC message"),
    (("http",), "junk", {}, r"no JSON-RPC message"),
    (("http",), "page", {}, r"text/html"),
    (BOTH, "huge", {"bytes": 50 * MB}, r"limit of 8\.\d MB"),
    (("http",), "endless", {}, r"limit of 8\.\d MB"),
    (("http",), "endless_event", {}, r"evil"),
    (("http",), "reset", {}, r"evil"),
    (("http",), "drop", {}, r"evil"),
    (("http",), "status", {"status": 401}, r"HTTP 401: access refused"),
    (("http",), "status", {"status": 403}, r"HTTP 403: access refused"),
    (("http",), "status", {"status": 500}, r"HTTP 500"),
]


@pytest.mark.parametrize(
    ("kind", "tool", "arguments", "expected"),
    [(kind, *rest) for kinds, *rest in FAILED for kind in kinds],
)
async def test_a_call_that_fails_costs_that_call(
    case: Case, kind: str, tool: str, arguments: dict[str, Any], expected: str
) -> None:
    async with case(kind, call_seconds=1.0 if "longer" in expected else 30.0) as session:
        await fails(session, tool, expected, **arguments)
        if tool != "block":
            assert await session.call("echo", text="next") == "next"


@pytest.mark.parametrize(("status", "seconds"), [(429, 7.0), (503, 7.0)])
async def test_a_server_that_says_later_is_asked_later(
    case: Case, status: int, seconds: float
) -> None:
    async with case("http") as session:
        error = await fails(session, "status", f"HTTP {status}.*wait 7 s", status=status)
        assert isinstance(error, ToolUnavailableError)
        assert error.retry_after == seconds


async def test_a_session_that_was_lost_is_begun_anew(case: Case) -> None:
    async with case("http") as session:
        assert await session.call("forget") == "who are you?"
        error = await fails(session, "echo", r"HTTP 404: nothing there, or the session is over")
        assert isinstance(error, ToolUnavailableError)  # it has done nothing: the loop tries again
        assert await session.call("echo", text="again") == "again"


@pytest.mark.parametrize("kind", BOTH)
async def test_a_crash_fails_the_calls_under_way(case: Case, kind: str, tmp_path: Path) -> None:
    async with case(kind, call_seconds=30) as session:

        async def lost(tool: str) -> None:
            await fails(session, tool, "What the call has done is unknown")

        async with anyio.create_task_group() as calls:
            calls.start_soon(lost, "hang")
            await wait_for(tmp_path / "hanging")
            calls.start_soon(lost, "crash")
        if kind == "stdio":  # it is ours to start again
            assert await session.call("echo", text="again") == "again"
        else:
            await fails(session, "echo", "evil")


async def test_an_address_that_comes_back_is_used_again(opened: Opened, tmp_path: Path) -> None:
    async with AsyncExitStack() as first:
        url = await first.enter_async_context(over_http("good", tmp_path))
        async with opened(ServerConfig(name="evil", url=url)) as session:
            await fails(session, "crash", "unknown")
            await fails(session, "echo", "evil")
            async with over_http("good", tmp_path, port_of(url)):
                assert await session.call("echo", text="back") == "back"


@pytest.mark.parametrize("kind", BOTH)
async def test_tools_that_are_wrong_cost_themselves(case: Case, kind: str) -> None:
    async with case(kind, "bad_tools") as session:
        names = {name for name in session.tools if not name.startswith("other__")}
        assert {"echo", "without_schema", "dup", "referring", "hostile"} <= names
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
        assert any("not_an_object" in note for note in session.states["evil"].notes)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("mode", ["same_page", "more_pages"])
async def test_a_list_without_end_is_cut(case: Case, kind: str, mode: str) -> None:
    async with case(kind, mode) as session:
        assert len(session.tools) <= 50 + 5
        assert any("does not end" in note for note in session.states["evil"].notes)


@pytest.mark.parametrize("kind", BOTH)
async def test_a_tool_that_changes_under_its_name_is_withheld(
    opened: Opened, hostile: Hostile, tmp_path: Path, kind: str
) -> None:
    port = 0
    for withheld in ((), ("echo", "fresh")):
        async with AsyncExitStack() as stack:
            config = hostile("rug_pull")
            if kind == "http":
                url = await stack.enter_async_context(over_http("rug_pull", tmp_path, port))
                port = port_of(url)
                config = ServerConfig(name="evil", url=url)
            await stack.enter_async_context(watched())
            pins = tmp_path / "pins"
            session = await stack.enter_async_context(opened(config, pins_dir=pins))
            assert session.states["evil"].withheld == withheld
            assert not set(withheld) & set(session.tools)


@pytest.mark.parametrize("kind", BOTH)
async def test_two_servers_and_our_own_tools_do_not_shadow_each_other(
    case: Case, kind: str
) -> None:
    async with case(kind, "changing", options={"taken_names": ["listed"]}) as session:
        assert {"echo", "evil__listed", "other__echo", "other__listed"} <= set(session.tools)
        assert await session.call("echo", text="evil") == "evil"
        assert await session.call("other__echo", text="other") == "other"


@pytest.mark.parametrize("kind", BOTH)
async def test_a_caller_that_leaves_takes_nobody_with_it(
    case: Case, kind: str, tmp_path: Path
) -> None:
    async with case(kind) as session:
        async with anyio.create_task_group() as calls:
            calls.start_soon(session.call, "hang")
            await wait_for(tmp_path / "hanging")
            calls.cancel_scope.cancel()
        assert await session.call("echo", text="still") == "still"


async def test_a_server_that_does_not_let_go_is_left(case: Case, tmp_path: Path) -> None:
    async with case("http", "delete_hang", close_seconds=0.2) as session:
        assert await session.call("echo", text="hi") == "hi"
    assert await anyio.Path(tmp_path / "deleted").exists()


@pytest.mark.parametrize("kind", BOTH)
async def test_closing_while_calls_are_under_way_ends_them(
    opened: Opened, hostile: Hostile, tmp_path: Path, kind: str
) -> None:
    async with AsyncExitStack() as stack:
        config = hostile(call_seconds=60)
        if kind == "http":
            url = await stack.enter_async_context(over_http("good", tmp_path))
            config = ServerConfig(name="evil", url=url, call_seconds=60)
        ended: list[str] = []
        async with anyio.create_task_group() as calls, watched(), opened(config) as session:

            async def call() -> None:
                with pytest.raises(ToolError) as caught:
                    await session.call("hang")
                assert not isinstance(caught.value, ToolTimeoutError)
                ended.append(str(caught.value))

            calls.start_soon(call)
            await wait_for(tmp_path / "hanging")
        assert all(is_short(text) for text in ended)
        assert len(ended) == 1
