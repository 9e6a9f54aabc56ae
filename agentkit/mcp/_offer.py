"""What a server offers, once its descriptions are cleaned and its schemas are mended."""

from dataclasses import dataclass
from typing import Any

from jsonschema import SchemaError
from jsonschema.protocols import Validator

from agentkit.mcp._config import ServerConfig
from agentkit.mcp._gate import Gate, RawTool
from agentkit.mcp._schema import UnusableSchemaError, compiled, mended
from agentkit.mcp._text import clean, shorten
from agentkit.messages import Effect

_MAX_DESCRIPTION = 2000


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
    """The usable tools of a server, and what was left out."""

    tools: tuple[OfferedTool, ...]
    notes: tuple[str, ...]


def examine(config: ServerConfig, gate: Gate) -> Offer:
    """Return what of a server's tools can be used; takes a while for many tools."""
    tools: list[OfferedTool] = []
    notes = list(gate.notes)
    for raw in gate.tools.values():
        if not config.wants(raw.name):
            continue
        try:
            tools.append(_examined(raw, config))
        except UnusableSchemaError as error:
            notes.append(f"tool {raw.name!r} was left out: {error}")
    unknown = [name for name in config.include if name not in gate.tools]
    notes.extend(f"there is no tool {name!r} to include" for name in unknown)
    return Offer(tuple(tools), tuple(clean(note) for note in notes))


def _examined(raw: RawTool, config: ServerConfig) -> OfferedTool:
    parameters = mended(raw.input_schema)
    return OfferedTool(
        name=raw.name,
        description=shorten(clean(raw.description).strip(), _MAX_DESCRIPTION),
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
    except (UnusableSchemaError, SchemaError):
        return None  # it promises nothing that could be held against it
