"""Model servers: launch profiles, verified weights, the embedded engine and servers of one's own."""

from agentkit.engine._choice import Engine, choose_engine, find_engine, suggest_server
from agentkit.engine._embedded import embedded_available, open_embedded
from agentkit.engine._fit import Fit, Gpu, check_fit, choose, fit, gpus_of, read_gpus
from agentkit.engine._gated import GatedModel
from agentkit.engine._install import SGLANG_VERSION, find_sglang, install_sglang
from agentkit.engine._loads import Loads, read_loads
from agentkit.engine._profiles import Profile, find_profile, read_profiles
from agentkit.engine._running import Running, find_running, log_of_latest, stop_running
from agentkit.engine._server import open_server
from agentkit.engine._server_profile import (
    ServerProfile,
    find_server_profile,
    read_server_profiles,
)
from agentkit.engine._snapshot import ensure_snapshot, find_snapshot
from agentkit.engine._values import Endpoint, Progress
from agentkit.engine._weights import ensure_weights

__all__ = [
    "SGLANG_VERSION",
    "Endpoint",
    "Engine",
    "Fit",
    "GatedModel",
    "Gpu",
    "Loads",
    "Profile",
    "Progress",
    "Running",
    "ServerProfile",
    "check_fit",
    "choose",
    "choose_engine",
    "embedded_available",
    "ensure_snapshot",
    "ensure_weights",
    "find_engine",
    "find_profile",
    "find_running",
    "find_server_profile",
    "find_sglang",
    "find_snapshot",
    "fit",
    "gpus_of",
    "install_sglang",
    "log_of_latest",
    "open_embedded",
    "open_server",
    "read_gpus",
    "read_loads",
    "read_profiles",
    "read_server_profiles",
    "stop_running",
    "suggest_server",
]
