"""One base URL of a model server: bytes out, pieces of a turn in, no foreign exception.

Importing this module imports openai, so nothing imports it before a pool is opened.
"""

import re
from collections.abc import Mapping
from contextlib import aclosing, nullcontext, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx2
from aiohttp import ClientConnectionResetError, ClientError
from jiter import from_json
from openai import APIStatusError, AsyncOpenAI, AsyncStream, DefaultAioHttpClient, Omit, OpenAIError

from agentkit.errors import (
    ModelError,
    ModelRequestError,
    ModelUnavailableError,
    TruncatedStreamError,
)
from agentkit.models._clocks import Clocks, timeout_error
from agentkit.models._errors import (
    causes,
    error_from_response,
    looks_like_html,
    not_an_answer,
    unavailable,
)
from agentkit.models._json import is_object
from agentkit.models._sse import SseSplitter
from agentkit.models._turn import TurnBuilder
from agentkit.policies import Timeouts

if TYPE_CHECKING:
    from agentkit.resilience import TrafficControl

FOREIGN = (
    OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.InvalidURL,
    ClientError,
    OSError,
)
"""What the HTTP client may raise; aiohttp's transport does not translate all of its own."""

_CLOSE_SECONDS = 2.0
_ABORT_SECONDS = 2.0
_COUNT_SECONDS = 5.0
_NO_SUCH_PAGE = frozenset({404, 405, 501})
_KEEP_ALIVE = 4.0  # servers close idle ones after 5 s (uvicorn, so SGLang and vLLM): be first
_STALE_CONNECTIONS = 3
_CONNECTIONS = 100_000  # the scheduler of runs is the limit, not the pool
_HEADERS: dict[str, str | Omit] = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",  # compressed events would arrive in lumps
    "OpenAI-Organization": Omit(),  # the SDK would take these two from the environment
    "OpenAI-Project": Omit(),
}
_ROUTING_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def new_http_client(library: str) -> httpx2.AsyncClient:
    """Return the HTTP client of a pool; reads the certificate store, so call it off the loop."""
    limits = httpx2.Limits(
        max_connections=_CONNECTIONS,
        max_keepalive_connections=_CONNECTIONS,
        keepalive_expiry=_KEEP_ALIVE,
    )
    kind = DefaultAioHttpClient if library == "asyncio" else httpx2.AsyncClient
    # A proxy set for the outside world must not get between us and a server on this machine.
    direct = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
    return kind(limits=limits, mounts=direct, follow_redirects=True)


class Endpoint:
    """Asks one server over the pool's HTTP client.

    Args:
        http: the client.
        base_url: without a user: it appears in messages.
        api_key: sent as a bearer token.
        authorization: what to send where there is no key, as the header has it.

    Attributes:
        traffic: admits the questions, where somebody watches over it.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        base_url: str,
        api_key: str | None = None,
        *,
        authorization: str = "",
    ) -> None:
        self.base_url = base_url
        self.traffic: TrafficControl | None = None
        self._http = http
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",  # without one, the SDK would take OPENAI_API_KEY
            http_client=http,
            max_retries=0,
        )
        if api_key is not None:
            authorization = f"Bearer {api_key}"
        self._authorization = {"Authorization": authorization} if authorization else {}
        self._json_headers = {"Content-Type": "application/json", **self._authorization}
        self._headers: dict[str, str | Omit] = _HEADERS | self._authorization
        if not authorization:
            self._headers["Authorization"] = Omit()

    async def get(self, url: str) -> httpx2.Response:
        """Return what the server says at `url`, whatever its status.

        Raises:
            ModelUnavailableError: nothing answers there.
        """
        try:
            return await self._http.get(url, headers=self._authorization)
        except FOREIGN as error:
            raise unavailable(error, self.base_url) from error

    async def ask(
        self,
        body: bytes,
        builder: TurnBuilder,
        timeouts: Timeouts,
        *,
        routing_key: str = "",
        rid: str = "",
        streams: bool = True,
        last: bool = False,
    ) -> None:
        """Send `body` and feed the answer to `builder`.

        Where the answer is not waited for any more, by a clock or a cancellation, the connection is
        closed, and the server told by the id too: without streaming it would notice after seconds
        only, and behind a proxy perhaps never.

        Args:
            body: the request as JSON.
            builder: gets the pieces of the answer.
            timeouts: the clocks of the request.
            routing_key: names the conversation to a cache-aware router.
            rid: id of the request, where the server can abort it.
            streams: whether `body` asks for a stream.
            last: whether the connection is given up after this answer.

        Raises:
            ModelError: anything but a complete answer.
        """
        headers = self._headers_for(routing_key, last=last)
        async with self.traffic.admitted() if self.traffic is not None else nullcontext():
            await self._ask(body, builder, timeouts, headers, rid, streams=streams)

    async def _ask(
        self,
        body: bytes,
        builder: TurnBuilder,
        timeouts: Timeouts,
        headers: Mapping[str, str | Omit],
        rid: str,
        *,
        streams: bool,
    ) -> None:
        clocks = Clocks(timeouts)
        if not streams:
            clocks.only_total()
        with clocks.scope:
            try:
                response = await self._post(body, timeouts, headers)
                try:
                    await self._receive(response, builder, clocks)
                finally:
                    await _close(response)
            except ModelError:
                raise
            except BaseException:  # a cancellation, or nobody wants to be told the rest
                if rid and not builder.finish:
                    await self._abort(rid)
                raise
        if builder.error is not None:
            raise builder.error
        if builder.finish:
            return
        if clocks.scope.cancelled_caught:
            raise clocks.error(self.base_url)
        raise self._truncated(builder)

    async def count(self, path: str, body: bytes) -> int | None:
        """Return how many tokens the server makes of a prompt; `None` if it does not say now.

        Raises:
            ModelRequestError: it never will: there is no such page.
        """
        url = self.base_url.rstrip("/").removesuffix("/v1") + path
        with anyio.move_on_after(_COUNT_SECONDS):
            try:
                answer = await self._http.post(url, content=body, headers=self._json_headers)
                said: Any = from_json(answer.content) if answer.is_success else {}
            except (*FOREIGN, ValueError):
                return None
            if answer.status_code in _NO_SUCH_PAGE:
                raise ModelRequestError(f"{url} does not count.", status=answer.status_code)
            count = said.get("count", said.get("input_tokens")) if is_object(said) else None
            return count if isinstance(count, int) else None
        return None

    async def _abort(self, rid: str) -> None:
        url = self.base_url.rstrip("/").removesuffix("/v1") + "/abort_request"
        with anyio.move_on_after(_ABORT_SECONDS, shield=True), suppress(*FOREIGN, RuntimeError):
            # A RuntimeError: the client is closed already, and with it the connection.
            body = b'{"rid":"%s"}' % rid.encode()
            await self._http.post(url, content=body, headers=self._json_headers)

    async def _post(
        self, body: bytes, timeouts: Timeouts, headers: Mapping[str, str | Omit]
    ) -> httpx2.Response:
        for _ in range(_STALE_CONNECTIONS):
            try:
                return await self._post_once(body, timeouts, headers)
            except ModelUnavailableError as error:
                if not _never_sent(error):
                    raise
        return await self._post_once(body, timeouts, headers)

    async def _post_once(
        self, body: bytes, timeouts: Timeouts, headers: Mapping[str, str | Omit]
    ) -> httpx2.Response:
        try:
            answer = await self._client.post(
                "/chat/completions",
                content=body,
                cast_to=httpx2.Response,
                stream=True,
                stream_cls=AsyncStream[object],
                options={
                    "headers": headers,
                    "timeout": _patience(timeouts.connect),
                    "security": {},  # the headers above have the key
                },
            )
        except APIStatusError as error:
            raise error_from_response(
                error.status_code, error.response.headers, error.response.content, self.base_url
            ) from error
        except FOREIGN as error:
            if _connecting_took_too_long(error):
                raise timeout_error("connect", timeouts, self.base_url) from error
            raise unavailable(error, self.base_url) from error
        return cast("httpx2.Response", answer)  # what `cast_to` asks for

    def _headers_for(self, routing_key: str, *, last: bool) -> Mapping[str, str | Omit]:
        more = {"Connection": "close"} if last else {}
        if routing_key and _ROUTING_KEY.fullmatch(routing_key):
            more["X-SMG-Routing-Key"] = routing_key
        return {**self._headers, **more} if more else self._headers

    async def _receive(
        self, response: httpx2.Response, builder: TurnBuilder, clocks: Clocks
    ) -> None:
        kind = response.headers.get("content-type", "")
        try:
            if "json" in kind or "html" in kind:
                self._read_whole(await response.aread(), builder)
            else:
                await _read_events(response, builder, clocks)
        except FOREIGN as error:
            if not builder.finish:  # else all that was missing is the usage
                raise self._truncated(builder) from error

    def _read_whole(self, body: bytes, builder: TurnBuilder) -> None:
        try:
            answer: Any = from_json(body)
            builder.feed_whole(answer)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise not_an_answer(body, self.base_url) from error
        if not builder.finish and builder.error is None:
            raise not_an_answer(body, self.base_url)

    def _truncated(self, builder: TurnBuilder) -> ModelError:
        if not builder.begun:
            return ModelUnavailableError(
                f"Model server {self.base_url} closed the stream before it said anything."
            )
        said = len(builder.text) + len(builder.thinking)
        return TruncatedStreamError(
            f"Model server {self.base_url} broke the stream off after {said} characters, "
            "without a reason to stop."
        )


async def read_json(response: httpx2.Response, base_url: str) -> Any:
    """Return the JSON of an answer to a GET.

    Raises:
        ModelError: an error status, or a body that is not JSON.
    """
    if response.is_error:
        raise error_from_response(
            response.status_code, response.headers, response.content, base_url
        )
    try:
        return from_json(response.content)
    except ValueError as error:
        raise not_an_answer(response.content, base_url) from error


def is_html(response: httpx2.Response) -> bool:
    """Tell whether a web page came back."""
    return looks_like_html(response.content)


async def _read_events(response: httpx2.Response, builder: TurnBuilder, clocks: Clocks) -> None:
    """Read to the end of the body, even after [DONE]: else the connection cannot be used again."""
    splitter = SseSplitter()
    finishing = False
    async with aclosing(_chunks(response)) as chunks:
        async for chunk in chunks:
            payloads = splitter.feed(chunk)
            if not payloads:  # comments keep a connection alive, not a model
                continue
            builder.feed(payloads)
            if not finishing:
                finishing = bool(builder.finish or builder.error or builder.done)
                clocks.finishing() if finishing else clocks.beat()
    builder.feed(splitter.close())


def _chunks(response: httpx2.Response) -> Any:
    encoded = "content-encoding" in response.headers
    return response.aiter_bytes() if encoded else response.aiter_raw()


async def _close(response: httpx2.Response) -> None:
    if not response.is_closed:
        # A cancelled caller must not leave the engine writing: close, but never wait for ever.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await response.aclose()


@lru_cache(maxsize=16)
def _patience(connect: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(None, connect=connect)


def _never_sent(error: BaseException) -> bool:
    """Tell whether a kept-alive connection was closed by the server before we could write to it.

    Sending on a fresh one repeats nothing.
    """
    return any(isinstance(cause, ClientConnectionResetError) for cause in causes(error))


def _connecting_took_too_long(error: BaseException) -> bool:
    # aiohttp's transport reports a lost connection as ConnectTimeout too: ask the first cause
    chain = list(causes(error))
    lost = any(
        isinstance(cause, ClientError) and not isinstance(cause, TimeoutError) for cause in chain
    )
    return not lost and any(
        isinstance(cause, httpx2.ConnectTimeout | TimeoutError) for cause in chain
    )
