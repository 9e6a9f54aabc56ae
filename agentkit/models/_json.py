"""Looks at JSON values with types."""

from typing import TypeGuard, cast

from agentkit.messages import JsonObject


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Tell whether a JSON value is an object."""
    return isinstance(value, dict)


def members(value: object) -> list[object]:
    """Return the members of an array; none where it is no array."""
    return cast("list[object]", value) if isinstance(value, list) else []
