"""Opens one server and waits to be killed; says so on stdout."""

import sys

import anyio

from agentkit.mcp import McpConfig, ServerConfig, open_servers
from agentkit.policies import Timeouts


async def main() -> None:
    script, mode = sys.argv[1:]
    server = ServerConfig(name="evil", command=sys.executable, args=(script, mode))
    async with open_servers(McpConfig(servers=(server,)), timeouts=Timeouts()) as servers:
        sys.stdout.write(f"{servers.states[0].status}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
