"""Tools as an MCP server, on stdin and stdout or on a loopback port."""

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from mcp.types import Tool as McpTool

from agentkit.errors import ConfigurationError, ToolError, UnknownToolError
from agentkit.protocols import CURRENT_CALL, CallContext, OpenTool, RunScopedTool, Tool
from agentkit.serve.progress import Report, progress_to
from agentkit.serve.signals import until_signal
from agentkit.serve.wire import open_wire


def serve(tools: Sequence[Tool], port: int | None) -> int:
    """Serve one client on stdin and stdout until it leaves, or clients on a port until a signal.

    Returns:
        The exit code.
    """
    try:
        return anyio.run(until_signal, partial(_serve, tools, port))
    except ConfigurationError as error:
        sys.stderr.write(f"agentkit_tools: {error}\n")
        return 1


async def _serve(tools: Sequence[Tool], port: int | None) -> None:
    async with open_wire(port, ", ".join(tool.spec.name for tool in tools)) as serve:
        if port is not None:  # clients share the server, and must not share variables
            await serve(make_server(tools))
            return
        async with _opened(tools) as opened:
            await serve(make_server(opened))


def make_server(tools: Sequence[Tool]) -> Server[Any]:
    """Return an MCP server of the tools, each called as it is given.

    How far a call is goes to the client that asks for it; one that it cancels is cancelled.
    """
    known = {tool.spec.name: tool for tool in tools}
    listing = ListToolsResult(tools=[_describe(tool) for tool in tools])

    async def list_tools(_context: object, _page: PaginatedRequestParams | None) -> ListToolsResult:
        return listing

    async def call_tool(
        context: ServerRequestContext[Any, Any], request: CallToolRequestParams
    ) -> CallToolResult:
        try:
            tool = known.get(request.name)
            if tool is None:
                raise UnknownToolError(request.name, known)
            arguments = tool.validate(request.arguments or {})
            async with progress_to(context.session) as report:
                CURRENT_CALL.set(_call_of(context, report))
                text, failed = await tool.call(arguments), False
        except ToolError as error:
            text, failed = str(error), True
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=failed)

    return Server("agentkit-tools", on_list_tools=list_tools, on_call_tool=call_tool)


def _call_of(context: ServerRequestContext[Any, Any], report: Report) -> CallContext:
    """Return what a tool may know: a key that agentkit sends along is the same on each attempt."""
    key = (context.meta or {}).get("agentkit/idempotencyKey")
    return CallContext(
        run_id="",
        call_id=str(context.request_id),
        key=key if isinstance(key, str) else uuid4().hex,
        report=report,
    )


def _describe(tool: Tool) -> McpTool:
    spec = tool.spec
    return McpTool(name=spec.name, description=spec.description, input_schema=dict(spec.parameters))


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
