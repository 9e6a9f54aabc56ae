"""From a configuration to the tools of its servers; the SDK is loaded with this module."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from agentkit.errors import RequiredToolError
from agentkit.mcp._config import McpConfig, ServerConfig
from agentkit.mcp._names import choose_names, fit, log_of
from agentkit.mcp._offer import Offer, OfferedTool, examine
from agentkit.mcp._server import Server
from agentkit.mcp._state import McpServers, ServerState
from agentkit.mcp._tool import McpTool
from agentkit.messages import JsonObject, ToolSpec
from agentkit.policies import Timeouts


@dataclass(frozen=True, slots=True)
class _Ready:
    server: Server
    offer: Offer


class Opening:
    """Opens servers in parallel and remembers them for closing."""

    def __init__(
        self,
        timeouts: Timeouts,
        tasks: TaskGroup,
        environ: Mapping[str, str],
        log_dir: Path | None,
        report: Callable[[ServerState], None],
    ) -> None:
        self._timeouts = timeouts
        self._tasks = tasks
        self._environ = environ
        self._log_dir = log_dir
        self._report = report
        self._servers: list[Server] = []
        self._ready: dict[str, _Ready] = {}
        self._states: dict[str, ServerState] = {}

    async def open(self, config: McpConfig, taken: Sequence[str]) -> McpServers:
        """Return the servers when each is ready or has failed.

        Raises:
            RequiredToolError: a required server cannot be used.
        """
        missing: list[RequiredToolError] = []
        async with anyio.create_task_group() as settling:

            async def settle(server: ServerConfig) -> None:
                state = await self._settled(server)
                self._states[server.name] = state
                self._report(state)
                if server.required and state.status != "ready":
                    missing.append(_missing(state))
                    settling.cancel_scope.cancel()  # no need to wait for the others

            for server in config.servers:
                settling.start_soon(settle, server)
        if missing:
            raise missing[0]
        return self._offered([server.name for server in config.servers], taken)

    async def close(self) -> None:
        """End all servers at once and wait until nothing is left of them."""
        for server in self._servers:
            server.connection.end()
        for server in self._servers:
            await server.connection.ended.wait()

    async def _settled(self, config: ServerConfig) -> ServerState:
        if config.disabled:
            return ServerState(name=config.name, status="disabled")
        if config.problem:
            return ServerState(
                name=config.name, status="failed", error=config.problem, hint=config.hint
            )
        began = anyio.current_time()
        log = None if self._log_dir is None else log_of(self._log_dir, config.name)
        server = Server(config, self._timeouts, self._tasks.start_soon, self._environ, log)
        self._servers.append(server)
        await server.connection.opened.wait()
        failure = server.connection.failure
        if failure is not None:
            return ServerState(
                name=config.name,
                status="failed",
                error=str(failure),
                hint=failure.hint,
                seconds=anyio.current_time() - began,
            )
        offer = await to_thread.run_sync(examine, config, server.connection.gate)
        self._ready[config.name] = _Ready(server, offer)
        return ServerState(
            name=config.name,
            status="ready",
            tools=tuple(sorted(fit(tool.name) for tool in offer.tools)),
            seconds=anyio.current_time() - began,
            notes=offer.notes,
        )

    def _offered(self, order: Sequence[str], taken: Sequence[str]) -> McpServers:
        ready = [self._ready[name] for name in order if name in self._ready]
        offers = [(one.server.config, [tool.name for tool in one.offer.tools]) for one in ready]
        tools: list[McpTool] = []
        for one, names in zip(ready, choose_names(offers, taken), strict=True):
            chosen = sorted(one.offer.tools, key=lambda tool: names[tool.name])
            tools.extend(_tool(one.server, tool, names[tool.name]) for tool in chosen)
            name = one.server.config.name
            self._states[name] = replace(
                self._states[name], tools=tuple(names[tool.name] for tool in chosen)
            )
        return McpServers(tools=tuple(tools), states=tuple(self._states[name] for name in order))


def _tool(server: Server, tool: OfferedTool, name: str) -> McpTool:
    async def call(arguments: JsonObject) -> str:
        return await server.call(tool.name, arguments, tool.promised)

    config = server.config
    spec = ToolSpec(
        name,
        tool.description or tool.name,
        tool.parameters,
        server.call_seconds,
        effect=tool.effect,
        approval="never" if tool.name in config.approved else config.approval,
    )
    return McpTool(spec, tool.validator, call)


def _missing(state: ServerState) -> RequiredToolError:
    why = state.error or "it is disabled"
    return RequiredToolError(
        f"The required MCP server {state.name!r} cannot be used: {why}",
        hint=state.hint or "Enable it, or do not require it.",
    )
