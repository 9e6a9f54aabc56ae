"""The tools of one agent: unique names, an order that never changes."""

from collections.abc import Iterable, Iterator

from agentkit.errors import ConfigurationError, UnknownToolError
from agentkit.protocols import Tool


class Registry:
    """An ordered set of tools.

    Raises:
        ConfigurationError: two tools have the same name.
    """

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            name = tool.spec.name
            if name in self._tools:
                raise ConfigurationError(
                    f"Two tools are named {name!r}.", hint="Rename one: @tool(name=...)."
                )
            self._tools[name] = tool
        self.specs = tuple(tool.spec for tool in self._tools.values())

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __getitem__(self, name: str) -> Tool:
        """Return the tool of that name.

        Raises:
            UnknownToolError: there is none; the message lists those there are.
        """
        try:
            return self._tools[name]
        except KeyError:
            raise UnknownToolError(name, self._tools) from None
