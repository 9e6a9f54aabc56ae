"""Pages that were read, given out in parts that belong together."""

import json
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from agentkit.errors import ToolInputError

PART_CHARS = 8_000
"""Longest part of a page that is returned at once."""

_KEPT_PAGES = 8
_KEPT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Page:
    """What was read.

    Attributes:
        head: what it is, in a line.
        text: what is in it; empty if it has none, or none that can be read.
        is_text: whether it is of a kind that has text.
    """

    head: str
    text: str
    is_text: bool = True

    @property
    def mark(self) -> str:
        """A short name of the content: another one, once the page has changed.

        >>> Page("", "a").mark
        'ca978112'
        """
        return sha256(self.text.encode("utf-8", "replace")).hexdigest()[:8]


class Pages:
    """The last pages of one run, so that part two belongs to part one."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, tuple[float, Page]] = OrderedDict()

    def keep(self, url: str, page: Page) -> None:
        """Remember a page, and forget the oldest."""
        self._pages[url] = (time.monotonic(), page)
        self._pages.move_to_end(url)
        while len(self._pages) > _KEPT_PAGES:
            self._pages.popitem(last=False)

    def find(self, url: str) -> Page | None:
        """Return the page, if it was read a short while ago."""
        found = self._pages.get(url)
        return found[1] if found and time.monotonic() - found[0] < _KEPT_SECONDS else None

    def clear(self) -> None:
        """Forget all."""
        self._pages.clear()


def part(page: Page, url: str, start: int, mark: str = "") -> str:
    """Return what the model reads: a part, and how to ask for the next.

    Args:
        page: that was found.
        url: as the model gave it.
        start: where the part begins, in characters.
        mark: of the page that the part before came from, "" if that is not known.

    Raises:
        ToolInputError: the page ends before `start`.
    """
    head, text = page.head, page.text
    if start and mark and mark != page.mark:
        head = f"The page has changed since its last part was read: it begins again.\n{head}"
        start = 0
    if start and start >= len(text):
        raise ToolInputError(f"The page ends at {len(text)}; there is nothing from {start} on.")
    if not text:
        empty = "\n\nThe page has no text."
        return head + (empty if page.is_text else "")
    end = _break(text, start)
    if start == 0 and end == len(text):
        return f"{head}\n\n{text}"
    more = ""
    if end < len(text):
        asked = f'"url": {json.dumps(url, ensure_ascii=False)}, "start": {end}'
        more = f'\n\n[More: fetch with {asked}, "page": "{page.mark}"]'
    return f"{head}, characters {start} to {end} of {len(text)}\n\n{text[start:end].rstrip()}{more}"


def _break(text: str, start: int) -> int:
    """Return where a part ends: after a line if there is one in its last fifth."""
    end = start + PART_CHARS
    if end >= len(text):
        return len(text)
    line = text.rfind("\n", end - PART_CHARS // 5, end)
    return line + 1 if line > start else end
