"""What a server says of its tools, in bounds and with nothing checked but the types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from agentkit.mcp._text import one_line, weigh
from agentkit.messages import Effect

_MAX_TOOLS_A_PAGE = 1000
_DEFINING = ("title", "description", "inputSchema", "outputSchema", "annotations")
_MOST_NOTES = 100
_USUAL = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""What the newest protocol wants to be said, and who forgets it means."""

_MOST_OF_A_TOOL = 65_536
_MOST_OF_ALL = 8 * 1024 * 1024
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class RawTool:
    """A tool as its server describes it; nothing is checked but the types.

    Attributes:
        definition: all of it that a model is told or that decides about a call.
    """

    name: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    effect: Effect = "once"
    definition: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Listing:
    """What a server says that it offers.

    Attributes:
        tools: by the server's own names, in its order.
        notes: tools that were left out, and why.
    """

    tools: dict[str, RawTool] = field(default_factory=dict[str, RawTool])
    notes: list[str] = field(default_factory=list[str])
    weight: int = 0

    def note(self, text: str) -> None:
        """Take a note, of so many."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text)


def mended_list(result: dict[str, Any], listing: Listing) -> dict[str, Any]:
    """Return an answer as the SDK may see it; what it says of tools goes into `listing`."""
    listed: object = result.get("tools")
    tools = cast("list[Any]", listed)[:_MAX_TOOLS_A_PAGE] if isinstance(listed, list) else []
    if isinstance(listed, list) and len(cast("list[Any]", listed)) > _MAX_TOOLS_A_PAGE:
        listing.note(f"a page has more than {_MAX_TOOLS_A_PAGE:,} tools; the first are used")
    bare = [tool for raw in tools if (tool := _bare(raw, listing)) is not None]
    cursor = result.get("nextCursor")
    mended = {**_USUAL, **result, "tools": bare}
    if not isinstance(cursor, str):
        mended.pop("nextCursor", None)
    return mended


def _bare(raw: object, listing: Listing) -> dict[str, Any] | None:
    tool = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    name, schema = tool.get("name"), tool.get("inputSchema")
    problem = _problem(tool, listing)
    if problem:
        listing.note(problem)
        return None
    definition = {key: tool[key] for key in _DEFINING if key in tool}
    output = tool.get("outputSchema")
    listing.tools[cast("str", name)] = RawTool(
        name=cast("str", name),
        description=_description(tool),
        input_schema=cast("dict[str, Any]", schema or {}),
        output_schema=cast("dict[str, Any]", output) if isinstance(output, dict) else None,
        effect=_effect(tool.get("annotations")),
        definition=definition,
    )
    return {"name": name, "inputSchema": _headers_only(cast("dict[str, Any]", schema or {}))}


def _problem(tool: dict[str, Any], listing: Listing) -> str:
    """Return why a tool is left out, if it is; counts what its definition weighs."""
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        return "a tool without a name was left out"
    shown = repr(one_line(name, _LONGEST_NAME))
    if name in listing.tools:
        return f"tool {shown} is listed twice; the first is used"
    if not isinstance(tool.get("inputSchema"), dict | None):
        return f"tool {shown} was left out: its inputSchema is not an object"
    if _needs_a_task(tool.get("execution")):
        return f"tool {shown} was left out: it can only be run as a task"
    return _overweight(shown, tool, listing)


def _overweight(shown: str, tool: dict[str, Any], listing: Listing) -> str:
    definition = [shown, *(tool[key] for key in _DEFINING if key in tool)]
    weight = weigh(definition, _MOST_OF_A_TOOL)
    if weight > _MOST_OF_A_TOOL:
        return f"tool {shown} was left out: its definition is longer than {_MOST_OF_A_TOOL:,} bytes"
    if listing.weight + weight > _MOST_OF_ALL:
        return f"tool {shown} was left out: the list is longer than {_MOST_OF_ALL:,} bytes"
    listing.weight += weight
    return ""


def _needs_a_task(execution: object) -> bool:
    """Say whether a tool answers plain calls with an error."""
    if not isinstance(execution, dict):
        return False
    return cast("dict[str, Any]", execution).get("taskSupport") == "required"


def _description(tool: dict[str, Any]) -> str:
    every = (tool.get("description"), tool.get("title"))
    return next((text for text in every if isinstance(text, str) and text.strip()), "")


def _headers_only(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what the SDK needs of a schema: which arguments it repeats as HTTP headers."""
    properties: object = schema.get("properties")
    if not isinstance(properties, dict):
        return {"type": "object"}
    marked: dict[str, Any] = {
        name: value
        for name, value in cast("dict[str, Any]", properties).items()
        if isinstance(value, dict) and "x-mcp-header" in value
    }
    return {"type": "object", "properties": marked} if marked else {"type": "object"}


def _effect(annotations: object) -> Effect:
    """Return what a server says that a tool changes; whether to believe it is decided elsewhere.

    >>> _effect({"readOnlyHint": True}), _effect({"idempotentHint": True}), _effect(None)
    ('pure', 'idempotent', 'once')
    """
    if not isinstance(annotations, dict):
        return "once"
    hints = cast("dict[str, Any]", annotations)
    if hints.get("readOnlyHint") is True:
        return "pure"
    return "idempotent" if hints.get("idempotentHint") is True else "once"
