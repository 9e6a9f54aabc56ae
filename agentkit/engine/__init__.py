"""Model servers: launch profiles, verified weights, and the embedded engine."""

from agentkit.engine._embedded import embedded_available, open_embedded
from agentkit.engine._profiles import Profile, find_profile, read_profiles
from agentkit.engine._values import Endpoint, Progress
from agentkit.engine._weights import ensure_weights

__all__ = [
    "Endpoint",
    "Profile",
    "Progress",
    "embedded_available",
    "ensure_weights",
    "find_profile",
    "open_embedded",
    "read_profiles",
]
