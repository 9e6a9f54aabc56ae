"""Addresses of the web: those that a text names, and those that a call would open."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

_NAMED = re.compile(r"https?://[^\s<>\"'`{}|\\^]{1,2000}", re.IGNORECASE)
_LINKED = re.compile(r"\]\(<?([^\s()<>]{1,2000})")  # of Markdown, perhaps relative
_GIVEN = re.compile(r"https?:\S+", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_AFTER = ".,:;!?)]}*_~'\""
_MOST_AFTER = 6
_PORTS = {"http": 80, "https": 443}


def key_of(url: str) -> str:
    """Return what is the same for two spellings of one address; nothing else is left out of it.

    >>> key_of("HTTPS://Example.org:443/a?b=1#c"), key_of("http://example.org")
    ('example.org/a?b=1', 'example.org/')
    """
    try:
        parts = urlsplit(url.strip())
        port = None if parts.port == _PORTS.get(parts.scheme) else parts.port
    except ValueError:
        return url
    user, at, _ = parts.netloc.rpartition("@")
    where = f"{user}{at}{parts.hostname or ''}{f':{port}' if port is not None else ''}"
    return f"{where}{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"


def host_of(url: str) -> str:
    """Return the host of an address, "" where there is none.

    >>> host_of("https://Docs.Example.org:8000/a"), host_of("nowhere")
    ('docs.example.org', '')
    """
    try:
        return urlsplit(url.strip()).hostname or ""
    except ValueError:
        return ""


def keys_in(text: str, bases: Sequence[str] = ()) -> set[str]:
    """Return the keys of the addresses that a text names.

    A sentence may go on right after an address, so it counts without what may not belong to it.

    Args:
        text: plain, or Markdown.
        bases: what links that are relative are relative to.

    >>> sorted(keys_in("See https://example.org/a). Or [b](/b).", ["https://example.org/a"]))
    ['example.org/a', 'example.org/a)', 'example.org/a).', 'example.org/b']
    """
    found = {key_of(one) for match in _NAMED.findall(text) for one in _readings(match)}
    for link in _LINKED.findall(text) if bases else ():
        found.update(key_of(joined) for base in bases if (joined := _joined(base, link)))
    return found


def addresses_given(arguments: Mapping[str, Any]) -> list[str]:
    """Return the addresses that a call might open; of one that has blanks or quotes, all.

    >>> addresses_given({"url": "https://a.example/x y", "n": 1, "more": ["at http://b.example"]})
    ['https://a.example/x y', 'http://b.example']
    >>> addresses_given({"url": "c.example/?q=1"})
    ['https://c.example/?q=1']
    """
    found: dict[str, None] = {}
    rest: list[tuple[str, object]] = [("", arguments)]
    while rest:  # not by recursion: a model may nest as deep as it likes
        name, value = rest.pop()
        if isinstance(value, Mapping):
            inner = list(cast("Mapping[str, object]", value).items())
            rest.extend((str(key), one) for key, one in reversed(inner))
        elif isinstance(value, list | tuple):
            rest.extend((name, one) for one in reversed(cast("Sequence[object]", value)))
        elif isinstance(value, str):
            found.update(dict.fromkeys(_given(name, value.strip())))
    return list(found)


def _given(name: str, text: str) -> Iterator[str]:
    if text.lower().startswith(("http:", "https:")):
        yield text
        text = text[5:]
    elif text and "url" in name.lower() and not _SCHEME.match(text):
        yield f"https://{text.lstrip('/')}"
    yield from _GIVEN.findall(text)


def _readings(match: str) -> Iterator[str]:
    for one in dict.fromkeys((match, _ascii_part(match))):
        text = one
        yield text
        for _ in range(_MOST_AFTER):
            if text[-1:] not in _AFTER:
                break
            text = text[:-1]
            yield text


def _ascii_part(text: str) -> str:
    return next((text[:at] for at, sign in enumerate(text) if not sign.isascii()), text)


def _joined(base: str, link: str) -> str:
    try:
        joined = urljoin(base, link)
    except ValueError:
        return ""
    return joined if joined.lower().startswith(("http:", "https:")) else ""
