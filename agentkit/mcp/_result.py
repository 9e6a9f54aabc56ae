"""From what a tool gave to what the model reads."""

import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

from anyio.lowlevel import checkpoint
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

from agentkit.errors import ToolError
from agentkit.mcp._media import Media
from agentkit.mcp._steps import errors_in
from agentkit.mcp._text import clean_long, one_line, shorten, weigh

_MOST_KEPT = 20
_AT_ONCE = 100_000
"""Longer structured content is written piece by piece: others have their turn in between."""
_PIECES = 2000
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


async def render(
    result: CallToolResult,
    *,
    limit: int | None = None,
    promised: Validator | None = None,
    media: Media | None = None,
) -> str:
    """Return the text of a result; nothing that it merely points to is fetched.

    Args:
        result: what the server gave.
        limit: most characters; head and tail are kept.
        promised: the tool's own output schema; a result that breaks it is used and flagged.
        media: keeps what is no text.

    Raises:
        ToolError: the tool says that it failed.
    """
    text = await _text_of(result.content, media)
    structured: Any = result.structured_content
    if structured is not None and not any(isinstance(b, TextContent) for b in result.content):
        shown = await _written(structured)
        text = f"{shown}\n{text}" if text else shown
    text = await clean_long(text if limit is None else shorten(text, limit))
    if result.is_error:
        raise ToolError(text or "The tool failed and did not say why.")
    broken = _broken_promise(structured, promised) if promised else ""
    if broken:
        text += f"\n[the structured content does not fit the tool's own schema: {broken}]"
    return text or "(the tool gave an empty result)"


async def render_resource(
    contents: Sequence[TextResourceContents | BlobResourceContents], media: Media | None = None
) -> str:
    """Return a resource as text; what is no text is kept by `media`."""
    if len(contents) == 1 and isinstance(contents[0], TextResourceContents):
        return await clean_long(contents[0].text)
    blocks = [EmbeddedResource(type="resource", resource=one) for one in contents]
    return await clean_long(await _text_of(blocks, media)) or "(it is empty)"


async def render_block(block: ContentBlock, media: Media | None = None) -> str:
    """Return one piece of content as text."""
    return await clean_long(await _text_of([block], media))


async def _text_of(blocks: Sequence[ContentBlock], media: Media | None) -> str:
    # A result of very many pictures says little; those beyond the first are named alone.
    kept = [media if number < _MOST_KEPT else None for number in range(len(blocks))]
    parts = [await _part(*pair) for pair in zip(blocks, kept, strict=True)]
    return "\n".join(part for part in parts if part)


async def _written(value: Any) -> str:
    """Return a value as JSON; a thread would not help, the encoder lets no other one run."""
    if weigh(value, _AT_ONCE) <= _AT_ONCE:
        return _ENCODER.encode(value)
    parts: list[str] = []
    pieces = _ENCODER.iterencode(value)
    while part := "".join(islice(pieces, _PIECES)):
        parts.append(part)
        await checkpoint()
    return "".join(parts)


def _broken_promise(structured: Any, promised: Validator) -> str:
    if structured is None:
        return "there is none"
    found = errors_in(structured, promised)
    return one_line(found[0].message, 200) if found else ""


async def _part(block: ContentBlock, media: Media | None) -> str:
    match block:
        case TextContent():
            return block.text
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return f"[resource {one_line(str(resource.uri))}]\n{resource.text}"
        case ResourceLink():
            return f"[link to {one_line(str(block.uri))} ({one_line(block.name)}), not fetched]"
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            return await _summary("resource", resource.mime_type, resource.blob, media)
        case ImageContent() | AudioContent():
            return await _summary(block.type, block.mime_type, block.data, media)
        case _:
            return ""


async def _summary(kind: str, media_type: str | None, data: str, media: Media | None) -> str:
    known = one_line(media_type or "unknown type")
    where = "not shown"
    if media is not None:
        try:
            where = f"kept as {await media.keep(data, known)}"
        except (OSError, ValueError) as error:
            where = f"could not be kept: {one_line(str(error))}"
    size = len(data) * 3 // 4 - data[-2:].count("=")
    return f"[{kind}, {known}, {size} bytes, {where}]"
