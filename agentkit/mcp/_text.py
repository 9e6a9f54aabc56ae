"""What a server says, made fit to be shown: no control characters, no endless length."""

from typing import cast

from anyio.lowlevel import checkpoint

from agentkit.text import visible

_PIECE_CHARS = 250_000
_HEADROOM = 8
"""How many times as long as a line may be is gone through for it: much of it may vanish."""


def clean(text: str) -> str:
    r"""Return `text` without escape sequences and characters that hide or reorder others.

    >>> clean("\x1b[31mred\x1b[0m\r\nnext \u202eline")
    'red\nnext line'
    """
    return visible(text)


def hides(text: str) -> bool:
    r"""Say whether `text` holds what `clean` would take away; a carriage return may stay.

    >>> hides("a\u200bb"), hides("\r\n")
    (True, False)
    """
    plain = text.replace("\r", "")
    return clean(plain) != plain


def weigh(value: object, most: int) -> int:
    """Return about how long a JSON value is as text, counted until that is more than `most`.

    >>> weigh({"a": [1, "two"]}, 100), weigh([0] * 1_000_000, 100) > 100
    (16, True)
    """
    total = 0
    rest: list[object] = [value]
    while rest and total <= most:
        one = rest.pop()
        if isinstance(one, str):
            total += len(one) + 2
        elif isinstance(one, dict | list):
            inner = cast("dict[str, object] | list[object]", one)
            total += 2 + len(inner)
            if total <= most:
                rest.extend(inner)
                rest.extend(inner.values() if isinstance(inner, dict) else ())
        else:
            total += 1 + one.bit_length() // 3 if isinstance(one, int) else 4
    return total


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
    line = " ".join(clean(text[: limit * _HEADROOM]).split())
    if len(line) <= limit and len(text) <= limit * _HEADROOM:
        return line
    return line[: limit - 3] + "..."
