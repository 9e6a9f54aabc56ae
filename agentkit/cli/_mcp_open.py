"""Opens MCP servers for a command that is about them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio

from agentkit.cli._exit import Exit
from agentkit.cli._signals import Stopper, until_signalled
from agentkit.cli._terminal import note
from agentkit.errors import InvalidTaskError, ToolError
from agentkit.mcp import McpConfig, McpServers, ServerConfig, open_servers
from agentkit.settings import Settings


def find(config: McpConfig, name: str) -> ServerConfig:
    """Return the server of that name.

    Raises:
        InvalidTaskError: there is none.
    """
    for one in config.servers:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in config.servers) or "none"
    raise InvalidTaskError(f"No MCP server named {name!r}. There are: {known}.")


def only(config: McpConfig, name: str) -> McpConfig:
    """Return the configuration of one server alone.

    Raises:
        InvalidTaskError: there is none of that name, or it is disabled.
    """
    found = find(config, name)
    if found.disabled:
        raise InvalidTaskError(
            f"The MCP server {name!r} is disabled, so nothing was tried.",
            hint='Take "disabled" (or "enabled": false) out of its entry.',
        )
    return replace(config, servers=(found,))


def with_servers(
    settings: Settings,
    config: McpConfig,
    work: Callable[[McpServers], Awaitable[Exit]],
) -> Exit:
    """Start the servers, do something with them, and end them."""
    # Here a server that is missing is the news, not the end.
    config = replace(config, servers=tuple(replace(one, required=False) for one in config.servers))
    for warning in config.warnings:
        note(f"• {warning}")

    async def main(_: Stopper) -> Exit:
        async with open_servers(
            config,
            timeouts=settings.timeouts,
            log_dir=logs_of(settings),
            pins_dir=settings.pins_dir,
            media_dir=settings.state_dir / "media",
            oauth_dir=settings.oauth_dir,
        ) as opened:
            return await work(opened)

    if starting := [one.name for one in config.servers if not (one.disabled or one.problem)]:
        note(f"Starting {', '.join(starting)}…")
    return anyio.run(until_signalled, main, note)


def with_server(
    settings: Settings,
    config: McpConfig,
    name: str,
    work: Callable[[McpServers], Awaitable[Exit]],
) -> Exit:
    """Start one server and do something with it.

    Raises:
        InvalidTaskError: there is none of that name, or it is disabled.
        ToolError: it could not be started.
    """

    async def with_one(opened: McpServers) -> Exit:
        state = opened.states[0]
        if state.status != "ready":
            error = ToolError(f"MCP server {name!r}: {state.error}")
            error.hint = state.hint
            raise error
        return await work(opened)

    return with_servers(settings, only(config, name), with_one)


def logs_of(settings: Settings) -> Path:
    """Return the folder of what servers write on stderr."""
    return settings.state_dir / "logs"
