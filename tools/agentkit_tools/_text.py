"""Turns the bytes of a document into text that a model can read."""

import codecs
import re
from contextlib import suppress
from html.parser import HTMLParser

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

TEXT_CHARS = 1_000_000
"""Longest text of a document; the rest is dropped."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.{0,500}?)</title", re.IGNORECASE | re.DOTALL)
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")
# Control characters, bidirectional overrides, and the tags that hide text from people only.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_BIG, _LITTLE = 2_000, 50


def to_text(body: bytes, content_type: str) -> str:
    """Return Markdown for HTML, and everything else as it is; slow for large pages.

    >>> to_text(b"<p>a <b>b</b></p>", "text/html")
    'a **b**'
    """
    text = decode(body, content_type)
    if "html" in content_type or (not content_type and text.lstrip()[:1] == "<"):
        text = _markdown(text)
    return _UNSEEN.sub("", text)[:TEXT_CHARS].strip()


def decode(body: bytes, content_type: str) -> str:
    """Decode by byte order mark, then header, then `<meta>`, then UTF-8; never fails.

    >>> decode("ü".encode("latin-1"), "text/plain; charset=latin-1")
    'ü'
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body.decode(encoding, "replace").removeprefix("\ufeff")
    named = _CHARSET.search(content_type) or _CHARSET.search(body[:2048].decode("latin-1"))
    if named:
        with suppress(LookupError, UnicodeError):  # a made-up name, or a codec that is not for text
            return body.decode(named[1], "replace")
    return body.decode("utf-8", "replace")


def _markdown(html: str) -> str:
    """Convert a page; without its menus first, with everything if that leaves nothing."""
    candidates = [""]
    for enabled in (True, False):
        options = ConversionOptions(
            extract_metadata=False,
            preprocessing=PreprocessingOptions(enabled=enabled, preset="aggressive"),
        )
        candidates.append(_BLANK_LINES.sub("\n\n", convert(html, options).content or "").strip())
        if len(html) < _BIG or len(candidates[-1]) >= _LITTLE:
            break
    best = max(candidates, key=len)
    if len(html) >= _BIG and len(best) < _LITTLE:
        best = max(best, _plain(html), key=len)
    title = _TITLE.search(html)
    if title and not best.startswith("# "):
        best = f"# {' '.join(_plain(title[1]).split())}\n\n{best}"
    return best


def _plain(html: str) -> str:
    reader = _Words()
    reader.feed(html)
    reader.close()
    return "\n".join(reader.words)


class _Words(HTMLParser):
    """Collects the text between tags."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the parent's signature
        self._silent = tag in {"script", "style", "template"}

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parent's signature
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.words.append(data.strip())
