"""What robots.txt forbids (RFC 9309), for runs that nobody watches."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
import httpcore2
import httpx2
from anyio import to_thread

from agentkit.errors import AgentkitError, ToolError

AGENT = "agentkit-fetch"
"""The name that a robots.txt may speak to."""

BYTES = 500 * 1024
"""How much of a robots.txt counts; what follows is ignored, as the RFC has it."""

_KEPT_SECONDS = 24 * 3600.0
_FAILED_SECONDS = 300.0
_MOST_KEPT = 64
_WAIT_SECONDS = 10.0


class _Answer(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """What a site said, as text: what a parser makes of a hostile one is fifty times as large."""

    rules: str
    failure: str
    until: float


_known: OrderedDict[str, _Known] = OrderedDict()


async def refuse_forbidden(
    url: httpx2.URL, get: Callable[[httpx2.URL], Awaitable[_Answer]]
) -> None:
    """Refuse a URL that the robots.txt of its site forbids, or whose robots.txt cannot be had.

    Args:
        url: what is to be read.
        get: how the robots.txt is read.

    Raises:
        ToolError: names robots.txt.
    """
    origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
    known = _known.get(origin)
    if known is None or known.until < time.monotonic():
        known = await _load(httpx2.URL(f"{origin}/robots.txt"), get)
        _known[origin] = known
        _known.move_to_end(origin)
        while len(_known) > _MOST_KEPT:
            _known.popitem(last=False)
    if known.failure:
        raise ToolError(
            f"{url} is not read: {origin}/robots.txt cannot be read ({known.failure}), and without"
            " it nobody may read there unattended.",
            hint="AGENTKIT_FETCH_ROBOTS=never reads without asking robots.txt.",
        )
    if known.rules and not await to_thread.run_sync(_allows, known.rules, str(url)):
        raise ToolError(
            f"{url} is not read: {origin}/robots.txt forbids it.",
            hint="AGENTKIT_FETCH_ROBOTS=never reads without asking robots.txt.",
        )


async def _load(url: httpx2.URL, get: Callable[[httpx2.URL], Awaitable[_Answer]]) -> _Known:
    failure = "no answer"
    with anyio.move_on_after(_WAIT_SECONDS):
        try:
            answer = await get(url)
        except AgentkitError as error:
            failure = str(error)[:200]
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.ProxyError,
            httpcore2.TimeoutException,
        ) as error:
            failure = str(error)[:200] or type(error).__name__
        else:
            if answer.status < 500:
                rules = answer.body.decode("utf-8-sig", "replace") if answer.status < 300 else ""
                return _Known(rules, "", time.monotonic() + _KEPT_SECONDS)
            failure = f"HTTP {answer.status}"
    return _Known("", failure, time.monotonic() + _FAILED_SECONDS)


def _allows(rules: str, url: str) -> bool:
    """Whether the text lets us read; slow for a hostile one, so it belongs into a thread.

    >>> text = "User-agent: *" + chr(10) + "Disallow: /a" + chr(10) + "Allow: /a/b*.html$"
    >>> [_allows(text, f"http://x.example{path}") for path in ("/", "/a/c", "/a/b1.html")]
    [True, False, True]
    """
    from protego import Protego

    return Protego.parse(rules).can_fetch(url, AGENT)
