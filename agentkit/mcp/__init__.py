"""Tools of MCP servers: started or reached, watched, and called like any other tool.

The `mcp` SDK is imported when the first server is opened.
"""

from agentkit.mcp._config import McpConfig, ServerConfig
from agentkit.mcp._edit import read_raw, servers_of, write_raw
from agentkit.mcp._file import config_of, config_schema, read_config
from agentkit.mcp._foreign import KINDS, foreign_servers, known_files
from agentkit.mcp._foreign_entry import Foreign, Kind
from agentkit.mcp._login import log_in
from agentkit.mcp._names import log_of, pins_of
from agentkit.mcp._oauth_config import OAuthConfig
from agentkit.mcp._oauth_file import forget_logins
from agentkit.mcp._servers import open_servers
from agentkit.mcp._state import (
    Answerer,
    Difference,
    McpServers,
    Prompt,
    Question,
    Resource,
    ServerState,
)

__all__ = [
    "KINDS",
    "Answerer",
    "Difference",
    "Foreign",
    "Kind",
    "McpConfig",
    "McpServers",
    "OAuthConfig",
    "Prompt",
    "Question",
    "Resource",
    "ServerConfig",
    "ServerState",
    "config_of",
    "config_schema",
    "foreign_servers",
    "forget_logins",
    "known_files",
    "log_in",
    "log_of",
    "open_servers",
    "pins_of",
    "read_config",
    "read_raw",
    "servers_of",
    "write_raw",
]
