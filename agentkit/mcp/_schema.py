"""JSON schemas that servers wrote: mended where they are nearly right, refused where they are not."""

from typing import Any, cast

from jsonschema import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry

from agentkit.mcp._text import one_line

_MAX_DEPTH = 64
_MAX_NODES = 20_000
_MAX_DESCRIPTION = 1000

_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_ONE = frozenset(
    {
        *("additionalProperties", "unevaluatedProperties", "propertyNames", "contains", "not"),
        *("additionalItems", "unevaluatedItems", "if", "then", "else"),
    }
)
_MANY = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_PROSE = frozenset({"description", "title", "$comment"})
_CLOSING = ("additionalProperties", "unevaluatedProperties")


class UnusableSchemaError(Exception):
    """A schema cannot be mended; the message says why."""


def mended(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of an object that is valid and refers to nothing outside itself.

    >>> mended({"properties": {"a": {"type": "string", "required": None}}, "required": None})
    {'type': 'object', 'properties': {'a': {'type': 'string'}}}

    Raises:
        UnusableSchemaError: it is not meant for an object, too large, or no schema at all.
    """
    kind = schema.get("type")
    if kind not in {None, "object"} if isinstance(kind, str | None) else "object" not in kind:
        raise UnusableSchemaError(f"its arguments are of type {kind!r}, not an object")
    result: dict[str, Any] = {"type": "object", "properties": {}, **_Mender(schema).schema(schema)}
    result["type"] = "object"
    checker = validator_for(result, default=Draft202012Validator)
    try:
        checker.check_schema(result)
    except SchemaError as error:
        raise UnusableSchemaError(f"its schema is not valid: {one_line(error.message)}") from error
    return result


def compiled(schema: dict[str, Any]) -> Validator:
    """Return a validator of a mended schema, without the server's regular expressions.

    A hostile one can take for ever, and no clock runs while it does. The server checks them.
    """
    checker = validator_for(schema, default=Draft202012Validator)
    return checker(_without_patterns(schema), registry=Registry())


class _Mender:
    """Walks a schema by its keywords: a property may well be called `required`."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def schema(self, value: object, depth: int = 0) -> Any:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise UnusableSchemaError("its schema is too large")
        if isinstance(value, bool):
            return value
        if not isinstance(value, dict):
            return {}
        found = cast("dict[str, Any]", value)
        reference = found.get("$ref")
        if reference is not None and not self._resolves(reference):
            found = {key: item for key, item in found.items() if key != "$ref"}
        return {
            key: self._keyword(key, item, depth + 1)
            for key, item in found.items()
            if _has_the_right_shape(key, item)
        }

    def _keyword(self, key: str, value: Any, depth: int) -> Any:
        if key in _MAPS:
            named = cast("dict[str, Any]", value)
            return {name: self.schema(item, depth) for name, item in named.items()}
        if key in _MANY or (key == "items" and isinstance(value, list)):
            return [self.schema(item, depth) for item in cast("list[Any]", value)]
        if key in _ONE or key == "items":
            return self.schema(value, depth)
        if key == "required":
            names = (name for name in cast("list[Any]", value) if isinstance(name, str))
            return list(dict.fromkeys(names))
        return one_line(value, _MAX_DESCRIPTION) if key in _PROSE else value

    def _resolves(self, reference: object) -> bool:
        if not isinstance(reference, str) or not reference.startswith("#"):
            return False
        node: Any = self._root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or name not in node:
                return False
            node = cast("dict[str, Any]", node)[name]
        return reference == "#" or reference.startswith("#/")


def _has_the_right_shape(key: str, value: object) -> bool:
    if key in _MAPS:
        return isinstance(value, dict)
    if key in _MANY:
        return isinstance(value, list) and value != []
    if key == "required":
        return isinstance(value, list)
    if key in _PROSE:
        return isinstance(value, str)
    return value is not None or key in {"default", "const"}


def _without_patterns(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found = cast("dict[str, Any]", schema)
    result: dict[str, Any] = {}
    for key, value in found.items():
        if key in {"pattern", "patternProperties"}:
            continue
        if "patternProperties" in found and key in _CLOSING:
            continue  # what the patterns would have allowed must not be refused
        result[key] = _descend(key, value)
    return result


def _descend(key: str, value: Any) -> Any:
    if key in _MAPS:
        named = cast("dict[str, Any]", value)
        return {name: _without_patterns(item) for name, item in named.items()}
    if key in _MANY or (key == "items" and isinstance(value, list)):
        return [_without_patterns(item) for item in cast("list[Any]", value)]
    return _without_patterns(value) if key in _ONE or key == "items" else value
