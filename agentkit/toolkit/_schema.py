"""JSON schemas as small as they can be: every token of one is read at each new conversation."""

from typing import Any

from agentkit.messages import JsonObject


def compact_schema(schema: JsonObject) -> JsonObject:
    """Return the schema without the titles that pydantic adds.

    >>> compact_schema({"title": "F", "type": "object", "properties": {"title": {"title": "T"}}})
    {'type': 'object', 'properties': {'title': {}}}
    """
    return {
        key: _compact_named(value) if key in {"properties", "$defs"} else _compact(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _compact_named(schemas: dict[str, Any]) -> dict[str, Any]:
    return {name: _compact(schema) for name, schema in schemas.items()}


def _compact(value: Any) -> Any:
    if isinstance(value, dict):
        return compact_schema(value)  # pyright: ignore[reportUnknownArgumentType] - any JSON
    if isinstance(value, list):
        return [_compact(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
