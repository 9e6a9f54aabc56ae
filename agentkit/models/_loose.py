"""Reads a call that a model wrote into its text, as JSON or as XML."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from json import JSONDecoder, dumps
from typing import Any

from agentkit.models._json import is_object, members

_BARE_KEYS = frozenset({"name", "arguments", "parameters", "id", "type"})
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"


@dataclass(frozen=True, slots=True)
class Written:
    """A call as a model wrote it.

    Attributes:
        name: of the tool, known or not.
        arguments: a JSON object, as text.
        has_arguments: whether they were written at all.
        bare: whether nothing but a call was written.
    """

    name: str
    arguments: str
    has_arguments: bool = True
    bare: bool = True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DEEPEST = 200  # levels; what is deeper jiter refuses, which reads the arguments after us

_DECODER = JSONDecoder(strict=False, parse_constant=_refuse_constant)
"""Takes a raw newline inside a string, the most usual slip in code; nothing else is forgiven."""


def read_value(text: str, start: int) -> tuple[list[Written], int]:
    """Return the calls in the JSON value at `start` and where it ends; none if it is no call.

    The chat template of Qwen2.5 shows a call in doubled braces, and small models copy them.
    """
    doubled = text.startswith("{{", start)
    try:
        value, end = _DECODER.raw_decode(text, start + doubled)
        end += doubled and text.startswith("}", end)
        _refuse_depth(value)
    except (ValueError, RecursionError):  # the standard decoder recurses: 10,000 brackets
        return [], start
    values = members(value) or [value]
    written = [_as_call(item) for item in values]
    if not written or any(call is None for call in written):
        return [], end
    return [call for call in written if call is not None], end


def read_function(
    text: str, start: int, schemas: Mapping[str, Mapping[str, Any]]
) -> tuple[Written | None, int]:
    """Return the `<function=…>` at `start`, its values made what the schema says, and its end."""
    head_end = text.find(">", start)
    if head_end < 0:
        return None, len(text)
    name = text[start + len(_FUNCTION) : head_end].strip().strip("\"'")
    end = text.find(_FUNCTION_END, head_end)
    body = text[head_end + 1 : end if end >= 0 else None]
    properties: Any = schemas.get(name, {}).get("properties")
    arguments = {
        key: _coerced(value, properties.get(key) if is_object(properties) else None)
        for key, value in _parameters(body)
    }
    call = Written(name, dumps(arguments, ensure_ascii=False))
    return call, (end + len(_FUNCTION_END) if end >= 0 else len(text))


def _as_call(value: object) -> Written | None:
    if not is_object(value):
        return None
    inner: Any = value.get("function")
    if is_object(inner):  # {"type": "function", "function": {…}}, as the API writes it
        value = inner
    name: Any = value.get("name")
    if not isinstance(name, str) or not name:
        return None
    given: Any = value.get("arguments", value.get("parameters"))
    if isinstance(given, str):
        given = _decoded(given)
    if given is not None and not is_object(given):
        return None
    return Written(
        name,
        dumps(given or {}, ensure_ascii=False),
        has_arguments=given is not None,
        bare=given is not None and _BARE_KEYS.issuperset(value),
    )


def _parameters(body: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    start = body.find(_PARAMETER)
    while start >= 0:
        head_end = body.find(">", start)
        if head_end < 0:
            break
        following = body.find(_PARAMETER, head_end)
        end = body.find(_PARAMETER_END, head_end)
        stop = min(at for at in (end, following, len(body)) if at >= 0)
        value = body[head_end + 1 : stop].removeprefix("\n").removesuffix("\n")
        found.append((body[start + len(_PARAMETER) : head_end].strip().strip("\"'"), value))
        start = following
    return found


def _coerced(text: str, schema: object) -> object:
    """Return the value that the schema asks for; the text itself where it does not fit."""
    kinds = _kinds(schema)
    if not kinds or kinds == {"string"}:
        return text
    value = _decoded({"True": "true", "False": "false", "None": "null"}.get(text.strip(), text))
    fits = _kind_of(value) in kinds or ("number" in kinds and _kind_of(value) == "integer")
    return value if fits else text


def _kinds(schema: object) -> set[str]:
    if not is_object(schema):
        return set()
    given: Any = schema.get("type")
    kinds = {str(kind) for kind in (members(given) or [given]) if kind}
    for union in ("anyOf", "oneOf"):
        for member in members(schema.get(union)):
            kinds |= _kinds(member)
    return kinds


_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
    str: "string",
}


def _kind_of(value: object) -> str:
    return _KINDS.get(type(value), "")


def _decoded(text: str) -> object:
    """Return the JSON value of `text`, or the text where it is none."""
    try:
        value: object = _DECODER.decode(text)
        _refuse_depth(value)
    except (ValueError, RecursionError):
        return text
    return value


def _refuse_depth(value: object) -> None:
    """Refuse what nobody after us could walk through.

    Raises:
        ValueError: it is nested too deeply.
    """
    level: list[object] = [value]
    for _ in range(_DEEPEST + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError(f"more than {_DEEPEST} levels")


def _inside(value: object) -> Iterable[object]:
    return value.values() if is_object(value) else members(value)
