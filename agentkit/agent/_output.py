"""The answer as a value: a type becomes a schema, and an answer one of the type."""

import json
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from agentkit.errors import ConfigurationError
from agentkit.loop import Output
from agentkit.toolkit import compact_schema

_WRAPPED = "value"  # grammars want an object; what is none stands in one


def output_of(kind: type[Any]) -> Output:
    """Return what a run needs to answer with a value of a type.

    >>> output = output_of(list[int])
    >>> output.parse('{"value": [1, 2]}')
    [1, 2]
    >>> output.parse("[1, 2]")
    [1, 2]

    Raises:
        ConfigurationError: the type has no JSON schema.
    """
    adapter = TypeAdapter[Any](kind)
    try:
        schema = compact_schema(adapter.json_schema())
    except PydanticUserError as error:
        raise ConfigurationError(
            f"output_type {kind!r} has no JSON schema: {error.message}"
        ) from error
    wraps = schema.get("type") != "object"
    if wraps:
        definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
        properties = {_WRAPPED: schema}
        schema = {
            "type": "object",
            "properties": properties,
            "required": [_WRAPPED],
            "additionalProperties": False,
            **definitions,
        }

    def parse(text: str) -> Any:
        value: Any = json.loads(text)
        if wraps and isinstance(value, dict) and _WRAPPED in value and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType] - JSON
            text = json.dumps(value[_WRAPPED])
        return adapter.validate_json(text)  # as JSON: there a date is a text, and a tuple a list

    def explained(text: str) -> Any:
        try:
            return parse(text)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}"
                for one in error.errors(include_url=False, include_context=False)
            ]
            raise ValueError("; ".join(problems)) from error

    return Output(schema=schema, parse=explained)
