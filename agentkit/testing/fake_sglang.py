"""A server that speaks SGLang's wire and says what it is told.

In a test: `async with FakeSGLang([...]) as server`. For another process:
`python -m agentkit.testing.fake_sglang --port 30000 --script answers.json`.
"""

import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import anyio
from aiohttp import web
from anyio import to_thread

from agentkit.testing._chat import Live, Received, chat
from agentkit.testing._delivery import refusal, refuse
from agentkit.testing._prompt import PrefixCache
from agentkit.testing._routes import add_routes
from agentkit.testing._script import Script, Teller, UnscriptedError, load_dialogues
from agentkit.testing.answers import Answer, Raw

State: TypeAlias = Literal["refused", "warming", "ready"]
"""A server that boots refuses connections first, then warms up, then is ready."""

_FREE = ("/health", "/ready", "/metrics")
_CLOSE_SECONDS = 2.0


class FakeSGLang:
    """An HTTP server on a free loopback port that answers as SGLang 0.5.23 would.

    It refuses what the real one refuses, in the same words, reads `Raw` answers with the same
    parsers, and goes wrong on request. Token counts are estimates. It needs asyncio.

    >>> async def main() -> tuple[int, int]:
    ...     async with FakeSGLang(["Hello!"]) as server, aiohttp.ClientSession() as session:
    ...         url, body = f"{server.base_url}/chat/completions", {"messages": []}
    ...         async with session.post(url, json=body) as response:
    ...             return response.status, len(server.requests)
    >>> import aiohttp
    >>> anyio.run(main)
    (200, 1)

    Args:
        script: one answer for every request; or answers in turn; or answers by question, and then
            by how many turns the model has taken since; or None for the built-in dialogues. A
            request that a script does not know gets a 500, and fails the test when the server is
            closed.
        model: name of the served model.
        context_tokens: size of the context.
        api_key: what a client has to show; None lets everybody in.
        port: 0 for any free one.
        state: how far the server has booted; `become` takes it on.
        cache_report: whether usage tells the cached tokens, as with `--enable-cache-report`.

    Attributes:
        requests: each chat request, in order, with its headers.
        hits: how often each path was asked for.
        connections: TCP connections that have carried a request.
        disconnects: answers that the client did not wait for.
        aborted: ids of the requests that `/abort_request` has ended.
        running: the requests that are being answered.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        model: str = "qwen3-scripted",
        context_tokens: int = 8192,
        api_key: str | None = None,
        port: int = 0,
        state: State = "ready",
        cache_report: bool = True,
    ) -> None:
        self.model, self.context_tokens, self.cache_report = model, context_tokens, cache_report
        self.state: State = state
        self.requests: list[Received] = []
        self.hits: Counter[str] = Counter()
        self.connections = self.disconnects = 0
        self.aborted: list[str] = []
        self.running: set[Live] = set()
        self.cache, self.gate = PrefixCache(), anyio.Event()
        self._script, self._api_key, self._port = script, api_key, port
        self._teller = Teller(script, {})
        self._seen: set[object] = set()
        self._problem: UnscriptedError | None = None
        self._changed = anyio.Event()

    @property
    def url(self) -> str:
        """Address of the server, without a path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client calls its base URL."""
        return f"{self.url}/v1"

    async def become(self, state: State) -> None:
        """Boot on: from "refused" to "warming", where probes get a 503, to "ready"."""
        if self.state == "refused" and state != "refused":
            await self._listen()
        self.state = state
        self.notify()

    def release(self) -> None:
        """Let the answers that stall go on, and those that would stall later."""
        self.gate.set()

    async def wait_until(self, condition: Callable[["FakeSGLang"], bool]) -> None:
        """Wait until something is true of the server: a request has come, a client has left."""
        while not condition(self):
            await self._changed.wait()

    def abort(self, rid: str | None) -> None:
        """End the running requests whose id begins with `rid`, or all of them for None."""
        for live in tuple(self.running):
            if rid is None or live.rid.startswith(rid):
                self.aborted.append(live.rid)
                live.aborted = True
                live.scope.cancel()
        self.notify()

    def answer(self, body: Mapping[str, Any]) -> Answer | Raw:
        """Return the scripted answer to a request, and remember if there is none."""
        try:
            return self._teller.answer(body)
        except UnscriptedError as problem:
            self._problem = self._problem or problem
            raise

    def notify(self) -> None:
        """Wake those who wait for something to be true."""
        self._changed.set()
        self._changed = anyio.Event()

    async def __aenter__(self) -> Self:
        self._teller = Teller(self._script, await to_thread.run_sync(load_dialogues))
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._chat)
        add_routes(app, self)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_CLOSE_SECONDS
        )
        await self._runner.setup()
        self._socket = socket.socket()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", self._port))
            self._port = self._socket.getsockname()[1]
            if self.state != "refused":
                await self._listen()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()
        if error is None and self._problem is not None:
            raise AssertionError(str(self._problem)) from self._problem

    async def _listen(self) -> None:
        await web.SockSite(self._runner, self._socket).start()

    async def _close(self) -> None:
        # Answers under way would hold the runner up, so they end first; a cancelled test must not
        # leave the port open, and the runner gives up on its handlers by itself.
        for live in tuple(self.running):
            live.scope.cancel()
        with anyio.move_on_after(2 * _CLOSE_SECONDS, shield=True):
            await self._runner.cleanup()
        self._socket.close()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.hits[request.path] += 1
        if request.protocol not in self._seen:
            self._seen.add(request.protocol)
            self.connections += 1
        self.notify()
        locked = self._api_key is not None and not request.path.startswith(_FREE)
        if locked and request.headers.get("Authorization") != f"Bearer {self._api_key}":
            return refuse(refusal(401))
        return await handler(request)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await chat(self, request)


if __name__ == "__main__":
    from agentkit.testing._serve import main

    main()
