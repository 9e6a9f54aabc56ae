"""A server of the newest protocol, by the SDK, that offers one tool more once `grow` was called."""

import socket
import sys
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("changing")


@server.tool()
async def grow(ctx: Context[Any, Any]) -> str:
    """Offer one tool more."""

    def grown() -> str:
        return "here I am"

    server.add_tool(grown, description="Say where you are.")
    await ctx.notify_tools_changed()
    return "grown"


def main() -> None:
    if "http" not in sys.argv:
        anyio.run(server.run_stdio_async)
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        config = uvicorn.Config(server.streamable_http_app(), log_level="critical")
        anyio.run(uvicorn.Server(config).serve, [listener])


if __name__ == "__main__":
    main()
