"""A real server of the old kind, told over HTTP to refuse what is posted or to end its streams.

Prints its port. `GET /refuse/401` makes it refuse, `/refuse/0` no more; `GET /cut` ends streams.
"""

import socket
import sys
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.responses import PlainTextResponse

server = MCPServer("old")


@server.tool()
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
async def fail() -> str:
    """Fail."""
    raise ValueError("it cannot")


class Unreliable:
    def __init__(self, app: Any) -> None:
        self.app = app
        self.status = 0
        self.cut = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        words = scope["path"].split("/")
        if words[1] == "refuse":
            self.status = int(words[2])
        if words[1] == "cut":
            self.cut.set()
            self.cut = anyio.Event()
        if words[1] in {"refuse", "cut"}:
            await PlainTextResponse("yes")(scope, receive, send)
        elif scope["method"] == "POST" and self.status:
            await PlainTextResponse("no", status_code=self.status)(scope, receive, send)
        elif scope["method"] == "POST":
            await self.app(scope, receive, send)
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(self.app, scope, receive, send)
                await self.cut.wait()
                group.cancel_scope.cancel()


def main() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # whoever reads the port may come before the server does
        app = Unreliable(server.sse_app(sse_path="/mcp"))
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run([listener])


if __name__ == "__main__":
    main()
