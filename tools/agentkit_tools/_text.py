"""Turns the bytes of a document into text that a model can read."""

import codecs
import re
from contextlib import suppress
from html import unescape

from agentkit_tools._hidden import visible

TEXT_CHARS = 1_000_000
"""Longest text of a document; the rest is dropped."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What pages are written in. Python knows more codecs, and some take minutes for a page (punycode).
_CODEC = re.compile(
    r"ascii|utf-8(-sig)?|utf-(16|32)(-[bl]e)?|iso8859-\d+|tis-620|cp(437|850|866|874|125\d)"
    r"|koi8-[ru]|mac-(roman|cyrillic)|gb(2312|k|18030)|hz|big5(hkscs)?|cp9(32|49|50)|shift_jis"
    r"|euc_(jp|kr)|iso2022_jp"
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
# A slow match holds up every thread: each part of these is bounded or ends at the next `<`.
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{0,500})</title", re.IGNORECASE)
_PIECE = re.compile(r"<([/!?]?[a-z]*)[^<>]*>?|[^<]+", re.IGNORECASE)
_SILENT = frozenset({"script", "style", "template"})
_HEAD_CHARS = 20_000
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")
_BIG, _LITTLE = 2_000, 50


def to_text(body: bytes, content_type: str) -> str:
    """Return Markdown for HTML, and everything else as it is; slow for large pages.

    >>> to_text(b"<p>a <b>b</b></p>", "text/html")
    'a **b**'
    """
    text = decode(body, content_type)
    if is_html(body, content_type):
        text = _markdown(visible(text))
    return cleaned(text)


def plain_text(body: bytes, content_type: str, most_chars: int) -> str:
    r"""Return the words of a page that defeats the converter, in time that grows with the page.

    >>> plain_text(b"<p>a <b>b</b><p hidden>c", "text/html", 100)
    'a\nb'
    """
    return cleaned(_plain(visible(decode(body, content_type)[:most_chars])))


def is_html(body: bytes, content_type: str) -> bool:
    """Return whether a document is HTML: by its type, or by its look if it has none."""
    return "html" in content_type or (not content_type and body.lstrip()[:1] == b"<")


def cleaned(text: str) -> str:
    """Return the text, not too long; letters that nobody sees are left to whoever hands it on."""
    return text[:TEXT_CHARS].strip()


def decode(body: bytes, content_type: str) -> str:
    """Decode by byte order mark, then header, then `<meta>`, then UTF-8; never fails.

    >>> decode("ü".encode("latin-1"), "text/plain; charset=latin-1")
    'ü'
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body.decode(encoding, "replace").removeprefix("\ufeff")
    named = _CHARSET.search(content_type) or _CHARSET.search(body[:2048].decode("latin-1"))
    return body.decode(_codec(named[1]) if named else "utf-8", "replace")


def _codec(charset: str) -> str:
    with suppress(LookupError, UnicodeError):  # a made-up name
        found = codecs.lookup(charset).name
        if _CODEC.fullmatch(found):
            return found
    return "utf-8"


def _markdown(html: str) -> str:
    """Convert a page; without its menus first, with everything if that leaves nothing."""
    # Only in the reader's process: the host never loads it.
    from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

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
    title = _TITLE.search(html, 0, _HEAD_CHARS)
    if title and not best.startswith("# "):
        best = f"# {' '.join(_plain(title[1]).split())}\n\n{best}"
    return best


def _plain(html: str) -> str:
    """Return the text between tags, in time that grows with the page, whatever is in it."""
    words: list[str] = []
    silent = ""
    for piece in _PIECE.finditer(html):
        if piece[1] is None:
            words += [] if silent else [unescape(piece[0]).strip()]
        elif silent:
            silent = "" if piece[1].lower() == f"/{silent}" else silent
        elif piece[1].lower() in _SILENT:
            silent = piece[1].lower()
    return "\n".join(filter(None, words))
