"""An assistant with MCP servers: what is up, what is down, and a task for those that are up."""

import sys

import anyio

from agentkit import Runtime

SERVERS = {"time": {"command": "mcp-server-time"}, "missing": {"command": "no-such-server"}}


async def main() -> None:
    async with Runtime.open(mcp_servers={"mcpServers": SERVERS}) as runtime:
        for server in runtime.servers:
            print(f"{server.name}: {server.status} {server.error}".rstrip(), file=sys.stderr)
        agent = runtime.agent(instructions="Use the tools of the time server.")
        result = await agent.run("What time is it in Tokyo?")
        print(result.text)


if __name__ == "__main__":
    anyio.run(main)
