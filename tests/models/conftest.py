"""Models under test: connected to a fake SGLang, to recorded bytes, or to a scripted stream."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import anyio.lowlevel
import pytest
from aiohttp import web

from agentkit.messages import Message, ModelTurn, ToolSpec, UserMessage
from agentkit.models import open_pool
from agentkit.protocols import Model, ModelRequest
from agentkit.testing import FakeSGLang

WIRE = Path(__file__).parent / "wire"


def tool(name: str, parameter: str, *, required: bool = True, **schema: Any) -> ToolSpec:
    properties = {parameter: {"type": "string", **schema}}
    needed = [parameter] if required else []
    parameters = {"type": "object", "properties": properties, "required": needed}
    return ToolSpec(name, f"The tool {name}.", parameters)


TOOLS = (
    tool("get_current_time", "timezone"),
    tool("code_interpreter", "code"),
    tool("fetch", "url"),
)


@dataclass
class Heard:
    """Remembers what was emitted."""

    pieces: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def __call__(self, kind: str, text: str, /) -> None:
        self.pieces.append((kind, text))

    def all(self, kind: str) -> str:
        return "".join(text for said, text in self.pieces if said == kind)


class Connect(Protocol):
    def __call__(self, server: Any, **options: Any) -> AbstractAsyncContextManager[Model]: ...


class Ask(Protocol):
    async def __call__(
        self, script: Any, *messages: Message, heard: Heard | None = None, **fields: Any
    ) -> ModelTurn: ...


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def tools() -> tuple[ToolSpec, ...]:
    return TOOLS


@pytest.fixture
def connect() -> Connect:
    @asynccontextmanager
    async def connecting(server: Any, **options: Any) -> AsyncGenerator[Model]:
        async with open_pool() as pool:
            yield await pool.connect(server.base_url, **options)

    return connecting


@pytest.fixture
def ask(connect: Connect) -> Ask:
    """Ask a fake SGLang one question with three tools."""

    async def asking(
        script: Any, *messages: Message, heard: Heard | None = None, **fields: Any
    ) -> ModelTurn:
        given: dict[str, Any] = {"tools": TOOLS, **fields}
        request = ModelRequest(messages=messages or (UserMessage("Hi"),), **given)
        async with FakeSGLang(script) as server, connect(server) as model:
            return await model.ask(request, heard or Heard())

    return asking


class Canned:
    """A server that answers each chat request with the next of some prepared answers.

    An answer is (status, content type, pieces); every piece is its own write.
    """

    def __init__(self, answers: Sequence[tuple[int, str, Sequence[bytes]]], owner: str) -> None:
        self._answers = list(answers)
        self._owner = owner
        self.model = "qwen3"
        self.pages: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.ports: list[int] = []  # of the client, a request each
        self.authorizations: list[str | None] = []  # of every request, whatever it asks for
        self.base_url = ""

    async def _models(self, _request: web.Request) -> web.Response:
        entry = {"id": self.model, "object": "model", "owned_by": self._owner}
        return web.json_response({"object": "list", "data": [entry]})

    @web.middleware
    async def _note_authorization(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.authorizations.append(request.headers.get("Authorization"))
        return await handler(request)

    async def _page(self, request: web.Request) -> web.Response:
        if request.path in self.pages:
            return web.json_response(self.pages[request.path])
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        if request.transport is not None:
            self.ports.append(request.transport.get_extra_info("peername")[1])
        status, kind, pieces = self._answers.pop(0)
        response = web.StreamResponse(status=status, headers={"Content-Type": kind, **self.headers})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await anyio.lowlevel.checkpoint()
        await response.write_eof()
        return response

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator["Canned"]:
        app = web.Application(middlewares=[self._note_authorization])
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/{any:.*}", self._page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()


Serve = Callable[..., AbstractAsyncContextManager[Canned]]


@pytest.fixture
def serve() -> Serve:
    """Serve answers: pieces of an SSE body, or (status, content type, pieces)."""

    def serving(*answers: Any, owner: str = "sglang") -> AbstractAsyncContextManager[Canned]:
        whole: list[Any] = [
            a if isinstance(a, tuple) else (200, "text/event-stream", a) for a in answers
        ]
        return Canned(whole, owner).serving()

    return serving


def sse(*chunks: Any, done: bool = True) -> list[bytes]:
    """Return the pieces of an SSE body."""
    pieces = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    return [*pieces, b"data: [DONE]\n\n"] if done else pieces


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return one chunk of a stream."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


@pytest.fixture(name="sse")
def sse_fixture() -> Callable[..., list[bytes]]:
    return sse


@pytest.fixture(name="delta")
def delta_fixture() -> Callable[..., dict[str, Any]]:
    return delta


@pytest.fixture
def recording() -> Callable[[str], dict[str, Any]]:
    """Read a recorded answer of SGLang."""
    return lambda name: json.loads((WIRE / f"{name}.json").read_text(encoding="utf-8"))
