"""Reads a page of the web as Markdown, a part at a time."""

import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from anyio import to_thread

from agentkit.errors import ToolError, ToolInputError, ToolTimeoutError
from agentkit.messages import PlanExample, PlanStep
from agentkit.protocols import Tool
from agentkit.resilience import deadline
from agentkit.toolkit import FunctionTool, defused, tool
from agentkit_tools._addresses import AddressRules

if TYPE_CHECKING:
    import ssl

PART_CHARS = 8_000
"""Longest part of a page that is returned at once."""

ALLOW_VARIABLE = "AGENTKIT_FETCH_ALLOW"
"""Addresses, networks and host names that may be fetched although they are not public."""

_KEPT_PAGES = 8
_KEPT_SECONDS = 300.0
_ADDRESS = "http://city.example/council"
_EXAMPLE = PlanExample(
    f"Who is the mayor? See {_ADDRESS}", (PlanStep(f"name of the mayor on {_ADDRESS}", "fetch"),)
)


def make_fetch(allow: Sequence[str] | None = None) -> FunctionTool:
    """Return the fetch tool.

    Args:
        allow: addresses, networks and hosts to fetch although they are not public; the
            environment's `AGENTKIT_FETCH_ALLOW` where not given.
    """
    pages = _Pages()

    # Our own limit comes before the 60 seconds: it says what took long.
    @tool(timeout_seconds=60, examples=[_EXAMPLE], effect="pure", untrusted=True, open_world=True)
    async def fetch(url: str, start: int = 0) -> str:
        """Read a web page or text file by its URL.

        Args:
            url: http or https
            start: 0, or where the last part ended
        """
        if start < 0:
            raise ToolInputError("start must be 0 or more.")
        page = pages.find(url) if start else None
        if page is None:
            page = await _load(url, _rules(allow))
            pages.keep(url, page)
        return _part(page, url, start)

    return fetch


class _Pages:
    """The last pages that were read, so that part two belongs to part one."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, tuple[float, tuple[str, str]]] = OrderedDict()

    def keep(self, url: str, page: tuple[str, str]) -> None:
        self._pages[url] = (time.monotonic(), page)
        self._pages.move_to_end(url)
        while len(self._pages) > _KEPT_PAGES:
            self._pages.popitem(last=False)

    def find(self, url: str) -> tuple[str, str] | None:
        read_at, page = self._pages.get(url, (0.0, None))
        return page if time.monotonic() - read_at < _KEPT_SECONDS else None


def _rules(allow: Sequence[str] | None) -> AddressRules:
    return AddressRules.read(
        os.environ.get(ALLOW_VARIABLE, "").split(",") if allow is None else allow
    )


async def _load(url: str, rules: AddressRules) -> tuple[str, str]:
    """Return what the page is, in a line, and its text."""
    context = await to_thread.run_sync(_prepare)
    from agentkit_tools import _http, _text  # loaded by now

    seconds = _http.TOTAL_SECONDS
    with deadline(seconds, ToolTimeoutError(f"{url} took longer than {seconds:.0f} s to read.")):
        found = await _http.download(url, rules, context)
        # Text of what is no text is empty. A page made to take long is left to its thread.
        text = await to_thread.run_sync(
            _text.to_text, found.body, found.content_type, abandon_on_cancel=True
        )
    kind = found.content_type.partition(";")[0].strip() or "type not named"
    if not found.textual:
        if found.status >= 400:
            raise ToolError(f"HTTP {found.status} for {found.url}.")
        size = f", {found.length} bytes" if found.length else ""
        return f"{found.url} is {kind}{size}: not text, so it was not read.", ""
    text = defused(text)
    if found.status >= 400:
        first = next((line.strip("# ") for line in text.splitlines() if line.strip("# ")), "")
        raise ToolError(f"HTTP {found.status} for {found.url}. {first[:200]}".strip())
    cut = ", cut short: it is too large" if found.cut else ""
    return f"{found.url} ({kind}{cut})", text


def _prepare() -> "ssl.SSLContext":
    """Load what is slow to load, in a thread."""
    for name in ("agentkit_tools._http", "agentkit_tools._text"):
        import_module(name)  # half a second, paid once and only by those who fetch
    from agentkit_tools import _http

    return _http.ssl_context()


def _part(page: tuple[str, str], url: str, start: int) -> str:
    head, text = page
    if start and start >= len(text):
        raise ToolInputError(f"The page ends at {len(text)}; there is nothing from {start} on.")
    if not text:
        return head if "not text" in head else f"{head}\n\nThe page has no text."
    end = _break(text, start)
    if start == 0 and end == len(text):
        return f"{head}\n\n{text}"
    more = f'\n\n[More: fetch with "url": "{url}", "start": {end}]' if end < len(text) else ""
    return f"{head}, characters {start} to {end} of {len(text)}\n\n{text[start:end].rstrip()}{more}"


def _break(text: str, start: int) -> int:
    """Return where a part ends: after a line if there is one in its last fifth."""
    end = start + PART_CHARS
    if end >= len(text):
        return len(text)
    line = text.rfind("\n", end - PART_CHARS // 5, end)
    return line + 1 if line > start else end


fetch = make_fetch()
TOOLS: tuple[Tool, ...] = (fetch,)
