"""From a configuration to the tools of its servers; the SDK is loaded with this module."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from agentkit.errors import RequiredToolError, ToolError
from agentkit.mcp._config import McpConfig, ServerConfig
from agentkit.mcp._names import choose_names
from agentkit.mcp._offer import OfferedTool
from agentkit.mcp._reading import Reading
from agentkit.mcp._server import Server
from agentkit.mcp._state import Difference, Prompt, Resource, ServerState
from agentkit.mcp._surroundings import Surroundings
from agentkit.mcp._text import one_line
from agentkit.mcp._tool import McpTool
from agentkit.messages import JsonObject, ToolSpec
from agentkit.protocols import Tool

if TYPE_CHECKING:
    from agentkit.mcp._listing import Listing

_LONGEST_NAME = 60
_FIRST_REST = 5.0
_LONGEST_REST = 300.0
"""Between two attempts at a server that could not be started."""


class Opened:
    """Opens servers in parallel, follows what becomes of them, and closes them; see `McpServers`."""

    def __init__(
        self,
        config: McpConfig,
        around: Surroundings,
        tasks: TaskGroup,
        taken: Sequence[str],
        report: Callable[[ServerState], None],
    ) -> None:
        self._config = config
        self._around = around
        self._tasks = tasks
        self._taken = taken
        self._report = report
        self._servers: dict[str, Server] = {}
        self._states: dict[str, ServerState] = {}
        self._reviewed: dict[str, Listing] = {}
        self._given: dict[tuple[str, str], str] = {}
        self._made: dict[str, tuple[OfferedTool, McpTool]] = {}
        self._tools: tuple[Tool, ...] = ()
        self._following = anyio.CancelScope()
        self._settled = False
        self.version = 0

    async def open(self) -> None:
        """Return when each server is ready or has failed.

        Raises:
            RequiredToolError: a required server cannot be used.
        """
        missing: list[RequiredToolError] = []
        async with anyio.create_task_group() as settling:

            async def settle(server: ServerConfig) -> None:
                state = await self._settle(server)
                self._report(state)
                if server.required and (why := _why_missing(state)):
                    missing.append(_missing(state, why))
                    settling.cancel_scope.cancel()  # no need to wait for the others

            for server in self._config.servers:
                settling.start_soon(settle, server)
        if missing:
            raise missing[0]
        self._settled = True
        self._publish()
        self._tasks.start_soon(self._follow)

    async def close(self) -> None:
        """End all servers at once and wait until nothing is left of them."""
        self._following.cancel()
        for server in self._servers.values():
            server.connection.end()
        for server in self._servers.values():
            await server.connection.ended.wait()

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Tools of all servers that are ready."""
        return self._tools

    @property
    def states(self) -> tuple[ServerState, ...]:
        """One for each server, in the order of the configuration."""
        return tuple(self._state_now(one.name) for one in self._config.servers)

    @property
    def missing(self) -> str:
        """What is not there, in a few lines."""
        lines: list[str] = []
        for state in self._states.values():
            # No name of a tool: a server could write there what it likes, in the system's place.
            name = repr(one_line(state.name, _LONGEST_NAME))
            if state.status == "failed":
                lines.append(
                    f"- The tools of the MCP server {name} are not there: it could not be started."
                )
            if state.withheld:
                lines.append(
                    f"- {len(state.withheld)} of the tools of the MCP server {name} cannot be used: "
                    "a person has to approve what has changed."
                )
        return "\n".join(lines)

    async def ping(self, name: str) -> float:
        """Return the seconds in which a server answers."""
        began = anyio.current_time()
        await self._server(name).request(lambda client: client.list_tools(cache_mode="bypass"))
        return anyio.current_time() - began

    async def review(self, name: str) -> tuple[Difference, ...]:
        """Return what of a server's tools is not as it was approved."""
        server = self._server(name)
        self._reviewed[name] = server.listing
        return await server.review(self._reviewed[name])

    async def approve(self, name: str) -> None:
        """Approve the tools of a server as they were reviewed last."""
        server = self._server(name)
        await server.approve(self._reviewed.get(name, server.listing))

    async def resources(self, name: str) -> tuple[Resource, ...]:
        """Return what a server lets read."""
        return await self._reading(name).resources()

    async def read(self, name: str, uri: str) -> str:
        """Return a resource as text."""
        return await self._reading(name).read(uri)

    async def prompts(self, name: str) -> tuple[Prompt, ...]:
        """Return the prompts that a server writes."""
        return await self._reading(name).prompts()

    async def prompt(self, name: str, prompt: str, arguments: Mapping[str, str]) -> str:
        """Return a prompt, written with these arguments."""
        return await self._reading(name).prompt(prompt, arguments)

    def _server(self, name: str) -> Server:
        server = self._servers.get(name)
        if server is None or self._states[name].status != "ready":
            raise ToolError(f"The MCP server {name!r} is not there.")
        return server

    def _reading(self, name: str) -> Reading:
        return Reading(self._server(name), self._around.media)

    async def _settle(self, config: ServerConfig) -> ServerState:
        name = config.name
        if config.disabled or config.problem:
            self._states[name] = ServerState(
                name=name,
                status="disabled" if config.disabled else "failed",
                error="" if config.disabled else config.problem,
                hint="" if config.disabled else config.hint,
            )
            return self._states[name]
        began = anyio.current_time()
        self._servers[name] = Server(
            config, self._around, self._tasks.start_soon, partial(self._changed, name)
        )
        await self._wait_for(name, began)
        return self._states[name]

    async def _wait_for(self, name: str, began: float) -> bool:
        """Wait until a server is ready or has failed, and take note of which."""
        server = self._servers[name]
        connection = server.connection
        await connection.opened.wait()
        failure, seconds = connection.failure, anyio.current_time() - began
        if failure is None:
            state = ServerState(name=name, status="ready", seconds=seconds)
            self._states[name] = replace(state, **_offered(server))
        else:
            self._states[name] = ServerState(
                name=name,
                status="failed",
                error=str(failure),
                hint=failure.hint,
                seconds=seconds,
            )
        return failure is None

    def _changed(self, name: str) -> None:
        """Take note of what a server that is ready offers now."""
        state = self._states.get(name)
        if state is not None and state.status == "ready":
            self._states[name] = replace(state, **_offered(self._servers[name]))
            self._publish()

    async def _follow(self) -> None:
        """Try those that have failed again, and let those sleep that nobody needs."""
        with self._following:
            async with anyio.create_task_group() as tasks:
                for name, server in self._servers.items():
                    if self._states[name].status == "failed":
                        tasks.start_soon(self._recover, name)
                    if server.config.idle_seconds is not None:
                        tasks.start_soon(server.sleep_when_idle, server.config.idle_seconds)

    async def _recover(self, name: str) -> None:
        rest = _FIRST_REST
        while True:
            await anyio.sleep(rest)
            rest = min(rest * 2, _LONGEST_REST)
            began = anyio.current_time()
            self._servers[name].connect_again()
            if await self._wait_for(name, began):
                self._publish()
                self._report(self._states[name])
                return

    def _publish(self) -> None:
        """Name the tools of all servers that are ready."""
        if not self._settled:
            return
        order = [one.name for one in self._config.servers]
        ready = [name for name in order if self._states[name].status == "ready"]
        offers = [
            (self._servers[name].config, list(self._servers[name].offer.tools)) for name in ready
        ]
        tools: list[Tool] = []
        chosen = choose_names(offers, self._taken, self._given, order)
        used = {*self._taken, *(name for names in chosen for name in names.values())}
        for name, names in zip(ready, chosen, strict=True):
            server = self._servers[name]
            self._given |= {(name, tool): given for tool, given in names.items()}
            own = [self._tool(server, server.offer.tools[tool], names[tool]) for tool in names]
            reading = Reading(server, self._around.media).tools(used)
            used |= {tool.spec.name for tool in reading}
            own += reading
            tools += sorted(own, key=lambda tool: tool.spec.name)
            shown = tuple(sorted(tool.spec.name for tool in own))
            self._states[name] = replace(self._states[name], tools=shown, names=names)
        self._tools = tuple(tools)
        self.version += 1

    def _tool(self, server: Server, offered: OfferedTool, name: str) -> Tool:
        """Return the tool of that name: the same object, as long as it is the same tool."""
        made = self._made.get(name)
        if made is None or made[0] is not offered:
            self._made[name] = (offered, _tool(server, offered, name))
        return self._made[name][1]

    def _state_now(self, name: str) -> ServerState:
        state, server = self._states[name], self._servers.get(name)
        if server is None or state.status != "ready":
            return state
        return replace(state, restarts=server.restarts, protocol=server.protocol)


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
        untrusted=not config.trusted,
        open_world=True,
        allowed=tool.name in config.approved,
    )
    return McpTool(spec, tool.validator, call)


def _offered(server: Server) -> dict[str, object]:
    """Return what a state says of an offer."""
    offer = server.offer
    return {
        "tools": tuple(sorted(offer.tools)),
        "trial": next((name for name in sorted(offer.tools) if _is_harmless(server, name)), ""),
        "withheld": tuple(sorted(offer.withheld)),
        "notes": (*offer.notes, *(f"tool {name!r}: {why}" for name, why in offer.withheld.items())),
        "schema_chars": offer.schema_chars,
    }


def _is_harmless(server: Server, tool: str) -> bool:
    """Tell whether a tool needs nothing and says that it only reads."""
    needs: object = server.offer.tools[tool].parameters.get("required")
    return not needs and server.listing.tools[tool].effect == "pure"


def _why_missing(state: ServerState) -> str:
    """Return why a required server cannot do what it is required for; empty if it can."""
    if state.status == "disabled":
        return "it is disabled"
    if state.status == "failed":
        return state.error
    if state.withheld and not state.tools:
        return "none of its tools is approved"
    return ""


def _missing(state: ServerState, why: str) -> RequiredToolError:
    usual = "Enable it, or do not require it."
    trust = f"See what has changed, and approve it: agentkit mcp trust {state.name}"
    return RequiredToolError(
        f"The required MCP server {state.name!r} cannot be used: {why}",
        hint=state.hint or (trust if state.withheld else usual),
    )
