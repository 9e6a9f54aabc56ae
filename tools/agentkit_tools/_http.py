"""Downloads one document: every connection checked, every size and wait bounded.

Slow to import, and `ssl_context` reads the disk: both belong into a thread.
"""

import ssl
import zlib
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import anyio
import httpcore2
import httpx2

from agentkit.errors import ConfigurationError, ToolError, ToolInputError, ToolTimeoutError
from agentkit_tools._connector import CheckedBackend, one_of_few
from agentkit_tools._robots import BYTES as ROBOTS_BYTES
from agentkit_tools._robots import refuse_forbidden
from agentkit_tools._rules import Rules
from agentkit_tools._urls import port_of, read_url

CONNECT_SECONDS = 10.0
TOTAL_SECONDS = 30.0
"""Limit of a download, redirects included."""

WIRE_BYTES = 2_000_000
DECODED_BYTES = 5_000_000
PDF_BYTES = 10_000_000
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
        body: decoded bytes; empty if the type is neither textual nor PDF.
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

    @property
    def is_pdf(self) -> bool:
        """Whether the server calls it a PDF."""
        return self.content_type.partition(";")[0].strip() == "application/pdf"


@lru_cache(maxsize=1)
def ssl_context() -> ssl.SSLContext:
    """Return the context for every download: the system's trust, or SSL_CERT_FILE."""
    return httpx2.create_ssl_context()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How documents are got.

    Attributes:
        rules: what may be asked.
        context: whose certificates are trusted.
        proxy: goes through it, "" for no proxy. It looks up the names, so **it** must keep to
            public addresses: only what a URL shows by itself is checked here.
        robots: asks robots.txt first, for runs that nobody watches.
    """

    rules: Rules
    context: ssl.SSLContext
    proxy: str = ""
    robots: bool = False

    def pool(self) -> httpcore2.AsyncConnectionPool:
        """Return what makes the connections of one download.

        Raises:
            ConfigurationError: the proxy's URL cannot be used.
        """
        if not self.proxy:
            return httpcore2.AsyncConnectionPool(
                ssl_context=self.context,
                max_connections=2,
                network_backend=CheckedBackend(self.rules),
            )
        try:
            url = httpx2.URL(self.proxy)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.scheme not in {"http", "https"} or not url.host:
            raise ConfigurationError(
                "AGENTKIT_FETCH_PROXY is not the URL of a proxy.",
                hint="Write AGENTKIT_FETCH_PROXY=http://proxy.local:3128",
            )
        return httpcore2.AsyncHTTPProxy(
            proxy_url=str(url.copy_with(userinfo=b"")),
            proxy_auth=(url.username, url.password) if url.userinfo else None,
            ssl_context=self.context,
            proxy_ssl_context=self.context if url.scheme == "https" else None,
            max_connections=2,
        )


async def download(url: str, way: Way) -> Document:
    """Get a document, whatever its status.

    Raises:
        ToolInputError: the URL is not usable.
        ToolTimeoutError: it took longer than `TOTAL_SECONDS`.
        ToolError: refused, unreachable, broken, or redirected too often.
    """
    target = read_url(url)
    with anyio.move_on_after(TOTAL_SECONDS):
        try:
            async with way.pool() as pool:
                return await _follow(pool, way, target)
        except httpcore2.TimeoutException as error:
            raise ToolTimeoutError(f"{target.host} does not answer.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError) as error:
            raise ToolError(
                f"{target.host} cannot be read: {error or type(error).__name__}"
            ) from error
    raise ToolTimeoutError(f"{target.host} took longer than {TOTAL_SECONDS:.0f} s.")


async def _follow(
    pool: httpcore2.AsyncConnectionPool, way: Way, target: httpx2.URL, *, is_robots: bool = False
) -> Document:
    for _ in range(REDIRECTS + 1):
        way.rules.check_place(target.host, port_of(target))
        if way.robots and not is_robots:
            get = partial(_follow, pool, way, is_robots=True)
            await refuse_forbidden(target, get)
        async with one_of_few(target.host):
            found = await _get(pool, target, is_robots=is_robots)
        if isinstance(found, Document):
            return found
        target = _next(target, found)
    raise ToolError(f"More than {REDIRECTS} redirects, the last to {target}.")


async def _get(
    pool: httpcore2.AsyncConnectionPool, target: httpx2.URL, *, is_robots: bool
) -> Document | str:
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
        if not (head.textual or head.is_pdf or is_robots):
            return head
        most = _most(head, is_robots=is_robots)
        body, cut = await _read(response, sent.get("content-encoding", "").strip().lower(), *most)
        return replace(head, body=body, cut=cut)


def _most(head: Document, *, is_robots: bool) -> tuple[int, int]:
    """Return how many bytes are read at most: on the wire, and unpacked."""
    if is_robots:
        return ROBOTS_BYTES, ROBOTS_BYTES
    return (PDF_BYTES, PDF_BYTES) if head.is_pdf else (WIRE_BYTES, DECODED_BYTES)


def _next(here: httpx2.URL, location: str) -> httpx2.URL:
    try:
        target = read_url(str(here.join(location)))
    except (ToolInputError, httpx2.InvalidURL) as error:
        raise ToolError(f"{here} redirects to something unusable. {error}") from error
    if (here.scheme, target.scheme) == ("https", "http"):
        raise ToolError(f"{here} redirects from https to http ({target}): refused.")
    return target


async def _read(
    response: httpcore2.Response, encoding: str, most_wire: int, most: int
) -> tuple[bytes, bool]:
    """Return the decoded body and whether it was cut short."""
    decoder = _Decoder(encoding)
    body = bytearray()
    wire = 0
    async with aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            wire += len(chunk)
            body += decoder.decode(chunk, most - len(body))
            if wire > most_wire or len(body) >= most:
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
