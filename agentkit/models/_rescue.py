"""Finds calls that a server's parser left behind in the text.

Seen in the wild: tags without newlines or never closed, JSON in a fence (Qwen2.5-Coder), bare
Hermes JSON, the XML of Qwen3-Coder. Only calls of known tools are taken; nothing is guessed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentkit.messages import ToolCall
from agentkit.models._calls import new_call_id
from agentkit.models._loose import Written, read_function, read_value

Schemas: TypeAlias = Mapping[str, Mapping[str, Any]]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION = "<function="
_MARKS = (_OPEN, _FUNCTION, "```", '"name"', '"arguments"', '"parameters"')
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?\s*(?=[{\[])")
_LINE = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_LEAK = re.compile(r'\A\s*"?,?\s*"(?:arguments|parameters)"\s*:\s*\{')
_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_STRAY_THINK = re.compile(r"</think>[ \t]*(?:\n|\Z)")
_STRAY_END = re.compile(r"\s*</tool_call>\s*\Z")
_BRACES = re.compile(r"\A[\s}]*\Z")


@dataclass(frozen=True, slots=True)
class Rescued:
    """Calls found in a text, the text without them, and what the model has to mend."""

    calls: tuple[ToolCall, ...]
    rest: str
    problem: str = ""


@dataclass(slots=True)
class _Search:
    """The state of one search: what was found, and which spans of the text it took."""

    text: str
    schemas: Schemas
    written: list[Written]
    spans: list[tuple[int, int]]
    problem: str = ""

    def take(self, start: int, end: int, written: list[Written]) -> None:
        self.spans.append((start, end))
        self.written += written

    def known(self, written: list[Written]) -> bool:
        return bool(written) and all(call.name in self.schemas for call in written)


def rescue(text: str, schemas: Schemas) -> Rescued | None:
    """Return the calls of known tools in `text`; `None` leaves the text as it is.

    >>> rescue('<tool_call>{"name": "now", "arguments": {}}', {"now": {}}).calls[0].name
    'now'
    >>> rescue('Use {"name": "now"} for that.', {"now": {}}) is None
    True
    """
    if not schemas or not any(mark in text for mark in _MARKS):
        return None
    if _LEAK.match(text):
        return Rescued((), "", _unknown("", schemas))
    search = _Search(text, schemas, [], [])
    for look in (_look_for_tags, _look_for_functions, _look_for_fences, _look_for_lines):
        look(search)
        if search.written or search.problem:
            return Rescued(_calls(search.written), _rest(search), search.problem)
    return None


def tidy(text: str, thinking: str) -> tuple[str, str]:
    r"""Return text and thinking with the tags gone that a parser forgot.

    >>> tidy("so be it.\n</think>\n\nYes.", "Hm,")
    ('Yes.', 'Hm,\nso be it.')
    """
    for block in _THOUGHT.findall(text):  # a second thought
        thinking = "\n".join(part for part in (thinking, block.strip("\n")) if part)
    text = _THOUGHT.sub("", text).strip("\n") if "<think>" in text else text
    opened = text.startswith("<think>")
    found = _STRAY_THINK.search(text) if "</think>" in text else None
    if found is not None:
        thought = text[: found.start()].removeprefix("<think>").strip("\n")
        thinking = "\n".join(part for part in (thinking, thought) if part)
        text = text[found.end() :].strip("\n")
    elif opened:
        return "", "\n".join(
            part for part in (thinking, text[len("<think>") :].strip("\n")) if part
        )
    if text.endswith(_CLOSE) and _OPEN not in text:
        text = _STRAY_END.sub("", text)
    return text, thinking


def is_leftover(text: str) -> bool:
    """Tell whether beside a call there is only what its parser left: braces and space."""
    return "}" in text and _BRACES.match(text) is not None


def _look_for_tags(search: _Search) -> None:
    start = search.text.find(_OPEN)
    while start >= 0:
        inside = start + len(_OPEN)
        written, end = _read_block(search.text, inside, search.schemas)
        if search.known(written):
            search.take(start, _past_close(search.text, end), written)
        elif written:
            search.problem = _unknown(written[0].name, search.schemas)
        else:
            search.problem = search.problem or _broken(search, inside)
        start = search.text.find(_OPEN, max(end, inside))


def _look_for_functions(search: _Search) -> None:
    start = search.text.find(_FUNCTION)
    while start >= 0:
        call, end = read_function(search.text, start, search.schemas)
        if call is not None and call.name in search.schemas:
            search.take(start, _past_close(search.text, end), [call])
        start = search.text.find(_FUNCTION, end)


def _look_for_fences(search: _Search) -> None:
    for found in _FENCE.finditer(search.text):
        if search.spans and found.start() < search.spans[-1][1]:
            continue  # a fence inside the arguments of the call before
        written, end = read_value(search.text, found.end())
        if search.known(written) and all(call.has_arguments for call in written):
            search.take(found.start(), _past_fence(search.text, end), written)


def _look_for_lines(search: _Search) -> None:
    for found in _LINE.finditer(search.text):
        if search.spans and found.start() < search.spans[-1][1]:
            continue
        written, end = read_value(search.text, found.end())
        if search.known(written) and all(call.bare for call in written):
            search.take(found.start(), _past_close(search.text, end), written)
    after = search.text[search.spans[0][0] :] if search.spans else ""
    if after and _outside(search).strip("\n }") != search.text[: -len(after)].strip("\n }"):
        search.written, search.spans = [], []  # an example within a text, not a call


def _read_block(text: str, start: int, schemas: Schemas) -> tuple[list[Written], int]:
    """Read what stands behind a `<tool_call>`: JSON values or one function in XML."""
    at = _skip_space(text, start)
    if text.startswith(_FUNCTION, at):
        call, end = read_function(text, at, schemas)
        return ([] if call is None else [call]), end
    written: list[Written] = []
    while at < len(text) and text[at] in "{[":
        more, end = read_value(text, at)
        if not more:
            break
        written += more
        at = _skip_space(text, end)
    return written, at


def _past_close(text: str, end: int) -> int:
    at = end
    while at < len(text) and text[at] in " \t\r\n}":  # a brace too many is a usual slip
        at += 1
    return at + len(_CLOSE) if text.startswith(_CLOSE, at) else end


def _past_fence(text: str, end: int) -> int:
    at = _skip_space(text, end)
    return at + 3 if text.startswith("```", at) else end


def _skip_space(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _broken(search: _Search, start: int) -> str:
    end = search.text.find(_CLOSE, start)
    body = search.text[start : end if end >= 0 else None].strip()
    if not any(f'"{name}"' in body for name in search.schemas):
        return ""
    return (
        f"The call could not be read as JSON, so nothing was run: {body[:200]}. "
        'Write it again as {"name": …, "arguments": {…}}, with every quote and newline escaped.'
    )


def _unknown(name: str, schemas: Schemas) -> str:
    what = f"No tool named {name!r}" if name else "The tool that was called does not exist"
    return f"{what}. Known tools: {', '.join(schemas)}. Nothing was run."


def _outside(search: _Search) -> str:
    parts: list[str] = []
    at = 0
    for start, end in sorted(search.spans):
        parts.append(search.text[at:start])
        at = end
    parts.append(search.text[at:])
    return "".join(parts)


def _rest(search: _Search) -> str:
    rest = _outside(search) if search.spans else ""
    return tidy(rest.strip("\n"), "")[0].strip()


def _calls(written: list[Written]) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    for call in written:
        if not (calls and (calls[-1].name, calls[-1].arguments) == (call.name, call.arguments)):
            calls.append(ToolCall(new_call_id(), call.name, call.arguments))
    return tuple(calls)
