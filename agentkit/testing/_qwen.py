"""How SGLang 0.5.23 reads what Qwen3 wrote: reasoning parser `qwen3`, tool parser `qwen`.

Streamed and not streamed differ, and both lose things; a fake that mended them would hide what
a client has to live with.
"""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from pydantic_core import from_json

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
_OPENED, _BLOCK = f"{CALL}\n", re.compile(rf"{CALL}\n(.*?)\n{END_CALL}", re.DOTALL)

DeltaKind: TypeAlias = Literal["thinking", "text", "name", "arguments"]


class Delta(NamedTuple):
    """A piece of a streamed answer; `call` is the number of the call it belongs to."""

    kind: DeltaKind
    text: str
    call: int = 0


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is not streamed; calls are pairs of name and arguments."""

    text: str
    thinking: str | None
    calls: tuple[tuple[str, str], ...] = ()


def read_whole(written: str, tools: Collection[str] | None, *, thinking: bool) -> Whole:
    r"""Read a whole answer; malformed calls and calls of unknown tools are dropped.

    >>> read_whole('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', {"now"}, thinking=True)
    Whole(text='', thinking=None, calls=(('now', '{}'),))
    """
    thought, text = _split_thinking(written, thinking=thinking)
    if tools is None or _OPENED not in text:
        return Whole(text, thought)
    calls: list[tuple[str, str]] = []
    for block in _BLOCK.findall(text):
        calls += _read_block(block, tools)
    return Whole(text.partition(_OPENED)[0].strip(), thought, tuple(calls))


def read_stream(
    pieces: Iterable[str], tools: Collection[str] | None, *, thinking: bool
) -> list[Delta]:
    """Read an answer piece by piece; a call that breaks off is completed without a word."""
    reasoning, caller = _Reasoning(thinking=thinking), _Caller(tools or ())
    deltas: list[Delta] = []
    for piece in pieces:
        thought, text = reasoning.feed(piece)
        if thought:
            deltas.append(Delta("thinking", thought))
        if text and tools is None:
            deltas.append(Delta("text", text))
        elif text:
            deltas += caller.feed(text)
    return deltas + caller.finish()


def _split_thinking(written: str, *, thinking: bool) -> tuple[str | None, str]:
    if not thinking and THINK not in written:
        return None, written
    rest = written.replace(THINK, "", 1)
    end = END_THINK if END_THINK in rest else CALL
    thought, found, text = rest.partition(end)
    if end == CALL:
        text = found + text
    return thought or None, text


def _read_block(block: str, tools: Collection[str]) -> list[tuple[str, str]]:
    try:
        value: object = json.loads(block)
    except ValueError:
        return []
    items = cast("list[object]", value if isinstance(value, list) else [value])
    found: list[tuple[str, str]] = []
    for item in items:
        entry = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        if entry.get("name") in tools:
            found.append((entry["name"], _dump(entry.get("arguments", {}))))
    return found


class _Reasoning:
    """Tells thinking from text; `<tool_call>` ends the thinking as `</think>` does."""

    def __init__(self, *, thinking: bool) -> None:
        self._thinking = thinking
        self._begun = False
        self._held = ""

    def feed(self, piece: str) -> tuple[str, str]:
        """Return the thinking and the text that are certain after this piece."""
        held = self._held + piece
        if not self._begun and THINK in held:
            held, self._thinking = held.replace(THINK, "", 1), True
            self._begun = True
        if not self._thinking:
            keep = 0 if self._begun else _overlap(held, THINK)
            self._held = held[len(held) - keep :]
            return "", held[: len(held) - keep]
        for end in (END_THINK, CALL):
            if end in held:
                self._thinking, self._begun, self._held = False, True, ""
                thought, found, text = held.partition(end)
                return thought, found + text if end == CALL else text
        keep = max(_overlap(held, tag) for tag in (THINK, END_THINK, CALL))
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], ""


class _Caller:
    """Reads calls from text that is still growing, by completing the JSON it has so far."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools
        self._held = ""
        self._index = -1
        self._named = False
        self._arguments: object = None
        self._sent = ""
        self._tail = ""

    def feed(self, piece: str) -> list[Delta]:
        """Return what is new after this piece."""
        return [delta for found in self._feed(piece) if (delta := self._without_end(found)).text]

    def _without_end(self, delta: Delta) -> Delta:
        """Return a piece of text without closing tags; what may become one is held back for good."""
        if delta.kind != "text":
            return delta
        text = self._tail + delta.text
        keep = 0 if END_CALL in text else _overlap(text, END_CALL)
        self._tail = text[len(text) - keep :]
        return Delta("text", text[: len(text) - keep].replace(END_CALL, ""))

    def _feed(self, piece: str) -> list[Delta]:
        self._held += piece
        begun = self._index > 0 and self._held.startswith("\n")
        if not (_OPENED in self._held or self._named or begun):
            return self._plain()
        before, found, after = self._held.partition(_OPENED)
        if not found:
            before, after = "", before
        elif before and self._index < 0:
            self._held = found + after
            return [Delta("text", before), *self._read(after)]
        return self._read(after)

    def finish(self) -> list[Delta]:
        """Return what is missing of the arguments that were under way."""
        if not self._named or self._arguments is None:
            return []
        rest = _dump(self._arguments)[len(self._sent) :]
        return [Delta("arguments", rest, self._index)] if rest else []

    def _plain(self) -> list[Delta]:
        if _overlap(self._held, _OPENED):
            return []
        text, self._held = self._held.replace(f"\n{END_CALL}", ""), ""
        return [Delta("text", text)] if text else []

    def _read(self, text: str) -> list[Delta]:
        value, end = _complete(text, strings=self._named)
        if not isinstance(value, dict):
            return []
        entry = cast("dict[str, Any]", value)
        if "name" in entry and entry["name"] not in self._tools:
            self._held, self._index, self._named = "", -1, False
            return []
        if not self._named:
            return self._name(entry)
        return self._grow(entry.get("arguments"), None if end is None else text[end:])

    def _name(self, entry: dict[str, Any]) -> list[Delta]:
        if "name" not in entry:
            return []
        self._index = max(self._index, 0)
        self._named, self._arguments, self._sent = True, None, ""
        return [Delta("name", entry["name"], self._index)]

    def _grow(self, arguments: object, rest: str | None) -> list[Delta]:
        """Send what two states agree on; all of it once the object is closed."""
        before, self._arguments = (
            self._arguments,
            self._arguments if arguments is None else arguments,
        )
        new = ""
        if rest is not None:
            new = "" if arguments is None else _dump(arguments)[len(self._sent) :]
            deltas = [Delta("arguments", new, self._index)] if new else []
            self._held, self._named, self._index = rest, False, self._index + 1
            return deltas
        if before and arguments and before != arguments:  # one closes the object, two may not
            new = _common(_dump(before), _dump(arguments))[len(self._sent) :]
        self._sent += new
        return [Delta("arguments", new, self._index)] if new else []


def _complete(text: str, *, strings: bool) -> tuple[object, int | None]:
    """Return the value the text begins with, and where it ends if it is closed."""
    start = len(text) - len(text.lstrip())
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        pass
    try:
        return from_json(text, allow_partial="trailing-strings" if strings else True), None
    except ValueError:
        return None, None


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of the text may begin the tag.

    >>> _overlap("Hm <to", "<tool_call>")
    3
    """
    return next(
        (n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0
    )


def _common(one: str, other: str) -> str:
    """Return what both begin with.

    >>> _common('{"q": "a"}', '{"q": "ab"}')
    '{"q": "a'
    """
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if same is None else same]


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
