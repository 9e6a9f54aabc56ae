"""JSON schemas that servers wrote: mended where they are nearly right, refused where they are not.

Whatever draft a schema is of, it becomes one of draft 2020-12, of known keywords only. All that is
done here takes time in proportion to its size, and its size has a limit.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

from jsonschema.protocols import Validator

from agentkit.mcp._steps import bounded
from agentkit.mcp._text import clean, hides, one_line, weigh

_MAX_CHARS = 64_000
_MAX_NODES = 20_000
_MAX_DEPTH = 64
_MAX_JSON_DEPTH = 160
_MAX_EXPANDED = 10_000
_MAX_DESCRIPTION = 1000

_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_ONE = frozenset(
    {
        *("additionalProperties", "unevaluatedProperties", "propertyNames", "contains", "not"),
        *("items", "unevaluatedItems", "if", "then", "else", "contentSchema"),
    }
)
_MANY = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_ANYTHING = frozenset({"default", "const"})
_LEFT_OUT = object()


class UnusableSchemaError(Exception):
    """A schema cannot be mended; the message says why."""


def mended(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of an object that is valid and refers to nothing outside itself.

    >>> mended({"properties": {"a": {"type": "string", "required": None}}, "required": None})
    {'type': 'object', 'properties': {'a': {'type': 'string'}}}

    Raises:
        UnusableSchemaError: it is not meant for an object, too large, or no schema at all.
    """
    _measure(schema)
    kind: Any = schema.get("type")
    kinds = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    if kind is not None and "object" not in kinds:
        raise UnusableSchemaError(
            f"its arguments are of type {_shown(schema['type'])}, not an object"
        )
    mender = _Mender()
    result: dict[str, Any] = {"type": "object", "properties": {}, **mender.schema(schema)}
    result["type"] = "object"
    _hold_together(result, mender.made)
    return result


def _measure(schema: dict[str, Any]) -> None:
    """Refuse what is too large before anything is done with it; each JSON value counts."""
    if weigh(schema, _MAX_CHARS) > _MAX_CHARS:
        raise UnusableSchemaError("its schema is too large")
    level: list[Any] = [schema]
    nodes = 0
    for _ in range(_MAX_JSON_DEPTH):
        nodes += len(level)
        if nodes > _MAX_NODES:
            raise UnusableSchemaError("its schema is too large")
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            raise UnusableSchemaError("its schema holds a number that JSON does not know")
        level = [item for one in level for item in _members(one)]
        if not level:
            return
    raise UnusableSchemaError("its schema is too large: it is nested too deeply")


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else []


class _Mender:
    """Walks a schema by its keywords: a property may well be called `required`.

    Attributes:
        made: each schema that was made, by its identity; nothing else may be referred to.
    """

    def __init__(self) -> None:
        self.made: dict[int, dict[str, Any]] = {}

    def schema(self, value: object, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            raise UnusableSchemaError("its schema is too large: it is nested too deeply")
        if isinstance(value, bool):
            return value
        result: dict[str, Any] = {}
        found = _in_new_words(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}
        for key, item in found.items():
            kept = _LEFT_OUT
            if item is not None or key in _ANYTHING:
                kept = self._keyword(key, item, depth + 1)
            if kept is not _LEFT_OUT:
                result[key] = kept
        self.made[id(result)] = result
        return result

    def _keyword(self, key: str, value: Any, depth: int) -> Any:
        if key in _MAPS:
            return self._map(value, depth) if isinstance(value, dict) else _LEFT_OUT
        if key in _MANY:
            if not isinstance(value, list) or not value:
                return _LEFT_OUT
            return [self.schema(item, depth) for item in cast("list[Any]", value)]
        return self.schema(value, depth) if key in _ONE else _PLAIN[key](key, value)

    def _map(self, value: Any, depth: int) -> dict[str, Any]:
        named = cast("dict[str, Any]", value)
        return {_exact(name): self.schema(item, depth) for name, item in named.items()}


def _in_new_words(found: dict[str, Any]) -> dict[str, Any]:
    """Return the known keywords, with what older drafts said otherwise as 2020-12 says it."""
    result = {key: value for key, value in found.items() if key in _KNOWN}
    if isinstance(found.get("items"), list):
        result["prefixItems"] = result.pop("items")
        if "additionalItems" in found:
            result["items"] = found["additionalItems"]
    for closed, bound in _BOUNDS.items():
        if isinstance(result.get(closed), bool) and result.pop(closed) and bound in result:
            result[closed] = result.pop(bound)
    depending = found.get("dependencies")
    if isinstance(depending, dict):
        named = cast("dict[str, Any]", depending)
        lists: dict[str, Any] = {
            name: item for name, item in named.items() if isinstance(item, list)
        }
        others = {name: item for name, item in named.items() if name not in lists}
        result |= {"dependentRequired": lists} if lists else {}
        result |= {"dependentSchemas": others} if others else {}
    return result


def _shown(value: object) -> str:
    return repr(one_line(value, 60)) if isinstance(value, str) else one_line(json.dumps(value), 60)


def _refuse(key: str, value: object) -> UnusableSchemaError:
    return UnusableSchemaError(f"its schema is not valid: {key} is {_shown(value)}")


def _exact(value: Any) -> Any:
    """Return what a call repeats letter by letter; it cannot be cleaned."""
    if isinstance(value, str) and hides(value):
        raise UnusableSchemaError(f"its schema hides characters in {_shown(value)}")
    for name in cast("dict[str, Any]", value) if isinstance(value, dict) else ():
        _exact(name)
    for item in _members(value):
        _exact(item)
    return cast("Any", value)


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        return {clean(name): _cleaned(item) for name, item in named.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in cast("list[Any]", value)]
    return clean(value) if isinstance(value, str) else value


def _prose(_: str, value: Any) -> Any:
    return one_line(value, _MAX_DESCRIPTION) if isinstance(value, str) else _LEFT_OUT


def _word(_: str, value: Any) -> Any:
    return value if isinstance(value, str) and not hides(value) else _LEFT_OUT


def _flag(_: str, value: Any) -> Any:
    return value if isinstance(value, bool) else _LEFT_OUT


def _number(key: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refuse(key, value)
    if key == "multipleOf" and value <= 0:
        raise _refuse(key, value)
    return value


def _count(key: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refuse(key, value)
    if value < 0 or value != int(value):
        raise _refuse(key, value)
    return int(value)


def _type(key: str, value: Any) -> Any:
    kinds = cast("list[Any]", value) if isinstance(value, list) else [value]
    wrong = [kind for kind in kinds if not isinstance(kind, str) or kind not in _TYPES]
    if wrong or not kinds:
        raise _refuse(key, wrong[0] if wrong else kinds)
    return list(dict.fromkeys(kinds)) if isinstance(value, list) else value


def _names(_: str, value: Any) -> Any:
    if not isinstance(value, list):
        return _LEFT_OUT
    names = (name for name in cast("list[Any]", value) if isinstance(name, str))
    return [_exact(name) for name in dict.fromkeys(names)]


def _named_names(key: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return _LEFT_OUT
    named = cast("dict[str, Any]", value)
    lists = {_exact(name): _names(key, item) for name, item in named.items()}
    return {name: names for name, names in lists.items() if names is not _LEFT_OUT}


def _choices(key: str, value: Any) -> Any:
    if not isinstance(value, list):
        raise _refuse(key, value)
    return _exact(value)


def _examples(_: str, value: Any) -> Any:
    return _cleaned(value) if isinstance(value, list) else _LEFT_OUT


_PLAIN: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("description", "title", "$comment"), _prose),
    **dict.fromkeys(("format", "pattern", "contentEncoding", "contentMediaType", "$ref"), _word),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _flag),
    **dict.fromkeys(("multipleOf", "minimum", "maximum", *_BOUNDS), _number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _count),
    **dict.fromkeys(("minProperties", "maxProperties", "minContains", "maxContains"), _count),
    "type": _type,
    "required": _names,
    "dependentRequired": _named_names,
    "enum": _choices,
    "const": lambda _, value: _exact(value),
    "default": lambda _, value: _cleaned(value),
    "examples": _examples,
}
_KNOWN = frozenset({*_MAPS, *_ONE, *_MANY, *_PLAIN})


def _hold_together(root: dict[str, Any], made: Mapping[int, dict[str, Any]]) -> None:
    """Take references away that lead to no schema of this one; refuse those that multiply."""
    schemas = {**made, id(root): root}
    links: dict[int, Any] = {}
    for node in schemas.values():
        if "$ref" in node:
            links[id(node)] = _target(root, node["$ref"])
    for at, target in links.items():
        if not isinstance(target, bool) and id(target) not in schemas:
            del schemas[at]["$ref"]
            links[at] = True
    _expand(root, links)


def _target(root: dict[str, Any], reference: str) -> Any:
    if reference == "#":
        return root
    node: Any = root
    if not reference.startswith("#/"):
        return None
    for part in unquote(reference[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = cast("dict[str, Any]", node).get(name)
        elif isinstance(node, list) and name.isdecimal() and len(name) < 6:
            node = next(iter(cast("list[Any]", node)[int(name) :]), None)
        else:
            return None
    return node


def _expand(root: dict[str, Any], links: Mapping[int, Any]) -> None:
    """Refuse a schema that would be far too large with each reference replaced by what it means.

    What refers to itself counts once: how often it is followed depends on the data.
    """
    sizes: dict[int, int] = {}
    rest: list[tuple[dict[str, Any], bool]] = [(root, False)]
    while rest:
        node, all_below_known = rest.pop()
        if all_below_known:
            sizes[id(node)] = 1 + sum(sizes[id(one)] for one in _below(node, links))
            if sizes[id(node)] > _MAX_EXPANDED:
                raise UnusableSchemaError("its schema is too large: its references multiply")
        elif id(node) not in sizes:
            sizes[id(node)] = 1
            rest.append((node, True))
            rest.extend((one, False) for one in _below(node, links))


def _below(node: dict[str, Any], links: Mapping[int, Any]) -> Iterator[dict[str, Any]]:
    found: list[Any] = [links.get(id(node))]
    for key, value in node.items():
        if key in _MAPS or key in _MANY:
            found += _members(value)
        elif key in _ONE:
            found.append(value)
    yield from (one for one in found if isinstance(one, dict))


def compiled(schema: dict[str, Any]) -> Validator:
    """Return a validator of a mended schema, to be used through `errors_in`.

    It leaves out what could take for ever, such as regular expressions: the server checks them.
    """
    return bounded(schema)
