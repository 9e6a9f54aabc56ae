"""The chat endpoint: refuses, answers, goes wrong, notices who leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
from aiohttp import web

from agentkit.testing._delivery import Stream, before, json_response, lose, refuse, send_whole
from agentkit.testing._qwen import Whole
from agentkit.testing._refusal import Refusal, refusal_of
from agentkit.testing._script import UnscriptedError, speak, tools_of
from agentkit.testing._wire import Envelope, Frame, Spoken, usage_of
from agentkit.testing.answers import Answer, Raw, fault_of

if TYPE_CHECKING:
    from agentkit.testing.fake_sglang import FakeSGLang

_QUEUE_FULL = Refusal("The request queue is full.", kind="503", code=503, late=True)


@dataclass(frozen=True, slots=True)
class Received:
    """A chat request as it arrived; names of headers are in lower case."""

    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the request."""
        return self.body["messages"]


@dataclass(eq=False, slots=True)
class Live:
    """A chat request that is being answered."""

    rid: str
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    aborted: bool = False


async def chat(server: "FakeSGLang", request: web.Request) -> web.StreamResponse:
    """Answer one request for a chat completion."""
    try:
        body = await request.json()
    except ValueError as error:
        return refuse(Refusal(f"Invalid JSON: {error}", kind="Bad Request"))
    refused = refusal_of(body, server.model, server.context_tokens)
    headers = {name.lower(): value for name, value in request.headers.items()}
    server.requests.append(Received(body, headers))
    server.notify()
    if refused is not None:
        return await _refuse(request, refused, body)
    try:
        answer = server.answer(body)
    except UnscriptedError as problem:
        return refuse(Refusal(f"Fake server: {problem}", kind="InternalServerError", code=500))
    fault = fault_of(answer)
    if fault is not None and fault.kind == "busy":
        return await _refuse(request, _QUEUE_FULL, body)
    return await _Exchange(server, request, body, answer).run()


async def _refuse(
    request: web.Request, error: Refusal, body: Mapping[str, Any]
) -> web.StreamResponse:
    if not (error.late and body.get("stream")):
        return refuse(error)
    stream = Stream(request)
    await stream.open()
    await stream.error(error)
    usage = Envelope(str(body.get("model"))).usage(usage_of(1, 1, 1, 0))
    await stream.close([Frame("usage", usage)] if _options(body).get("include_usage") else ())
    return stream.response


def _options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body.get("stream_options") or {}


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, server: "FakeSGLang", request: web.Request, body: dict[str, Any], answer: Answer | Raw
    ) -> None:
        self._server, self._request, self._body = server, request, body
        self._fault = fault_of(answer)
        self._spoken = speak(
            answer,
            body,
            server.cache,
            context_tokens=server.context_tokens,
            report=server.cache_report,
        )
        self._envelope = Envelope(body.get("model") or server.model, body.get("rid"))
        self._live = Live(self._envelope.id)
        self._stream = Stream(request)

    async def run(self) -> web.StreamResponse:
        """Answer, and keep the server's books."""
        server = self._server
        server.running.add(self._live)
        try:
            with self._live.scope:
                return await self._answer()
            return await self._end_early()
        except (anyio.get_cancelled_exc_class(), ConnectionError):
            server.disconnects += 1
            raise
        finally:
            server.running.discard(self._live)
            server.notify()

    async def _answer(self) -> web.StreamResponse:
        gate = self._server.gate
        response = await before(self._request, self._fault, gate)
        if response is not None:
            return response
        if not self._body.get("stream"):
            body = self._envelope.body(self._spoken)
            return await send_whole(self._request, body, self._fault, gate)
        await self._stream.open()
        frames = self._envelope.frames(
            self._spoken, _options(self._body), tools=tools_of(self._body) is not None
        )
        if await self._stream.send(frames, self._fault, gate):
            await self._stream.close()
        return self._stream.response

    async def _end_early(self) -> web.StreamResponse:
        """End an answer that was aborted, or that the closing server has no time for."""
        if not self._live.aborted:
            lose(self._request)
            return web.Response()
        aborted = replace(self._spoken, whole=Whole("", None), finish="abort")
        if not self._body.get("stream"):
            return json_response(self._envelope.body(aborted))
        if not self._stream.response.prepared:
            await self._stream.open()
        await self._stream.close(self._last_frames(aborted))
        return self._stream.response

    def _last_frames(self, aborted: Spoken) -> list[Frame]:
        frames = [self._envelope.finish(aborted, called=False)]
        if _options(self._body).get("include_usage") and aborted.usage is not None:
            frames.append(Frame("usage", self._envelope.usage(aborted.usage)))
        return frames
