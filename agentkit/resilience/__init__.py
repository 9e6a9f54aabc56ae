"""The only place that waits, repeats, queues or gives up on."""

from agentkit.resilience._apart import Outcome, abandoned, run_apart
from agentkit.resilience._retry import retrying
from agentkit.resilience._retry_after import retry_after
from agentkit.resilience._scopes import deadline, is_cancelled, together
from agentkit.resilience._traffic import TrafficControl

__all__ = [
    "Outcome",
    "TrafficControl",
    "abandoned",
    "deadline",
    "is_cancelled",
    "retry_after",
    "retrying",
    "run_apart",
    "together",
]
