"""From what a tool gave to what the model reads."""

import json
from typing import Any

from jsonschema.protocols import Validator
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from referencing.exceptions import Unresolvable

from agentkit.errors import ToolError
from agentkit.mcp._text import clean, one_line, shorten

_MAX_CHECKED = 100_000
"""Longer structured content is not held to its schema: that would take the loop's time."""


def render(result: CallToolResult, *, limit: int, promised: Validator | None = None) -> str:
    """Return the text of a result; nothing that it merely points to is fetched.

    Args:
        result: what the server gave.
        limit: most characters; head and tail are kept.
        promised: the tool's own output schema; a result that breaks it is used and flagged.

    Raises:
        ToolError: the tool says that it failed.
    """
    parts = [_part(block) for block in result.content]
    text = "\n".join(part for part in parts if part)
    structured: Any = result.structured_content
    if structured is not None and not any(isinstance(b, TextContent) for b in result.content):
        shown = json.dumps(structured, ensure_ascii=False, separators=(",", ":"))
        text = f"{shown}\n{text}" if text else shown
    text = clean(shorten(text, limit))
    if result.is_error:
        raise ToolError(text or "The tool failed and did not say why.")
    broken = _broken_promise(structured, len(text), promised) if promised else ""
    if broken:
        text += f"\n[the structured content does not fit the tool's own schema: {broken}]"
    return text or "(the tool gave an empty result)"


def _broken_promise(structured: Any, size: int, promised: Validator) -> str:
    if structured is None:
        return "there is none"
    if size > _MAX_CHECKED:
        return ""
    try:
        found = next(iter(promised.iter_errors(structured)), None)
    except (Unresolvable, RecursionError):
        return "the schema cannot be followed"
    return one_line(found.message, 200) if found else ""


def _part(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return f"[resource {one_line(str(resource.uri))}]\n{resource.text}"
        case ResourceLink():
            return f"[link to {one_line(str(block.uri))} ({one_line(block.name)}), not fetched]"
        case _:
            return _summary(block)


def _summary(block: ImageContent | AudioContent | EmbeddedResource) -> str:
    if isinstance(block, EmbeddedResource):
        kind, media, data = "resource", block.resource.mime_type, _blob(block)
    else:
        kind, media, data = block.type, block.mime_type, block.data
    return f"[{kind}, {one_line(media or 'unknown type')}, {len(data) * 3 // 4} bytes, not shown]"


def _blob(block: EmbeddedResource) -> str:
    return block.resource.blob if isinstance(block.resource, BlobResourceContents) else ""
