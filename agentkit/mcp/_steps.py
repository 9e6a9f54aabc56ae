"""Holds values to schemas of servers, in a limited number of steps.

A few lines of schema can ask for more steps than there is time, and no clock runs while they are
taken.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from itertools import islice
from typing import Any, Protocol, cast

from jsonschema import validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator
from referencing import Registry

from agentkit.mcp._text import weigh

_MAX_STEPS = 20_000
_MAX_CHECKED = 200_000


class _Keyword(Protocol):
    """What holds a value to one keyword."""

    def __call__(
        self, validator: Validator, value: Any, instance: Any, schema: Any
    ) -> Iterable[ValidationError] | None: ...


_UNCHECKED = frozenset(
    {
        # A hostile regular expression can take for ever, and no clock runs while it does.
        *("pattern", "patternProperties"),
        # These compare or look at everything again and again.
        *("uniqueItems", "unevaluatedItems", "unevaluatedProperties"),
        "format",
        "$dynamicRef",
    }
)
_FOR_EACH = frozenset({"items", "prefixItems", "contains", "propertyNames", "additionalProperties"})
_COMPARING = frozenset({"enum", "const", "dependentRequired"})
_BRANCHING = frozenset({"allOf", "anyOf", "oneOf", "dependentSchemas"})


class _OutOfStepsError(Exception):
    """To go on would take too long."""


class _Steps:
    """Counts what holding one value to its schema takes; a step is some microseconds."""

    def __init__(self) -> None:
        self._left = _MAX_STEPS
        self._weights: dict[int, int] = {}

    def take(self, count: int = 1) -> None:
        self._left -= count
        if self._left < 0:
            raise _OutOfStepsError

    def begin(self, key: str, value: Any, instance: Any) -> None:
        """Pay for one keyword; it may go through all of a value, and quote it."""
        weight = self._weight(value)
        cost = 1 + weight // 128 + self._weight(instance) // 128
        if key in _COMPARING:
            cost += weight // 8
        if key in _BRANCHING:
            cost += len(value)
        if key in _FOR_EACH and isinstance(instance, dict | list):
            cost += len(cast("list[Any]", instance))
        self.take(cost)

    def _weight(self, value: Any) -> int:
        if not isinstance(value, dict | list):
            return len(value) if isinstance(value, str) else 1
        at = id(cast("object", value))
        if at not in self._weights:
            self._weights[at] = weigh(cast("object", value), _MAX_CHECKED)
        return self._weights[at]


_steps: ContextVar[_Steps] = ContextVar("_steps")


def _counted(key: str, keyword: _Keyword) -> _Keyword:
    def held(
        validator: Validator, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        steps = _steps.get()
        steps.begin(key, value, instance)
        for error in keyword(validator, value, instance, schema) or ():
            steps.take()
            yield error

    return held


def _additional(
    validator: Validator, value: Any, instance: Any, schema: Any
) -> Iterable[ValidationError] | None:
    if "patternProperties" in schema:
        return None  # what the patterns would have allowed must not be refused
    return _KEYWORDS["additionalProperties"](validator, value, instance, schema)


_KEYWORDS = cast("Mapping[str, _Keyword]", Draft202012Validator.VALIDATORS)
_NOTHING_ELSE: Registry[Any] = Registry()
_Bounded: Callable[..., Validator] = cast("Any", validators).create(
    Draft202012Validator.META_SCHEMA,
    {
        key: _counted(key, _additional if key == "additionalProperties" else keyword)
        for key, keyword in _KEYWORDS.items()
        if key not in _UNCHECKED
    },
)


def bounded(schema: Mapping[str, Any]) -> Validator:
    """Return a validator without the keywords that could take for ever."""
    return _Bounded(schema, registry=_NOTHING_ELSE)


def errors_in(value: Any, validator: Validator, most: int = 1) -> list[ValidationError]:
    """Return what is wrong with a value, as far as that is found in few enough steps.

    A large value is not looked at, nor is a schema followed that leads nowhere: whoever wrote it
    has to decide.
    """
    found: list[ValidationError] = []
    if weigh(value, _MAX_CHECKED) > _MAX_CHECKED:
        return found
    before = _steps.set(_Steps())
    try:
        found.extend(islice(validator.iter_errors(value), most))
    except Exception:  # out of steps, too deep, numbers beyond all bounds
        return found
    finally:
        _steps.reset(before)
    return found
