"""Tools that installed packages offer by an entry point."""

from collections.abc import Iterable
from importlib.metadata import entry_points

from agentkit.errors import ConfigurationError
from agentkit.protocols import Tool

_GROUP = "agentkit.tools"


def builtin_tools(wanted: Iterable[str] | None = None) -> tuple[Tool, ...]:
    """Return the tools that installed packages offer, all or those named.

    Raises:
        ConfigurationError: a wanted one is not there.
    """
    found: dict[str, Tool] = {}
    for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name):
        found |= {tool.spec.name: tool for tool in point.load()}
    if wanted is None:
        return tuple(found.values())
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ConfigurationError(
            f"No built-in tool named {missing[0]!r}.", hint=f"There are: {', '.join(found)}."
        )
    return tuple(found[name] for name in wanted)
