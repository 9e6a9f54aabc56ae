"""An MCP tool as the loop knows tools."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

from agentkit.errors import ToolInputError
from agentkit.mcp._steps import errors_in
from agentkit.mcp._text import one_line
from agentkit.messages import JsonObject, ToolSpec

_PROSE = frozenset({"title", "description", "default", "examples"})
_PLAIN_OBJECT = _PROSE | {"type", "properties", "required", "$defs", "additionalProperties"}
_PLAIN_VALUE = _PROSE | {"type", "format"}  # nobody checks a format: the server knows what it means
_TYPES: Mapping[str, tuple[type[Any], ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_MAX_ERRORS = 8
_MAX_MESSAGE = 200
_MAX_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Obvious:
    """Says yes where nobody needs a validator to see that arguments fit; never says yes wrongly.

    Nearly all tools take a few texts and numbers, and a validator costs as much as the call.
    """

    types: Mapping[str, tuple[type[Any], ...]]
    required: frozenset[str]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "Obvious | None":
        """Return the check for a schema of plain properties; `None` for any other.

        >>> plain = {"type": "object", "properties": {"n": {"type": "integer"}}}
        >>> Obvious.of(plain).accepts({"n": 1}), Obvious.of(plain).accepts({"n": True})
        (True, False)
        """
        if not _PLAIN_OBJECT.issuperset(schema):
            return None
        types = {
            name: _TYPES[kind]
            for name, one in schema.get("properties", {}).items()
            if isinstance(one, dict)
            and _PLAIN_VALUE.issuperset(cast("dict[str, Any]", one))
            and isinstance(kind := cast("dict[str, Any]", one).get("type"), str)
            and kind in _TYPES
        }
        return cls(types, frozenset(schema.get("required", ())))

    def accepts(self, arguments: JsonObject) -> bool:
        """Say whether all required arguments are there, and all given are of their plain type."""
        types = self.types
        return self.required <= arguments.keys() and all(
            type(value) in types.get(name, ()) for name, value in arguments.items()
        )


class McpTool:
    """A tool of an MCP server; calls go through the server's connection, from any task."""

    def __init__(
        self,
        spec: ToolSpec,
        validator: Validator,
        call: Callable[[JsonObject], Awaitable[str]],
    ) -> None:
        self._spec = spec
        self._validator = validator
        self._call = call
        self._obvious = Obvious.of(spec.parameters)

    def __repr__(self) -> str:
        return f"<McpTool {self._spec.name}>"

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments, held to the schema of the server.

        Raises:
            ToolInputError: they do not fit; the message lists what to mend.
        """
        if self._obvious is not None and self._obvious.accepts(arguments):
            return arguments
        errors = errors_in(arguments, self._validator, _MAX_ERRORS)
        if errors:
            raise ToolInputError(_explain(self._spec, errors))
        return arguments

    async def call(self, arguments: JsonObject) -> str:
        """Run the tool on its server.

        Raises:
            ToolError: it failed, took too long, or the server is gone.
        """
        return await self._call(arguments)


def _explain(spec: ToolSpec, errors: Iterable[ValidationError]) -> str:
    lines = [f"The arguments of {spec.name} do not fit its schema:"]
    lines.extend(f"- {_where(error)}{one_line(error.message, _MAX_MESSAGE)}" for error in errors)
    known: dict[str, Any] = spec.parameters.get("properties", {})
    required: list[str] = spec.parameters.get("required", [])
    lines.append(f"Arguments: {_listed(known)}; required: {_listed(required)}.")
    return "\n".join(lines)


def _listed(names: Iterable[str]) -> str:
    return one_line(", ".join(names), _MAX_NAMES) or "none"


def _where(error: ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    return f"{path}: " if path else ""
