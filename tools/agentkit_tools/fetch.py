"""Reads a page of the web as Markdown, a part at a time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from anyio import to_thread

from agentkit.errors import ConfigurationError, ToolError, ToolInputError, ToolTimeoutError
from agentkit.messages import JsonObject, PlanExample, PlanStep, ToolSpec
from agentkit.protocols import OpenTool, Tool, current_call
from agentkit.resilience import deadline
from agentkit.toolkit import FunctionTool, harmless, tool
from agentkit_tools._pages import PART_CHARS, Page, Pages, part

if TYPE_CHECKING:
    import ssl

    from agentkit_tools._http import Document, Way

__all__ = ["PART_CHARS", "TOOLS", "Fetch", "fetch", "make_fetch"]

ALLOW_VARIABLE = "AGENTKIT_FETCH_ALLOW"
"""What may be fetched although it is not public or not on a usual port."""

DENY_VARIABLE = "AGENTKIT_FETCH_DENY"
"""Domains, addresses and networks that are never fetched."""

ONLY_VARIABLE = "AGENTKIT_FETCH_ONLY"
"""Domains beside which nothing is fetched."""

PROXY_VARIABLE = "AGENTKIT_FETCH_PROXY"
"""URL of the proxy that everything goes through."""

ROBOTS_VARIABLE = "AGENTKIT_FETCH_ROBOTS"
"""When robots.txt is asked: "unattended", "always" or "never"."""

_ADDRESS = "http://city.example/council"
_EXAMPLE = PlanExample(
    f"Who is the mayor? See {_ADDRESS}", (PlanStep(f"name of the mayor on {_ADDRESS}", "fetch"),)
)


def make_fetch(
    allow: Sequence[str] | None = None,
    *,
    deny: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    proxy: str | None = None,
    robots: bool | None = None,
) -> "Fetch":
    """Return the fetch tool. What is not given is read from the environment at each call.

    Args:
        allow: addresses, networks and hosts to fetch although they are not public. A host or
            single address may be asked on every port, `host:port` on that one, a network on 80,
            443, 8080 and 8443 only; `*:port` opens a port of public hosts.
            `AGENTKIT_FETCH_ALLOW`.
        deny: domains, addresses and networks that are refused; a domain includes what is below
            it. `AGENTKIT_FETCH_DENY`.
        only: domains beside which everything is refused. `AGENTKIT_FETCH_ONLY`.
        proxy: URL of a proxy that everything goes through. It is the proxy that looks up names
            then, so *the proxy* must enforce which addresses may be reached: agentkit still
            refuses what a URL shows by itself, and cannot see the rest. `AGENTKIT_FETCH_PROXY`;
            never `HTTP_PROXY`.
        robots: whether robots.txt is asked first. `AGENTKIT_FETCH_ROBOTS`: "unattended" (asked
            in runs that have nobody to approve), "always" or "never".
    """
    return Fetch(_Settings(allow=allow, deny=deny, only=only, proxy=proxy, robots=robots))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What was given; `None` leaves it to the environment."""

    allow: Sequence[str] | None = None
    deny: Sequence[str] | None = None
    only: Sequence[str] | None = None
    proxy: str | None = None
    robots: bool | None = None

    def way(self) -> "Way":
        """Return how documents are got in this call; slow, for a thread.

        Raises:
            ConfigurationError: a setting cannot be understood.
        """
        for name in ("agentkit_tools._http", "agentkit_tools._convert"):
            import_module(name)  # a fifth of a second, paid once and only by those who fetch
        from agentkit_tools import _http, _rules

        rules = _rules.Rules.read(
            _listed(self.allow, ALLOW_VARIABLE),
            _listed(self.deny, DENY_VARIABLE),
            _listed(self.only, ONLY_VARIABLE),
        )
        context: ssl.SSLContext = _http.ssl_context()
        proxy = os.environ.get(PROXY_VARIABLE, "") if self.proxy is None else self.proxy
        robots = _asks_robots() if self.robots is None else self.robots
        return _http.Way(rules=rules, context=context, proxy=proxy, robots=robots)


def _listed(given: Sequence[str] | None, variable: str) -> Sequence[str]:
    return os.environ.get(variable, "").split(",") if given is None else given


def _asks_robots() -> bool:
    said = os.environ.get(ROBOTS_VARIABLE, "").strip().lower() or "unattended"
    if said not in {"unattended", "always", "never"}:
        raise ConfigurationError(
            f"{ROBOTS_VARIABLE} is {said!r}.", hint='Write "unattended", "always" or "never".'
        )
    call = current_call()
    return said == "always" or (said == "unattended" and call is not None and not call.attended)


class _RunFetch:
    """The tool of one run: it remembers the pages that it has begun to read."""

    def __init__(self, settings: _Settings, described: FunctionTool) -> None:
        self._settings = settings
        self._described = described
        self._pages = Pages()

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._described.spec

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments as they will be used.

        Raises:
            ToolInputError: they do not fit.
        """
        return self._described.validate(arguments)

    async def call(self, arguments: JsonObject) -> str:
        """Return a part of the page.

        Raises:
            ToolError: it is refused, not there, or cannot be read.
        """
        url, start = str(arguments["url"]), int(arguments["start"])
        if start < 0:
            raise ToolInputError("start must be 0 or more.")
        page = self._pages.find(url) if start else None
        if page is None:
            page = await _load(url, self._settings)
            self._pages.keep(url, page)
        return part(page, url, start, str(arguments["page"]))

    async def aclose(self) -> None:
        """Forget the pages."""
        self._pages.clear()


class Fetch(_RunFetch):
    """The tool; each run gets one of its own from `for_run`. Called itself, it keeps no pages."""

    def __init__(self, settings: _Settings) -> None:
        super().__init__(settings, _described)

    async def call(self, arguments: JsonObject) -> str:
        """Return a part of the page, which is read for this call only.

        Raises:
            ToolError: it is refused, not there, or cannot be read.
        """
        return await self.for_run().call(arguments)

    def for_run(self) -> OpenTool:
        """Return the tool of one run."""
        return _RunFetch(self._settings, self._described)


# Our own limit comes before the 60 seconds: it says what took long.
@tool(
    name="fetch",
    timeout_seconds=60,
    examples=[_EXAMPLE],
    effect="pure",
    untrusted=True,
    open_world=True,
)
async def _described(url: str, start: int = 0, page: str = "") -> str:
    """Read a web page or text file by its URL.

    Args:
        url: http or https
        start: 0, or where the last part ended
        page: as the last part says
    """
    return await fetch.call({"url": url, "start": start, "page": page})


async def _load(url: str, settings: _Settings) -> Page:
    way = await to_thread.run_sync(settings.way)
    from agentkit_tools import _convert, _http  # loaded by now

    seconds = _http.TOTAL_SECONDS
    with deadline(seconds, ToolTimeoutError(f"{url} took longer than {seconds:.0f} s to read.")):
        found = await _http.download(url, way)
        if found.status >= 400 and not found.textual:
            raise ToolError(f"HTTP {found.status} for {found.url}.")
        if found.is_pdf and found.cut:
            raise ToolError(f"{found.url} is larger than {_http.PDF_BYTES} bytes: not read.")
        if not (found.textual or found.is_pdf):
            size = f", {found.length} bytes" if found.length else ""
            head = f"{found.url} is {_kind(found)}{size}: not text, so it was not read."
            return Page(head, "", is_text=False)
        converted = await _convert.convert(found.body, found.content_type)
    text = harmless(converted.text)
    if found.status >= 400:
        first = next((line.strip("# ") for line in text.splitlines() if line.strip("# ")), "")
        raise ToolError(f"HTTP {found.status} for {found.url}. {first[:200]}".strip())
    said = [_kind(found), "cut short: it is too large" if found.cut else "", converted.note]
    return Page(f"{found.url} ({', '.join(filter(None, said))})", text)


def _kind(found: "Document") -> str:
    return harmless(found.content_type.partition(";")[0].strip()[:100]) or "type not named"


fetch = make_fetch()
TOOLS: tuple[Tool, ...] = (fetch,)
