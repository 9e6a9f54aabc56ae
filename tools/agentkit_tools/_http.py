"""Downloads one document: every connection checked, every size and wait bounded.

Slow to import, and `ssl_context` reads the disk: both belong into a thread.
"""

import socket
import ssl
import zlib
from collections.abc import Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import cast

import anyio
import httpcore2
import httpx2
from anyio import to_thread

from agentkit.errors import ToolError, ToolInputError, ToolTimeoutError
from agentkit_tools._addresses import AddressRules

CONNECT_SECONDS = 10.0
TOTAL_SECONDS = 30.0
"""Limit of a download, redirects included."""

WIRE_BYTES = 2_000_000
DECODED_BYTES = 5_000_000
REDIRECTS = 5

_HEADERS = (
    ("User-Agent", "agentkit-fetch/0.1"),
    ("Accept", "text/markdown,text/html;q=0.9,text/plain;q=0.9,application/json;q=0.9,*/*;q=0.5"),
    ("Accept-Encoding", "gzip, deflate"),
)
_MOVED = frozenset({301, 302, 303, 307, 308})
_TEXTUAL = ("text/", "application/json", "application/xml", "application/xhtml+xml")
_TEXTUAL_ENDS = ("+json", "+xml", "javascript", "yaml", "ecmascript", "x-ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a server sent.

    Attributes:
        url: where it was found, after redirects.
        status: HTTP status.
        content_type: as the server named it, in lower case, with parameters.
        body: decoded bytes; empty if the type is not textual.
        cut: there was more than the limits allow.
        length: bytes on the wire as the server announced them, "" if it did not.
    """

    url: str
    status: int
    content_type: str
    body: bytes
    cut: bool = False
    length: str = ""

    @property
    def textual(self) -> bool:
        """Whether the type is one that a model can read; an unnamed one is tried."""
        kind = self.content_type.partition(";")[0].strip()
        return not kind or kind.startswith(_TEXTUAL) or kind.endswith(_TEXTUAL_ENDS)


@lru_cache(maxsize=1)
def ssl_context() -> ssl.SSLContext:
    """Return the context for every download: the system's trust, or SSL_CERT_FILE."""
    return httpx2.create_ssl_context()


def read_url(text: str) -> httpx2.URL:
    """Return the URL, without its fragment.

    Raises:
        ToolInputError: not an absolute http or https URL, or one with a password.
    """
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL as error:
        raise ToolInputError(f"{text!r} is not a URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        bare = "." in text and not any(mark in text.strip() for mark in ": ")
        advice = f"Write https://{text.strip()}" if bare else "Write it as https://host/path."
        raise ToolInputError(f"{text!r} is not an absolute http or https URL. {advice}")
    if url.port is not None and not 0 < url.port < 65536:
        raise ToolInputError(f"Port {url.port} does not exist.")
    if url.userinfo:
        raise ToolInputError("A URL with a user name or password is refused.")
    return url.copy_with(fragment=None)


async def download(url: str, rules: AddressRules, context: ssl.SSLContext) -> Document:
    """Get a document, whatever its status.

    Raises:
        ToolInputError: the URL is not usable.
        ToolTimeoutError: it took longer than `TOTAL_SECONDS`.
        ToolError: refused, unreachable, broken, or redirected too often.
    """
    target = read_url(url)
    with anyio.move_on_after(TOTAL_SECONDS):
        try:
            return await _follow(target, rules, context)
        except httpcore2.TimeoutException as error:
            raise ToolTimeoutError(f"{target.host} does not answer.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise ToolError(
                f"{target.host} cannot be read: {error or type(error).__name__}"
            ) from error
    raise ToolTimeoutError(f"{target.host} took longer than {TOTAL_SECONDS:.0f} s.")


async def _follow(target: httpx2.URL, rules: AddressRules, context: ssl.SSLContext) -> Document:
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=context, max_connections=2, network_backend=_CheckedBackend(rules)
    )
    async with pool:
        for _ in range(REDIRECTS + 1):
            found = await _get(pool, target)
            if isinstance(found, Document):
                return found
            target = _next(target, found)
    raise ToolError(f"More than {REDIRECTS} redirects, the last to {target}.")


async def _get(pool: httpcore2.AsyncConnectionPool, target: httpx2.URL) -> Document | str:
    """Return the document, or where it has gone."""
    url = httpcore2.URL(
        scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
    )
    headers = [("Host", target.netloc.decode("ascii")), *_HEADERS]
    clocks = {"connect": CONNECT_SECONDS, "read": TOTAL_SECONDS, "write": TOTAL_SECONDS}
    async with pool.stream("GET", url, headers=headers, extensions={"timeout": clocks}) as response:
        sent = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
        if response.status in _MOVED and "location" in sent:
            return sent["location"]
        head = Document(
            url=str(target),
            status=response.status,
            content_type=sent.get("content-type", "").lower(),
            body=b"",
            length=sent.get("content-length", ""),
        )
        if not head.textual:
            return head
        body, cut = await _read(response, sent.get("content-encoding", "").strip().lower())
        return Document(
            url=head.url, status=head.status, content_type=head.content_type, body=body, cut=cut
        )


def _next(here: httpx2.URL, location: str) -> httpx2.URL:
    try:
        target = read_url(str(here.join(location)))
    except (ToolInputError, httpx2.InvalidURL) as error:
        raise ToolError(f"{here} redirects to something unusable. {error}") from error
    if (here.scheme, target.scheme) == ("https", "http"):
        raise ToolError(f"{here} redirects from https to http ({target}): refused.")
    return target


async def _read(response: httpcore2.Response, encoding: str) -> tuple[bytes, bool]:
    """Return the decoded body and whether it was cut short."""
    decoder = _Decoder(encoding)
    body = bytearray()
    wire = 0
    async with aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            wire += len(chunk)
            body += decoder.decode(chunk, DECODED_BYTES - len(body))
            if wire > WIRE_BYTES or len(body) >= DECODED_BYTES:
                return bytes(body), True
    return bytes(body), False


class _Decoder:
    """Undoes a content encoding, never further than asked."""

    def __init__(self, encoding: str) -> None:
        if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise ToolError(
                f"The server sent content encoding {encoding!r}, which was not asked for."
            )
        self._inflate = (
            None if encoding in {"", "identity"} else zlib.decompressobj(zlib.MAX_WBITS | 32)
        )

    def decode(self, data: bytes, limit: int) -> bytes:
        if self._inflate is None:
            return data[:limit]
        try:
            return self._inflate.decompress(data, max(limit, 1))
        except zlib.error as error:
            raise ToolError(f"The server sent damaged compressed data: {error}") from error


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, checks every address, and dials one that was checked."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        # The cast: a checker sees the stand-in for an anyio that is not installed.
        self._dialler = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await _look_up(host, port)
        self._rules.check(host, addresses)
        failure: Exception | None = None
        for address in addresses[:4]:
            try:
                return await self._dialler.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = failure or error
        raise failure or httpcore2.ConnectError("no address")


async def _look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a name, in the order of the system.

    Raises:
        ToolError: there are none.
    """
    with suppress(ValueError):  # an address needs no looking up
        return [str(ip_address(host.strip("[]")))]

    def look_up() -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    try:
        return await to_thread.run_sync(look_up, abandon_on_cancel=True)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"The name {host!r} cannot be resolved: {error}") from error
