"""What a server offers, once its descriptions are cleaned and its schemas are mended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema.protocols import Validator

from agentkit.mcp._config import ServerConfig
from agentkit.mcp._listing import Listing, RawTool
from agentkit.mcp._pins import Pins
from agentkit.mcp._schema import UnusableSchemaError, compiled, mended
from agentkit.mcp._text import clean, one_line, shorten
from agentkit.messages import Effect

_MAX_DESCRIPTION = 2000
_MAX_READ = 100_000


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that can be used.

    Attributes:
        name: the server's own.
        parameters: its schema, for the model.
        validator: its schema, compiled.
        promised: the schema of its structured results, compiled, if it has a usable one.
        effect: what a call changes, where the server is trusted.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    validator: Validator
    promised: Validator | None
    effect: Effect = "once"


@dataclass(frozen=True, slots=True)
class Offer:
    """The usable tools of a server, and what was left out.

    Attributes:
        tools: by the server's own names, in its order.
        withheld: tools that wait for approval, each with the reason.
        notes: other tools that were left out, and why.
        schema_chars: length of what a model is told of them.
    """

    tools: Mapping[str, OfferedTool] = field(default_factory=dict[str, OfferedTool])
    withheld: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    schema_chars: int = 0

    def refusal(self, tool: str) -> str:
        """Return why a tool cannot be called as things are; empty if it can."""
        if tool in self.tools:
            return ""
        return self.withheld.get(tool) or "the server does not offer it any more"


def examine(config: ServerConfig, listing: Listing, pins: Pins | None) -> Offer:
    """Return what of a server's tools can be used; reads the disk, takes a while for many tools."""
    tools: dict[str, OfferedTool] = {}
    withheld, notes = _judged(config, listing, pins)
    for raw in listing.tools.values():
        if raw.name in withheld or not config.wants(raw.name):
            continue
        try:
            tools[raw.name] = _examined(raw, config)
        except UnusableSchemaError as error:
            notes.append(_left_out(raw, str(error)))
        except Exception as error:  # whatever it is, it costs this tool alone
            notes.append(_left_out(raw, f"it cannot be used ({type(error).__name__})"))
    unknown = [name for name in config.include if name not in listing.tools]
    notes.extend(f"there is no tool {name!r} to include" for name in unknown)
    told = [[tool.name, tool.description, tool.parameters] for tool in tools.values()]
    chars = sum(len(json.dumps(one, ensure_ascii=False)) for one in told)
    return Offer(tools, withheld, tuple(one_line(note) for note in notes), chars)


def _left_out(raw: RawTool, why: str) -> str:
    return f"tool {one_line(raw.name, 100)!r} was left out: {why}"


def _judged(
    config: ServerConfig, listing: Listing, pins: Pins | None
) -> tuple[dict[str, str], list[str]]:
    """Return the wanted tools that wait for approval, and notes."""
    notes = list(listing.notes)
    if pins is None:
        return {}, notes
    verdict = pins.judge(listing)
    if verdict.note:
        notes.append(verdict.note)
    return {name: why for name, why in verdict.withheld.items() if config.wants(name)}, notes


def _examined(raw: RawTool, config: ServerConfig) -> OfferedTool:
    parameters = mended(raw.input_schema)
    return OfferedTool(
        name=raw.name,
        description=shorten(clean(raw.description[:_MAX_READ]).strip(), _MAX_DESCRIPTION),
        parameters=parameters,
        validator=compiled(parameters),
        promised=_promised(raw.output_schema),
        effect=raw.effect if config.trusted else "once",
    )


def _promised(schema: dict[str, Any] | None) -> Validator | None:
    if schema is None:
        return None
    try:
        return compiled(mended(schema))
    except Exception:
        return None  # it promises nothing that could be held against it
