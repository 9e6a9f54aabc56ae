"""The way to a server that runs already, with limits and readable failures."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from math import inf

import anyio
import httpx2
from anyio import to_thread
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from agentkit.mcp._gate import Sink, Source
from agentkit.mcp._wire import has_too_many_parts, parse_line
from agentkit.resilience import retry_after

_CONNECT_SECONDS = 10.0
_WRITE_SECONDS = 30.0
_IDLE_SECONDS = 24 * 3600.0
"""An SSE stream may be silent for long; a call has its own clock."""
_HTTP_ERROR = 400
_STREAM = "text/event-stream"
_APART_SECONDS = 0.5
# What the SDK logs is told to whoever asked: it has no place on a terminal where nobody set up logs.
for _name in ("mcp", "client"):  # the second is what its session calls itself
    logging.getLogger(_name).addHandler(logging.NullHandler())

STAND_INS = frozenset({"Not Found", "Session terminated", "Server returned an error response"})
"""What the SDK says in place of a status."""

refusals: ContextVar["list[Refusal] | None"] = ContextVar("refusals", default=None)
"""Set around a call to a list, it collects the HTTP refusals of that call: the SDK reports all of
them as one error without a status."""


IN_A_LOGIN = "agentkit.in_a_login"
"""Key of the extensions of a request that a login takes care of: whether it is one of its own."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer that says no.

    Attributes:
        seconds: after which it asks to be tried again, if it does.
        why: what it means, where more is known than the status.
        hint: what to do about that.
    """

    status: int
    seconds: float | None = None
    why: str = ""
    hint: str = ""

    @property
    def is_for_now(self) -> bool:
        """Whether it says that the same will be taken later."""
        return self.status == _TOO_MANY or (self.status == _BUSY and self.seconds is not None)

    @property
    def is_plain(self) -> bool:
        """Whether it says all by itself, whatever came with it."""
        return bool(self.why) or self.status in _MEANINGS

    def explain(self) -> str:
        """Return what it means for who asked.

        >>> Refusal(429, 7.0).explain()
        'HTTP 429: too many requests; it asks to wait 7 s'
        """
        if self.why:
            return self.why
        wait = "" if self.seconds is None else f"; it asks to wait {self.seconds:g} s"
        return f"HTTP {self.status}{_MEANINGS.get(self.status, '')}{wait}"


def note_refusal(refusal: Refusal) -> None:
    """Take note of a refusal, for whoever has sent the request."""
    collected = refusals.get()
    if collected is not None:
        collected.append(refusal)


_ABOUT_LOGINS = frozenset({401, 403})
_TOO_MANY = 429
_BUSY = 503
_MEANINGS = {
    401: ": access refused",
    403: ": access refused",
    404: ": nothing there, or the session is over",
    429: ": too many requests",
    503: ": it is not available",
}


@asynccontextmanager
async def open_http(
    url: str,
    headers: Mapping[str, str],
    *,
    auth: httpx2.Auth | None = None,
    read_seconds: float | None,
    max_message_bytes: int,
) -> AsyncGenerator[tuple[Source, Sink]]:
    """Hand out the messages of the server at `url`; headers go to its origin alone."""
    timeout = httpx2.Timeout(
        connect=_CONNECT_SECONDS, write=_WRITE_SECONDS, pool=_CONNECT_SECONDS, read=read_seconds
    )
    client = await _new_client(headers, auth, timeout, partial(_look_at, max_message_bytes))
    async with (
        client,
        streamable_http_client(
            url, http_client=client, max_sse_event_size=max_message_bytes
        ) as streams,
    ):
        yield streams


@asynccontextmanager
async def open_sse(
    url: str,
    headers: Mapping[str, str],
    *,
    auth: httpx2.Auth | None = None,
    max_message_bytes: int,
    on_refusal: Callable[[], None],
) -> AsyncGenerator[tuple[Source, Sink]]:
    """Hand out the messages of a server of the old kind, whose answers come in one long stream.

    Args:
        url: where the stream is.
        headers: go to its origin alone.
        auth: logs in.
        max_message_bytes: of what is no stream; the SDK bounds each event.
        on_refusal: called when a message is not taken: its answer would be waited for in vain.
    """

    async def look_at(response: httpx2.Response) -> None:
        await _look_at(max_message_bytes, response)
        if _is_refusal(response):
            on_refusal()
        elif response.status_code >= _HTTP_ERROR and response.request.method == "GET":
            note_refusal(Refusal(response.status_code, retry_after(response.headers)))

    timeout = httpx2.Timeout(_WRITE_SECONDS, read=_IDLE_SECONDS)
    client = await _new_client(headers, auth, timeout, look_at)

    def ours(
        headers: dict[str, str] | None = None,  # noqa: ARG001 - it has them
        timeout: httpx2.Timeout | None = None,  # noqa: ARG001
        auth: httpx2.Auth | None = None,  # noqa: ARG001
    ) -> httpx2.AsyncClient:
        return client

    async with sse_client(url, httpx_client_factory=ours) as streams:
        yield streams


async def _new_client(
    headers: Mapping[str, str],
    auth: httpx2.Auth | None,
    clocks: httpx2.Timeout,
    look_at: Callable[[httpx2.Response], Awaitable[None]],
) -> httpx2.AsyncClient:
    return await to_thread.run_sync(  # it reads certificates from the disk
        partial(
            httpx2.AsyncClient,
            auth=auth,
            headers={**headers, "Accept-Encoding": "identity"},
            timeout=clocks,
            event_hooks={"request": [_Pace().keep], "response": [look_at]},
        )
    )


class _Pace:
    """Keeps apart the requests for one stream: a server may end each at once and ask for the next."""

    def __init__(self) -> None:
        self._next = -inf

    async def keep(self, request: httpx2.Request) -> None:
        """Wait until another stream may be asked for."""
        if request.method == "GET" and _STREAM in request.headers.get("accept", ""):
            now = anyio.current_time()
            self._next, at = max(now, self._next) + _APART_SECONDS, self._next
            await anyio.sleep(max(0.0, at - now))


async def _look_at(limit: int, response: httpx2.Response) -> None:
    """Take note of a refusal, and bound what is read of an answer."""
    if _is_refusal(response):
        note_refusal(Refusal(response.status_code, retry_after(response.headers)))
    if _STREAM in response.headers.get("content-type", ""):
        return  # may go on for ever; the SDK bounds each event
    compressed = response.headers.get("content-encoding", "identity") != "identity"
    if isinstance(response.stream, httpx2.AsyncByteStream):
        # Nobody asked for compression, and a small answer could unfold to any size.
        bounded = _BoundedStream(response.stream, 0 if compressed else limit)
        is_json = "application/json" in response.headers.get("content-type", "")
        response.stream = _MendedStream(bounded) if is_json else bounded


def _asks(request: httpx2.Request) -> bool:
    """Tell whether it was a request of ours: a stream that could not be resumed refuses nothing."""
    return (
        request.method == "POST" and b'"method"' in request.content and b'"id"' in request.content
    )


def _is_refusal(response: httpx2.Response) -> bool:
    """Tell whether an answer says no to the caller, and not to a login that will see to it."""
    in_a_login = response.request.extensions.get(IN_A_LOGIN)
    if in_a_login is True or (in_a_login is False and response.status_code in _ABOUT_LOGINS):
        return False
    return response.status_code >= _HTTP_ERROR and _asks(response.request)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > self._limit:
                # Of this kind, the SDK fails the one call; any other ends the connection.
                raise httpx2.StreamError(
                    f"the answer is longer than the limit of {self._limit / 1e6:.1f} MB"
                    if self._limit
                    else "the answer is compressed"
                )
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class _MendedStream(httpx2.AsyncByteStream):
    """A JSON answer, in the one spelling that the SDK reads."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = b"".join([chunk async for chunk in self._inner])
        if has_too_many_parts(body):
            raise httpx2.StreamError("the answer is made of more than 25,000 parts")
        yield mended_answer(body)

    async def aclose(self) -> None:
        await self._inner.aclose()


def mended_answer(body: bytes) -> bytes:
    r"""Return an answer without byte order mark, list around it, or bytes that are not UTF-8.

    >>> mended_answer(b'\xef\xbb\xbf[{"jsonrpc": "2.0", "id": 1, "result": {"a": "\xff"}}]')
    b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xef\xbf\xbd"}}'
    """
    if body[:1] == b"{" and b"\\ud" not in body and _is_utf8(body):
        return body
    found = parse_line(body)
    return found[0].model_dump_json(by_alias=True, exclude_unset=True).encode() if found else body


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
