"""From bytes to messages, as forgiving as the sense of a message allows."""

import json
import re
from typing import Any, TypeAlias, cast

from mcp.types import (
    INTERNAL_ERROR,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    RequestId,
    jsonrpc_message_adapter,
)

from agentkit.mcp._lines import Oversized

Parsed: TypeAlias = list[JSONRPCMessage]

_MOST_PARTS = 25_000
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
TOO_MANY_PARTS = "The answer has more than 25,000 parts; ask for less at once."
_LONGEST_MENDED = 1024 * 1024
_LONGEST_BATCH = 100
_BOM = b"\xef\xbb\xbf"
_ID = rb'"id"\s*:\s*(\d{1,18}|"[^"\\]{1,64}")'
_ID_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID)
_ID_LAST = re.compile(_ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')


def parse_line(line: bytes) -> Parsed | None:
    """Return the messages of a line; `None` if it is not meant as a message at all.

    What looks like a message but cannot be read becomes an error answer to its request, so that
    a caller fails at once and not after its timeout.
    """
    if has_too_many_parts(line):
        return _unreadable(line, line, TOO_MANY_PARTS, INTERNAL_ERROR)
    try:
        return [jsonrpc_message_adapter.validate_json(line, by_name=False)]
    except ValueError:
        return _parse_leniently(line.removeprefix(_BOM).strip())


def has_too_many_parts(line: bytes) -> bool:
    """Say whether reading a message would make more objects than the loop has time for.

    >>> has_too_many_parts(b"[" + b"[]," * 200_000), has_too_many_parts(b'"' + b"[" * 300_000)
    (True, False)
    """
    if len(line) < _MOST_PARTS or _parts_of(line) < _MOST_PARTS:
        return False
    return _parts_of(_STRING.sub(b"", line)) >= _MOST_PARTS


def _parts_of(line: bytes) -> int:
    return line.count(b"[") + line.count(b"{")


def _parse_leniently(line: bytes) -> Parsed | None:
    if line[:1] not in {b"{", b"["}:
        return None  # a banner, a log line, a blank one
    if len(line) > _LONGEST_MENDED:
        return _unreadable(line, line, "The answer was not valid, and too long to be mended.")
    try:
        value: Any = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return _unreadable(line, line, "The answer was not valid JSON.")
    items = cast("list[Any]", value)[:_LONGEST_BATCH] if isinstance(value, list) else [value]
    return [message for item in items if _is_meant(item) for message in _from_value(item)]


def _is_meant(item: object) -> bool:
    """Say whether something in a list is worth a closer look."""
    return isinstance(item, dict) and ("id" in item or "method" in item)


def _from_value(value: object) -> Parsed:
    # Half a surrogate pair is legal in JSON text and in no encoding.
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    try:
        return [jsonrpc_message_adapter.validate_json(text, by_name=False)]
    except ValueError:
        return _unreadable(text, text, "The answer was not a JSON-RPC message.") or []


def from_oversized(line: Oversized, limit: int) -> Parsed | None:
    """Return an error answer to the request whose answer was too long."""
    return _unreadable(
        line.head,
        line.tail,
        f"The answer has {line.size / 1e6:.1f} MB, more than the limit of {limit / 1e6:.1f} MB; "
        "ask for less at once.",
        INTERNAL_ERROR,
    )


def _unreadable(head: bytes, tail: bytes, message: str, code: int = PARSE_ERROR) -> Parsed | None:
    found = _ID_FIRST.match(head) or _ID_LAST.search(tail)
    if found is None:
        return None
    request_id: RequestId = json.loads(found[1])
    return [error_answer(request_id, message, code)]


def error_answer(request_id: RequestId, message: str, code: int = INTERNAL_ERROR) -> JSONRPCError:
    """Return what a server would have sent, had it been able to."""
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=message))
