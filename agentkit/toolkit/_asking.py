"""Any tool, with another rule about whom to ask before a call."""

from dataclasses import replace

from agentkit.messages import Approval, JsonObject, ToolSpec
from agentkit.protocols import OpenTool, RunScopedTool, Tool, ToolCaller


def ask_first(tool: Tool, approval: Approval = "always") -> Tool:
    """Return the tool with this rule about approval, whatever its own says.

    For tools that are not yours: those of an MCP server, or a built-in one. "never" also allows its
    calls where a run has read untrusted content.

    >>> from agentkit.toolkit import tool
    >>> @tool
    ... def pay(amount: int) -> int:
    ...     '''Pay.'''
    ...     return amount
    >>> careful = ask_first(pay, lambda arguments: arguments["amount"] > 10)
    >>> careful.spec.needs_approval({"amount": 5}), careful.spec.needs_approval({"amount": 50})
    (False, True)
    """
    if isinstance(tool, RunScopedTool):
        return _AskingPerRun(tool, approval)
    return _Asking(tool, approval)


class _Asking:
    def __init__(self, tool: Tool, approval: Approval) -> None:
        self._tool = tool
        self._approval: Approval = approval
        self._spec = replace(tool.spec, approval=approval, allowed=approval == "never")

    @property
    def spec(self) -> ToolSpec:
        """What the model is told, and the rule."""
        return self._spec

    def beside(self, others: tuple[ToolSpec, ...]) -> Tool:
        """Return the tool as it is beside others, with the same rule."""
        if not isinstance(self._tool, ToolCaller):
            return self
        return ask_first(self._tool.beside(others), self._approval)

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments as the tool checks them."""
        return self._tool.validate(arguments)

    async def call(self, arguments: JsonObject) -> str:
        """Do what the tool does."""
        return await self._tool.call(arguments)


class _AskingPerRun(_Asking):
    def for_run(self) -> OpenTool:
        """Return the tool of one run, with the same rule."""
        scoped = self._tool
        if not isinstance(scoped, RunScopedTool):
            raise TypeError(f"expected a tool with state for each run, got {scoped!r}")
        return _OpenAsking(scoped.for_run(), self._approval)


class _OpenAsking(_Asking):
    def __init__(self, tool: OpenTool, approval: Approval) -> None:
        super().__init__(tool, approval)
        self._open = tool

    async def aclose(self) -> None:
        """Let go of what the tool holds."""
        await self._open.aclose()
