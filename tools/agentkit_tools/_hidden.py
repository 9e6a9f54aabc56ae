"""Takes out of a page what a browser does not show, in time that grows with the page."""

import re
from html import unescape

# Every part is possessive and ends at the end of the text at the latest: no page makes it go back.
_MARK = re.compile(r"<(?:(!--)|([!?])|/([a-zA-Z][^\s/>]*+)|([a-zA-Z][^\s/>]*+)|(/))")
_REST = re.compile(
    r"""(?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+)?)?+)*+>"""
)
_ATTRIBUTE = re.compile(
    r"""([^\s/>][^\s/>=]*+)(?:\s*+=\s*+("[^"]*+"?|'[^']*+'?|[^\s>"'][^\s>]*+)?)?+"""
)
_RAW_END = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "noscript", "iframe", "noembed", "noframes", "xmp")
}
_TEXT_END = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("title", "textarea")
}
_VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr".split()  # noqa: SIM905
)
_CELLS = frozenset({"td", "th"})
_ROWS = _CELLS | {"tr"}
_TABLE = _ROWS | {"table", "tbody", "thead", "tfoot", "caption"}
# An end tag inside of these does not end what is around them.
_WALLS = frozenset({"td", "th", "caption", "table", "template", "button", "object"})
_ENDED_BY: dict[str, frozenset[str]] = {
    **dict.fromkeys(("dd", "dt"), frozenset({"dd", "dt"})),
    **dict.fromkeys(("td", "th"), _CELLS),
    **dict.fromkeys(("tbody", "thead", "tfoot"), _ROWS | {"tbody", "thead", "tfoot"}),
    **dict.fromkeys(
        [
            "address",
            "article",
            "aside",
            "blockquote",
            "div",
            "dl",
            "fieldset",
            "footer",
            "form",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "header",
            "hr",
            "main",
            "nav",
            "ol",
            "p",
            "pre",
            "section",
            "table",
            "ul",
        ],
        frozenset({"p"}),
    ),
    "li": frozenset({"li", "p"}),
    "tr": _ROWS,
    "option": frozenset({"option"}),
    "optgroup": frozenset({"option", "optgroup"}),
}
_NUMBER = re.compile(r"([+-]?[\d.]{1,12})\s*([a-z%]{0,5})")
_FAR = -500.0
_TAG_CHARS = 4_000  # a longer one loses its attributes: a hundred thousand take minutes to convert
_WHITE = {"white": "#ffffff", "#fff": "#ffffff", "black": "#000000", "#000": "#000000"}


def visible(html: str) -> str:
    """Return a page without what its markup hides from people: elements, comments, scripts.

    What a style sheet or a script hides is not known here.

    >>> visible('a<p style="display:none">b</p><!-- c --><b hidden>d</b>e')
    'ae'
    """
    return _Scan(html).run()


class _Scan:
    """One walk over a page."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._open: list[str] = []
        self._where: dict[str, list[int]] = {}
        self._walls: list[int] = []
        self._hidden_at = -1  # how deep the outermost hidden element is
        self._last_hidden = -1  # where the last one was
        self._kept: list[str] = []

    def run(self) -> str:
        html, at = self._html, 0
        while (mark := _MARK.search(html, at)) is not None:
            self._keep(html[at : mark.start()])
            at = self._step(mark)
        self._keep(html[at:])
        return "".join(self._kept)

    def _keep(self, text: str) -> None:
        if self._hidden_at < 0 and text:
            self._kept.append(text)

    def _step(self, mark: re.Match[str]) -> int:
        """Take one tag or comment, and return where it ends: at the end, if it does not."""
        html, at = self._html, mark.end()
        comment, odd, ended, begun, _ = mark.groups()
        if comment:
            if html.startswith((">", "->"), at):
                return html.index(">", at) + 1
            return _after(html, "-->", at)
        if odd or not (ended or begun):
            return _after(html, ">", at)
        rest = _REST.match(html, at)
        if rest is None:
            return len(html)
        if ended:
            self._end(ended.lower(), mark, rest)
            return rest.end()
        return self._begin(begun.lower(), mark, rest)

    def _begin(self, name: str, mark: re.Match[str], rest: re.Match[str]) -> int:
        html, at = self._html, rest.end()
        if name in _RAW_END:
            found = _RAW_END[name].search(html, at)
            return _after(html, ">", found.end()) if found else len(html)
        enders = _ENDED_BY.get(name)
        while enders and self._open and self._open[-1] in enders:
            self._pop()
        if name in {"html", "body"}:  # scripts show them later
            self._keep(f"<{name}>")
            return at
        hides = name in {"template"} or _hides(name, rest[0])
        if name in _TEXT_END:
            found = _TEXT_END[name].search(html, at)
            end = _after(html, ">", found.end()) if found else len(html)
            self._keep("" if hides else self._tag(name, mark.start(), at) + html[at:end])
            return end
        if name in _VOID or (rest[0].endswith("/>") and self._is_foreign(name)):
            self._keep("" if hides else self._tag(name, mark.start(), at))
            return at
        if hides and self._hidden_at < 0:
            self._hidden_at = len(self._open)
        self._keep(self._tag(name, mark.start(), at))
        self._push(name)
        return at

    def _tag(self, name: str, start: int, end: int) -> str:
        return self._html[start:end] if end - start <= _TAG_CHARS else f"<{name}>"

    def _end(self, name: str, mark: re.Match[str], rest: re.Match[str]) -> None:
        where = self._where.get(name)
        if not where or name in {"html", "body"}:
            self._keep(self._html[mark.start() : rest.end()])
            return
        if self._walls and self._walls[-1] > where[-1] and name not in _TABLE:
            return
        was_hidden, depth = self._hidden_at >= 0, where[-1]
        while len(self._open) > depth:
            self._pop()
        # The end of what is hidden goes with it; what is around it ends for everyone.
        if not (was_hidden and self._last_hidden == depth):
            self._keep(self._html[mark.start() : rest.end()])

    def _push(self, name: str) -> None:
        if name in _WALLS:
            self._walls.append(len(self._open))
        self._where.setdefault(name, []).append(len(self._open))
        self._open.append(name)

    def _pop(self) -> None:
        self._where[self._open.pop()].pop()
        depth = len(self._open)
        if self._walls and self._walls[-1] == depth:
            self._walls.pop()
        if self._hidden_at == depth:
            self._hidden_at, self._last_hidden = -1, depth

    def _is_foreign(self, name: str) -> bool:
        return name in {"svg", "math"} or bool(self._where.get("svg") or self._where.get("math"))


def _after(html: str, mark: str, at: int) -> int:
    found = html.find(mark, at)
    return len(html) if found < 0 else found + len(mark)


def _hides(name: str, rest: str) -> bool:
    """Whether a tag with these attributes hides itself and what is in it."""
    lower = rest.lower()
    if name == "dialog":
        return "open" not in _attributes(rest)
    if "hidden" not in lower and "style" not in lower:  # most tags
        return False
    found = _attributes(rest)
    return (
        found.get("hidden", "no") not in {"no", "until-found"}
        or found.get("aria-hidden", "").strip().lower() == "true"
        or _style_hides(found.get("style", ""))
    )


def _attributes(rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(rest, 0, len(rest) - 1):
        value = match[2] or ""
        value = value[1:].removesuffix(value[0]) if value[:1] in {'"', "'"} else value
        found.setdefault(match[1].lower(), unescape(value))
    return found


def _style_hides(style: str) -> bool:
    said: dict[str, str] = {}
    for declaration in _without_comments(style.lower()).split(";"):
        name, _, value = declaration.partition(":")
        said[name.strip()] = value.partition("!")[0].strip()[:100]
    return (
        said.get("display") == "none"
        or said.get("visibility") in {"hidden", "collapse"}
        or any(_size(said.get(name)) == 0 for name in ("font-size", "opacity"))
        or any(
            (_size(said.get(name)) or 0) <= _FAR
            for name in ("left", "top", "right", "bottom", "text-indent", "margin-left")
        )
        or said.get("clip", "").replace(" ", "").startswith(("rect(0", "rect(1px"))
        or (said.get("overflow") == "hidden" and 0 in map(_size, _sizes(said)))
        or _is_unseen(said.get("color", ""), said.get("background-color", said.get("background")))
    )


def _sizes(said: dict[str, str]) -> list[str | None]:
    return [said.get(name) for name in ("height", "width", "max-height", "max-width")]


def _size(value: str | None) -> float | None:
    """Return the number of a length, in pixels where the unit is one of letters."""
    found = _NUMBER.fullmatch(value) if value else None
    if found is None:
        return None
    try:
        number = float(found[1])
    except ValueError:
        return None
    return number * 16 if found[2] in {"em", "rem", "ch", "vw", "vh"} else number


def _is_unseen(color: str, background: str | None) -> bool:
    if color == "transparent":
        return True
    if not color or not background:
        return False
    return _WHITE.get(color, color) == _WHITE.get(background, background)


def _without_comments(style: str) -> str:
    parts: list[str] = []
    at = 0
    while (begin := style.find("/*", at)) >= 0:
        parts.append(style[at:begin])
        at = _after(style, "*/", begin + 2)
    return "".join([*parts, style[at:]])
