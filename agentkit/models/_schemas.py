"""JSON schemas as grammars take them.

A grammar compiler rejects a keyword that it cannot enforce (xgrammar, in SGLang, with a 400), so
only what every compiler knows is handed to one. Arguments are held to the whole schema later.
"""

from collections.abc import Mapping
from typing import Any

from agentkit.messages import JsonObject
from agentkit.models._json import is_object, members

_KEPT = frozenset(
    {"type", "enum", "const", "required", "minimum", "maximum", "minLength", "maxLength"}
)
_UNIONS = ("anyOf", "oneOf", "allOf")
_REFUSED = frozenset(
    {"contains", "if", "then", "else", "not", "dependentRequired", "dependentSchemas"}
    | {"dependencies", "uniqueItems", "multipleOf", "$dynamicRef", "$recursiveRef"}
)
_DEPTH = 24


def grammar_holds(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema can be enforced as it is.

    >>> grammar_holds({"type": "object", "properties": {"not": {"type": "string"}}})
    True
    >>> grammar_holds({"type": "object", "not": {"required": ["a"]}})
    False
    """
    return _holds(schema, _DEPTH)


def for_grammar(schema: Mapping[str, Any]) -> JsonObject:
    """Return the schema with references resolved and without what grammars reject.

    >>> for_grammar({"type": "string", "format": "uri", "pattern": "^h"})
    {'type': 'string'}
    """
    return _reduced(schema, schema, _DEPTH)


def _holds(schema: object, depth: int) -> bool:
    if not is_object(schema):
        return isinstance(schema, bool)
    if depth == 0 or not _REFUSED.isdisjoint(schema):
        return False
    inner: list[object] = [*_objects(schema.get("properties")), *_objects(schema.get("$defs"))]
    inner += [schema[name] for name in ("items", "additionalProperties") if _open(schema, name)]
    for name in _UNIONS:
        inner += members(schema.get(name))
    return all(_holds(part, depth - 1) for part in inner)


def _reduced(schema: object, root: Mapping[str, Any], depth: int) -> JsonObject:
    if not is_object(schema) or depth == 0:
        return {}
    if "$ref" in schema:
        return _reduced(_resolve(str(schema["$ref"]), root), root, depth - 1)
    kept: JsonObject = {name: value for name, value in schema.items() if name in _KEPT}
    for name in _UNIONS:
        parts = [_reduced(part, root, depth - 1) for part in members(schema.get(name))]
        if parts:
            kept["allOf" if name == "allOf" else "anyOf"] = parts
    _reduce_items(schema, kept, root, depth)
    _reduce_properties(schema, kept, root, depth)
    return kept


def _reduce_items(
    schema: JsonObject, kept: JsonObject, root: Mapping[str, Any], depth: int
) -> None:
    if is_object(schema.get("items")):
        kept["items"] = _reduced(schema["items"], root, depth - 1)
        kept.update({name: schema[name] for name in ("minItems", "maxItems") if name in schema})


def _reduce_properties(
    schema: JsonObject, kept: JsonObject, root: Mapping[str, Any], depth: int
) -> None:
    properties = schema.get("properties")
    if is_object(properties):
        kept["properties"] = {
            name: _reduced(value, root, depth - 1) for name, value in properties.items()
        }
    if _open(schema, "additionalProperties"):
        kept["additionalProperties"] = _reduced(schema["additionalProperties"], root, depth - 1)
    elif properties and schema.get("additionalProperties") is not True:
        kept["additionalProperties"] = False


def _resolve(reference: str, root: Mapping[str, Any]) -> object:
    found: object = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = (
                found.get(part.replace("~1", "/").replace("~0", "~")) if is_object(found) else None
            )
    return found


def _open(schema: JsonObject, name: str) -> bool:
    return is_object(schema.get(name))


def _objects(value: object) -> list[object]:
    return list(value.values()) if is_object(value) else []
