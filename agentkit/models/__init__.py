"""Models behind servers of the OpenAI protocol: one pool, one client, a dialect per server."""

from agentkit.models._pool import ModelPool, check_base_url, open_pool
from agentkit.models._probes import Probe

__all__ = ["ModelPool", "Probe", "check_base_url", "open_pool"]
