"""Tools as an MCP server, on stdin and stdout or on a loopback port."""

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from mcp.types import Tool as McpTool

from agentkit.errors import ToolError, UnknownToolError
from agentkit.protocols import OpenTool, RunScopedTool, Tool

LINE_BYTES = 16 << 20
"""Longest message on stdin; a client that sends more is cut off."""

STOP_SECONDS = 10
"""From SIGTERM until the process ends, whatever blocks it."""


def on_stdio(tools: Sequence[Tool]) -> int:
    """Serve one client until it closes stdin, or a signal; return the exit code."""
    return anyio.run(_serve_stdio, tools)


def on_http(tools: Sequence[Tool], port: int) -> int:
    """Serve clients on 127.0.0.1 until a signal; return the exit code."""
    import uvicorn

    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        sys.stderr.write(f"agentkit_tools: port {port} cannot be used: {error.strerror}\n")
        return 1
    with listener:
        where = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        names = ", ".join(tool.spec.name for tool in tools)
        sys.stderr.write(f"Serving {names} at {where}\n")
        # No state between requests: clients share this server and must not share variables.
        app = make_server(tools).streamable_http_app(stateless_http=True, json_response=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=STOP_SECONDS)
        anyio.run(uvicorn.Server(config).serve, [listener])
    return 0


def make_server(tools: Sequence[Tool]) -> Server[Any]:
    """Return an MCP server of the tools, each called as it is given."""
    known = {tool.spec.name: tool for tool in tools}
    listing = ListToolsResult(tools=[_describe(tool) for tool in tools])

    async def list_tools(_context: object, _page: PaginatedRequestParams | None) -> ListToolsResult:
        return listing

    async def call_tool(_context: object, request: CallToolRequestParams) -> CallToolResult:
        try:
            tool = known.get(request.name)
            if tool is None:
                raise UnknownToolError(request.name, known)
            text, failed = await tool.call(tool.validate(request.arguments or {})), False
        except ToolError as error:
            text, failed = str(error), True
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=failed)

    return Server("agentkit-tools", on_list_tools=list_tools, on_call_tool=call_tool)


def _describe(tool: Tool) -> McpTool:
    spec = tool.spec
    return McpTool(name=spec.name, description=spec.description, input_schema=dict(spec.parameters))


async def _serve_stdio(tools: Sequence[Tool]) -> int:
    code = 0
    async with anyio.create_task_group() as tasks:

        async def stop_on_signal() -> None:
            nonlocal code
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    code = 128 + number
                    # Writing to a client that does not read cannot be cancelled; this can end it.
                    signal.alarm(STOP_SECONDS)
                    tasks.cancel_scope.cancel()
                    return

        tasks.start_soon(stop_on_signal)
        async with (
            _own_stdin() as lines,
            stdio_server(stdin=lines) as (read, write),
            _opened(tools) as opened,
        ):
            server = make_server(opened)
            await server.run(read, write, server.create_initialization_options())
        tasks.cancel_scope.cancel()
    return code


@asynccontextmanager
async def _opened(tools: Sequence[Tool]) -> AsyncGenerator[list[Tool]]:
    """Give tools with state the state of this one connection, and close it at the end."""
    opened: list[Tool] = []
    closing: list[OpenTool] = []
    for tool in tools:
        if isinstance(tool, RunScopedTool):
            closing.append(tool.for_run())
            opened.append(closing[-1])
        else:
            opened.append(tool)
    try:
        yield opened
    finally:
        with anyio.CancelScope(shield=True):  # each aclose is bounded by itself
            for tool in closing:
                await tool.aclose()


@asynccontextmanager
async def _own_stdin() -> AsyncGenerator[anyio.AsyncFile[str]]:
    """Take stdin for messages alone: whoever else reads fd 0 meanwhile gets the end of the file.

    The SDK's own reader sits in a thread that no cancellation reaches, so that a signal would
    only be obeyed after the next message.
    """
    private = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        yield cast("anyio.AsyncFile[str]", _Lines(private))
    finally:
        os.dup2(private, 0)
        os.close(private)


class _Lines:
    """Lines of a file descriptor; waiting for one can be cancelled."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __aiter__(self) -> AsyncIterator[str]:
        pending = bytearray()
        while data := await self._read():
            # Look for the end of the line in the new part only: a long line comes in many.
            head, newline, rest = data.rpartition(b"\n")
            pending += head if newline else data
            if newline:
                for line in pending.split(b"\n"):
                    yield line.decode("utf-8", "replace")
                pending = bytearray(rest)
            elif len(pending) > LINE_BYTES:
                return

    async def _read(self) -> bytes:
        with suppress(PermissionError):  # a plain file is always readable, and epoll refuses it
            await anyio.wait_readable(self._fd)
        return os.read(self._fd, 1 << 16)
