"""Opens one server and waits to be killed; says so on stdout."""

import sys

import anyio

from agentkit.mcp import McpConfig, ServerConfig, open_servers
from agentkit.policies import Timeouts


async def main() -> None:
    script, mode, _ = sys.argv[1:]
    arguments = (script, "good" if mode == "child_setsid" else "ignore_eof")
    server = ServerConfig(name="evil", command=sys.executable, args=(script, mode))
    if mode == "wrapped":
        wrapper = f"{sys.executable} {' '.join(arguments)}; true"
        server = ServerConfig(name="evil", command="sh", args=("-c", wrapper))
    if mode == "child_setsid":
        server = ServerConfig(name="evil", command=sys.executable, args=arguments)
    async with open_servers(McpConfig(servers=(server,)), timeouts=Timeouts()) as servers:
        if mode == "child_setsid":
            tool = next(one for one in servers.tools if one.spec.name == mode)
            await tool.call({})
        sys.stdout.write(f"{servers.states[0].status}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[3])
