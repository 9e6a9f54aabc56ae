"""Models behind servers of the OpenAI protocol: one pool, one client, a dialect per server."""

from agentkit.models._pool import ModelPool, open_pool

__all__ = ["ModelPool", "open_pool"]
