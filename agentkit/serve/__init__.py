"""What serves others: an agent as an MCP server, and what any server here stands on.

`agentkit_tools` uses `wire`, `progress` and `signals`, so nothing but names loads with the package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.serve._agent import make_server, serve_agent

__all__ = ["make_server", "serve_agent"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agentkit.serve import _agent

    return getattr(_agent, name)
