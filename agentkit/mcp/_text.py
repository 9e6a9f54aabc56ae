"""What a server says, made fit to be shown: no control characters, no endless length."""

import re

from anyio.lowlevel import checkpoint

_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
# C0 and C1 but tab and newline, bidirectional marks and overrides, what has no width, byte order
# mark, tags and the variation selectors that nothing needs, lone surrogates: a terminal, a reader
# or an encoder would be fooled by them. Joiners stay: scripts and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_PIECE_CHARS = 250_000


def clean(text: str) -> str:
    r"""Return `text` without escape sequences and characters that hide or reorder others.

    >>> clean("\x1b[31mred\x1b[0m\r\nnext \u202eline")
    'red\nnext line'
    """
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub("", _ESCAPE.sub("", text))


async def clean_long(text: str) -> str:
    """Return `clean(text)`, and let others have their turn while a long one is gone through."""
    if len(text) <= _PIECE_CHARS:
        return clean(text)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        end = text.rfind("\n", at, at + _PIECE_CHARS) + 1 or at + _PIECE_CHARS
        pieces.append(clean(text[at:end]))
        at = end
        await checkpoint()
    return "".join(pieces)


def shorten(text: str, limit: int) -> str:
    r"""Return `text`, or its head and tail around a note that says how much is missing.

    >>> shorten("abcdefghij", 6)
    'abcd\n[... 4 of 10 characters left out ...]\nij'
    """
    if len(text) <= limit:
        return text
    tail = limit // 3
    head = limit - tail
    note = f"\n[... {len(text) - limit} of {len(text)} characters left out ...]\n"
    return text[:head] + note + text[len(text) - tail :]


def one_line(text: str, limit: int = 300) -> str:
    r"""Return `text` as one clean line of at most `limit` characters.

    >>> one_line("two\n  lines", 7)
    'two ...'
    """
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
