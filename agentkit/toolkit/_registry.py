"""The tools of one agent: unique names, an order that never changes."""

from collections.abc import Iterable, Iterator

from agentkit.errors import ConfigurationError, UnknownToolError
from agentkit.protocols import Tool, ToolCaller


class Registry:
    """An ordered set of tools.

    Args:
        tools: what a model is told of.
        deferred: what it is not told of before it has searched for it.

    Raises:
        ConfigurationError: two tools have the same name.
    """

    def __init__(self, tools: Iterable[Tool], deferred: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self.deferred = tuple(deferred)
        shown = tuple(tools)
        for tool in (*shown, *self.deferred):
            name = tool.spec.name
            if name in self._tools:
                raise ConfigurationError(
                    f"Two tools are named {name!r}.", hint="Rename one: @tool(name=...)."
                )
            self._tools[name] = tool
        told = tuple(tool.spec for tool in shown)
        for tool, own in zip(shown, told, strict=True):
            if isinstance(tool, ToolCaller):
                self._tools[own.name] = tool.beside(tuple(spec for spec in told if spec is not own))
        self.specs = tuple(self._tools[spec.name].spec for spec in told)

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
            more = ["others, which search_tools finds"] if self.deferred else []
            known = [*(spec.name for spec in self.specs), *more]
            raise UnknownToolError(name, known) from None
