"""What has to be known about a tuple of tools, worked out once."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from agentkit.messages import ToolSpec

V = TypeVar("V")
_KEPT = 64


class ToolMemo(Generic[V]):
    """Remembers a value for the last few tuples of tools, by the identity of their members.

    The specs are held, so that an id can never come to mean another spec.
    """

    def __init__(self, make: Callable[[tuple[ToolSpec, ...]], V]) -> None:
        self._make = make
        self._known: OrderedDict[tuple[int, ...], tuple[tuple[ToolSpec, ...], V]] = OrderedDict()

    def get(self, tools: tuple[ToolSpec, ...]) -> V:
        """Return the value of `tools`."""
        key = tuple(map(id, tools))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (tools, self._make(tools))
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known[1]


def schemas_by_name(tools: tuple[ToolSpec, ...]) -> dict[str, Mapping[str, Any]]:
    """Return the parameter schema of each tool."""
    return {tool.name: tool.parameters for tool in tools}
