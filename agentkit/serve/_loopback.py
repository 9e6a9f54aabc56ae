"""Any number of clients, over streamable HTTP on 127.0.0.1."""

import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn
from mcp.server.lowlevel import Server
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentkit.errors import ConfigurationError
from agentkit.serve._groups import bare

_PATH = "/mcp"
_LEAVE_SECONDS = 2  # for connections on which nothing goes on any more


@asynccontextmanager
async def open_loopback(
    port: int, what: str
) -> AsyncGenerator[Callable[[Server[Any]], Awaitable[None]]]:
    """Take a port, and give what serves there.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigurationError(
            f"Port {port} cannot be used: {why}.", hint="0 takes a free one."
        ) from error
    with listener:

        async def serve(server: Server[Any]) -> None:
            where = f"http://127.0.0.1:{listener.getsockname()[1]}{_PATH}"
            sys.stderr.write(f"Serving {what} at {where}\n")
            sys.stderr.flush()
            await _serve(server, listener)

        yield serve


async def _serve(server: Server[Any], listener: socket.socket) -> None:
    """Serve until cancelled; what goes on then is cancelled, and has ended on return.

    Answers are streams and clients of the older protocol have sessions: else progress would not
    reach a client, nor its cancellation us. The SDK refuses a Host or Origin that is not local.
    """
    exchanges = _Exchanges(server.streamable_http_app(streamable_http_path=_PATH, host="127.0.0.1"))
    config = uvicorn.Config(
        exchanges,
        lifespan="off",  # the sessions end before the connections do, which wait for them
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_LEAVE_SECONDS,
    )
    web = _Web(config)
    with bare():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_to_its_end, web, listener)
            try:
                async with server.session_manager.run():
                    try:
                        await anyio.sleep_forever()
                    finally:
                        exchanges.end()
            finally:
                web.should_exit = True


async def _to_its_end(web: uvicorn.Server, listener: socket.socket) -> None:
    with anyio.CancelScope(shield=True):  # it ends when it is told to, and knows no other way
        await web.serve([listener])


class _Web(uvicorn.Server):
    """Leaves signals to whoever started it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Do nothing."""
        yield


class _Exchanges:
    """The requests that are being answered, to be ended together."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._going: set[anyio.CancelScope] = set()
        self._over = False

    def end(self) -> None:
        """Cancel those that go on, and take no more."""
        self._over = True
        for scope in self._going:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        with anyio.CancelScope() as going:
            self._going.add(going)
            try:
                if not self._over:
                    await self._app(scope, receive, noting)
                    return
            finally:
                self._going.discard(going)
        if begun:  # the client sees a stream that ends without an answer
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await PlainTextResponse("The server ends.", 503)(scope, receive, send)
