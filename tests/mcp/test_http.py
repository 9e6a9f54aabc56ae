"""Servers that are spoken to over streamable HTTP: real ones, and ones that refuse."""

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agentkit.errors import ToolError, ToolTimeoutError, ToolUnavailableError
from agentkit.mcp import ServerConfig

Opened = Callable[..., AbstractAsyncContextManager[Any]]
Answer = Callable[[Request, dict[str, Any]], Awaitable[Response | None]]

TOOL = {"name": "echo", "inputSchema": {"type": "object"}}


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[str]:
    """Serve an application on loopback."""
    settings = uvicorn.Config(
        app, log_level="critical", timeout_graceful_shutdown=1, lifespan="on", ws="none"
    )
    server = uvicorn.Server(settings)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            while not server.started:  # noqa: ASYNC110 - it offers no event
                await anyio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            server.should_exit = True


def by_hand(answer: Answer) -> Starlette:
    """Return a server that says what `answer` says, and speaks the protocol where that is None."""

    async def handle(request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405)
        message = await request.json()
        said = await answer(request, message)
        if said is not None:
            return said
        if "id" not in message:
            return Response(status_code=202)
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "by hand", "version": "1"},
            },
            "tools/list": {"tools": [TOOL]},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }
        if message["method"] in results:
            return JSONResponse(
                {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}
            )
        error = {"code": -32601, "message": "no such method"}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})

    return Starlette(routes=[Route("/mcp", handle, methods=["GET", "POST", "DELETE"])])


def real_server() -> Starlette:
    server = MCPServer("real")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def wait(ctx: Context[Any, Any]) -> str:
        """Wait for ever."""
        await anyio.sleep_forever()
        return ""

    assert add
    return server.streamable_http_app()


async def test_a_real_server_is_called_and_its_schema_is_held(opened: Opened) -> None:
    async with (
        serving(real_server()) as url,
        opened(ServerConfig(name="real", url=url, call_seconds=0.5)) as session,
    ):
        assert session.states["real"].error == ""
        assert await session.call("add", a=2, b=3) == "5"
        with pytest.raises(ToolError, match="a: 'two' is not of type 'integer'"):
            await session.call("add", a="two", b=3)
        with pytest.raises(ToolTimeoutError, match=r"took longer than 0\.5 s"):
            await session.call("wait")
        assert await session.call("add", a=1, b=1) == "2"


@pytest.mark.parametrize(
    ("status", "expected", "hint"),
    [
        (401, "HTTP 401: access refused", "Check 'headers'"),
        (403, "HTTP 403: access refused", "Check 'headers'"),
        (404, "HTTP 404: nothing there", "Check that a server listens at http://127.0.0.1"),
        (503, "HTTP 503", "Check that a server listens"),
    ],
)
async def test_a_server_that_refuses_is_named_with_its_status(
    opened: Opened, status: int, expected: str, hint: str
) -> None:
    async def refuse(request: Request, message: dict[str, Any]) -> Response:
        return PlainTextResponse("no", status_code=status)

    async with (
        serving(by_hand(refuse)) as url,
        opened(ServerConfig(name="shut", url=url + "?key=s3cr3t")) as session,
    ):
        state = session.states["shut"]
        assert (state.status, state.hint.startswith(hint)) == ("failed", True)
        assert expected in state.error
        assert "s3cr3t" not in state.error + state.hint


async def test_a_server_that_is_not_there_is_named(opened: Opened) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    async with opened(ServerConfig(name="gone", url=f"http://127.0.0.1:{port}/mcp")) as session:
        assert session.states["gone"].status == "failed"
        assert f"listens at http://127.0.0.1:{port}/mcp" in session.states["gone"].hint


async def test_headers_are_sent_and_a_refused_call_says_when_to_come_back(opened: Opened) -> None:
    async def limit(request: Request, message: dict[str, Any]) -> Response | None:
        if request.headers.get("authorization") != "Bearer s3cr3t-value":
            return Response(status_code=401)
        if message["method"] == "tools/call":
            return Response(status_code=429, headers={"Retry-After": "7"})
        return None

    headers = {"Authorization": "Bearer s3cr3t-value"}
    async with (
        serving(by_hand(limit)) as url,
        opened(ServerConfig(name="busy", url=url, headers=headers)) as session,
    ):
        with pytest.raises(ToolError, match="HTTP 429: too many requests; it asks to wait 7 s"):
            await session.call("echo")


async def test_a_session_that_is_over_fails_one_call_and_is_opened_anew(opened: Opened) -> None:
    calls = 0

    async def forget(request: Request, message: dict[str, Any]) -> Response | None:
        nonlocal calls
        if message["method"] != "tools/call":
            return None
        calls += 1
        return Response(status_code=404) if calls == 1 else None

    async with serving(by_hand(forget)) as url, opened(ServerConfig(name="a", url=url)) as session:
        with pytest.raises(ToolError, match="the session is over"):
            await session.call("echo")
        assert await session.call("echo") == "done"


@pytest.mark.parametrize(
    ("media", "expected"), [("text/html", "content type"), ("application/json", "")]
)
async def test_a_page_in_place_of_an_answer_is_an_error(
    opened: Opened, media: str, expected: str
) -> None:
    async def log_in(request: Request, message: dict[str, Any]) -> Response | None:
        if message["method"] == "tools/call":
            return Response("<html>log in", media_type=media)
        return None

    async with (
        serving(by_hand(log_in)) as url,
        opened(ServerConfig(name="a", url=url, call_seconds=10)) as session,
    ):
        with pytest.raises(ToolError, match=f"MCP server 'a': .*{expected}"):
            await session.call("echo")


async def test_a_broken_off_answer_fails_its_call_and_the_next_works(opened: Opened) -> None:
    calls = 0

    async def break_off(request: Request, message: dict[str, Any]) -> Response | None:
        nonlocal calls
        if message["method"] != "tools/call":
            return None
        calls += 1
        # Shorter than it says: the connection is cut in the middle of the answer.
        short = Response('{"jsonrpc"', headers={"Content-Length": "500"})
        short.headers["content-type"] = "application/json"
        return short if calls == 1 else None

    async with (
        serving(by_hand(break_off)) as url,
        opened(ServerConfig(name="a", url=url)) as session,
    ):
        with pytest.raises(ToolError, match="What the call has done is unknown"):
            await session.call("echo")
        assert await session.call("echo") == "done"


async def test_an_oversized_answer_is_refused(opened: Opened) -> None:
    async def swell(request: Request, message: dict[str, Any]) -> Response | None:
        if message["method"] != "tools/call":
            return None
        content = [{"type": "text", "text": "x" * 5_000_000}]
        result = {"content": content}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with (
        serving(by_hand(swell)) as url,
        opened(ServerConfig(name="a", url=url, max_message_bytes=1_000_000)) as session,
    ):
        with pytest.raises(ToolError, match=r"longer than the limit of 1\.0 MB"):
            await session.call("echo")


async def test_what_is_refused_for_now_says_when_to_come_again(opened: Opened) -> None:
    async def busy(request: Request, message: dict[str, Any]) -> Response | None:
        if message["method"] != "tools/call":
            return None
        return Response(status_code=503, headers={"Retry-After": "3"})

    async with (
        serving(by_hand(busy)) as url,
        opened(ServerConfig(name="busy", url=url)) as session,
    ):
        with pytest.raises(ToolUnavailableError, match=r"HTTP 503.*asks to wait 3 s") as caught:
            await session.call("echo")
        assert caught.value.retry_after == 3.0


async def test_what_a_server_says_beside_a_refusal_is_heard(opened: Opened) -> None:
    async def odd(request: Request, message: dict[str, Any]) -> Response | None:
        if message["method"] != "tools/call":
            return None
        error = {"code": -32602, "message": "the city has no name"}
        answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
        return JSONResponse(answer, status_code=400)

    async with (
        serving(by_hand(odd)) as url,
        opened(ServerConfig(name="odd", url=url)) as session,
    ):
        with pytest.raises(ToolError, match="MCP server 'odd': the city has no name"):
            await session.call("echo")
