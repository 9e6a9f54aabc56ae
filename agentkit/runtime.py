"""The composition root: the one module that knows every adapter."""

import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from anyio import CancelScope, to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from agentkit.agent import Agent, as_tools
from agentkit.engine import (
    Endpoint,
    Engine,
    GatedModel,
    Profile,
    Progress,
    ServerProfile,
    choose_engine,
    embedded_available,
    ensure_snapshot,
    find_sglang,
    open_embedded,
    open_server,
)
from agentkit.errors import AgentkitError, ConfigurationError, EngineError
from agentkit.loop import Result
from agentkit.mcp import (
    Answerer,
    McpConfig,
    McpServers,
    ServerState,
    config_of,
    open_servers,
    read_config,
)
from agentkit.models import ModelPool, open_pool
from agentkit.policies import PhasedThinking, Plan, Policy
from agentkit.protocols import Approver, Model, Observer, SharedTool, Tool
from agentkit.resilience import retrying
from agentkit.settings import Settings, read_settings
from agentkit.toolkit import RESERVED, Registry, builtin_tools
from agentkit.trace import open_trace
from agentkit.trace.otel import open_otel

_SERVER_FILE = Path("mcp_servers.json")
_STOP_SECONDS = 15.0  # more than the cleanup of a run may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything that runs share: the model, MCP servers, built-in tools, the trace.

    Attributes:
        builtin: the built-in tools.
        mcp: the MCP servers, if there are any.
    """

    settings: Settings
    model: Model
    builtin: tuple[Tool, ...]
    mcp: McpServers | None
    observers: tuple[Observer, ...]
    call_in_loop: Callable[..., Any] | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings | None = None,
        *,
        engine: str | None = None,
        model: Model | None = None,
        mcp_servers: Path | Mapping[str, Any] | None = None,
        with_mcp: bool = True,
        answerer: Answerer | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> AsyncGenerator["Runtime"]:
        """Open a runtime; leaving the block closes all of it.

        Args:
            settings: from the environment and files where not given.
            engine: instead of the settings': "embedded", "url", or the name of a launch profile,
                which is started beside the runtime.
            model: used instead of the one that the settings name.
            mcp_servers: a server file or its content; the settings' file where not given.
            with_mcp: whether to start MCP servers at all.
            answerer: answers what MCP servers ask a person; without one they are told no.
            progress: told about downloads and starts.

        Raises:
            ConfigurationError: settings or the server file are wrong.
            EngineError: the model server cannot be started, or its weights not be had.
            ModelError: the model server cannot be reached.
            RequiredToolError: a required MCP server failed.
        """
        # Settings, server file and entry points are read from disk: not in the loop.
        settings = settings or await to_thread.run_sync(read_settings)
        if engine is not None:
            settings = settings.model_copy(update={"engine": engine})
        builtin = await to_thread.run_sync(builtin_tools, settings.tools)
        config: McpConfig | None = None
        if with_mcp:
            config = await to_thread.run_sync(_server_config, settings, mcp_servers)
        async with AsyncExitStack() as stack:
            observers: tuple[Observer, ...] = ()
            if settings.trace:
                trace = open_trace(settings.trace_dir, secrets=_secrets(settings, config))
                observers = (await stack.enter_async_context(trace),)
            if (spans := await stack.enter_async_context(open_otel())) is not None:
                observers = (*observers, spans)
            if model is None:
                model = await _open_model(stack, settings, progress)
            builtin = tuple([await _opened(stack, tool) for tool in builtin])
            mcp: McpServers | None = None
            if config is not None:
                mcp = await stack.enter_async_context(
                    open_servers(
                        config,
                        timeouts=settings.timeouts,
                        taken_names=[*(tool.spec.name for tool in builtin), *RESERVED],
                        log_dir=settings.state_dir / "logs",
                        pins_dir=settings.pins_dir,
                        media_dir=settings.state_dir / "media",
                        oauth_dir=settings.oauth_dir,
                        answerer=answerer,
                    )
                )
            yield cls(settings=settings, model=model, builtin=builtin, mcp=mcp, observers=observers)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Built-in tools first, then those that MCP servers offer now, in an order that stays."""
        return (*self.builtin, *(self.mcp.tools if self.mcp is not None else ()))

    @property
    def servers(self) -> tuple[ServerState, ...]:
        """What became of each MCP server, as of now."""
        return () if self.mcp is None else tuple(self.mcp.states)

    @classmethod
    @contextmanager
    def open_sync(cls, settings: Settings | None = None, **options: Any) -> Generator["Runtime"]:
        """Open a runtime in a thread of its own, for code that is not async.

        Takes what `open` takes. Its agents have `run_sync`; works in notebooks too.

        Raises:
            AgentkitError: as `open` does.
        """
        with (
            start_blocking_portal("asyncio") as portal,
            portal.wrap_async_context_manager(cls.open(settings, **options)) as runtime,
        ):
            yield replace(runtime, call_in_loop=partial(_call, portal))

    def agent(
        self,
        *,
        name: str = "agent",
        instructions: str = "",
        tools: Iterable[Tool | Callable[..., Any]] = (),
        builtin: bool = True,
        thinking: PhasedThinking | None = None,
        plan: Plan | None = None,
        policy: Policy | None = None,
        observers: Iterable[Observer] = (),
        approver: Approver | None = None,
        description: str = "",
        handoffs: Iterable[Agent] = (),
    ) -> Agent:
        """Return an agent with the runtime's tools and some of its own.

        A run of it has the tools that MCP servers offer when it begins, and its model is told
        which are not there.

        Args:
            name: shown in traces.
            instructions: standing orders, the system prompt.
            tools: typed functions or tools, offered first; one that has the name of a shared tool
                takes its place.
            builtin: whether to offer the runtime's built-in tools and MCP tools too.
            thinking: the settings' where not given.
            plan: the settings' where not given.
            policy: the settings' where not given.
            observers: see every event, beside the trace.
            approver: asks a person about calls that want it; without one such a run pauses.
            description: what it is good for, where another agent uses it.
            handoffs: agents that it may hand a run over to.

        Raises:
            ConfigurationError: two of `tools` have one name, or a function has no types.
        """
        own = as_tools(tools)
        taken = {tool.spec.name for tool in own}
        shared = [tool for tool in self.builtin if builtin and tool.spec.name not in taken]
        return Agent(
            name=name,
            model=self.model,
            registry=Registry([*own, *shared]),
            instructions=instructions,
            policy=policy or self.settings.policy,
            thinking=self.settings.thinking if thinking is None else thinking,
            plan=self.settings.plan if plan is None else plan,
            observers=(*self.observers, *observers),
            approver=approver,
            description=description,
            handoffs=tuple(handoffs),
            results_dir=self.settings.state_dir / "results",
            source=self.mcp if builtin else None,
            schema_share=self.settings.schema_share,
            call_in_loop=self.call_in_loop,
        )


async def _opened(stack: AsyncExitStack, tool: Tool) -> Tool:
    """Let a tool hold for the runtime's time what its runs share."""
    return await stack.enter_async_context(tool.opened()) if isinstance(tool, SharedTool) else tool


def _call(portal: BlockingPortal, job: Callable[[], Awaitable[Result]]) -> Result:
    """Do a job in the portal's loop; where the caller is interrupted, the job is cancelled first."""
    over, unwanted, scopes = Event(), Event(), deque[CancelScope]()

    async def tracked() -> Result:
        try:
            with CancelScope() as scope:
                scopes.append(scope)
                if unwanted.is_set():
                    scope.cancel()
                return await job()
            raise AgentkitError("The run was cancelled.")
        finally:
            over.set()

    def stop() -> None:
        for scope in scopes:
            scope.cancel()

    try:
        return portal.start_task_soon(tracked).result()
    except BaseException:  # KeyboardInterrupt, in a notebook as well, at any moment
        unwanted.set()
        portal.call(stop)
        over.wait(_STOP_SECONDS)
        raise


def _secrets(settings: Settings, config: McpConfig | None) -> list[str]:
    """Values that no trace may show; those of the environment it knows by itself."""
    key = [settings.api_key.get_secret_value()] if settings.api_key else []
    servers = config.servers if config else ()
    return [*key, *(secret for server in servers for secret in server.secrets)]


def _server_config(settings: Settings, given: Path | Mapping[str, Any] | None) -> McpConfig | None:
    if isinstance(given, Mapping):
        return config_of(given, os.environ)
    path = given or settings.mcp_servers
    if path is None and not _SERVER_FILE.exists():
        return None
    return read_config(path or _SERVER_FILE, os.environ)


async def _open_model(
    stack: AsyncExitStack, settings: Settings, progress: Callable[[Progress], None]
) -> Model:
    pool = await stack.enter_async_context(open_pool())
    if settings.engine == "url" and settings.base_url is None:
        raise ConfigurationError(
            "engine is 'url', but there is no base_url.",
            hint="Set AGENTKIT_BASE_URL, for example http://127.0.0.1:30000/v1.",
        )
    if settings.engine in {"auto", "url"} and settings.base_url is not None:
        return await _connect(pool, settings, progress)
    engine = await to_thread.run_sync(engine_of, settings)
    if isinstance(engine, ServerProfile):
        endpoint = await stack.enter_async_context(open_server_of(engine, settings, progress))
    else:
        endpoint = await _open_embedded(stack, engine, settings, progress)
    model = await pool.connect(
        endpoint.base_url,
        api_key=endpoint.api_key,
        model=endpoint.model,
        backend=endpoint.backend,
        tool_calls=settings.tool_calls,
        small=endpoint.small if settings.small_model is None else settings.small_model,
        quantised=endpoint.quantised,
        sampling=settings.sampling,
        strict_tools=settings.strict_tools,
        connect_seconds=settings.timeouts.connect or 5.0,
        traffic=settings.traffic,
    )
    return GatedModel(model, endpoint.gate)


async def _connect(
    pool: ModelPool, settings: Settings, progress: Callable[[Progress], None]
) -> Model:
    connect = partial(
        pool.connect_all,
        settings.base_urls,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        model=settings.model,
        tool_calls=settings.tool_calls,
        small=settings.small_model,
        sampling=settings.sampling,
        strict_tools=settings.strict_tools,
        connect_seconds=settings.timeouts.connect or 5.0,
        traffic=settings.traffic,
    )
    return await retrying(settings.retry, connect, partial(_tell_retry, progress))


def engine_of(settings: Settings) -> Engine:
    """Return the engine of ours that the settings mean; looks at GPUs and files.

    Raises:
        ConfigurationError: there is no such profile.
        EngineError: it does not fit this machine.
    """
    return choose_engine(
        settings.engine,
        weights=settings.weights,
        python=settings.server_python,
        data_dir=settings.data_dir,
        port=settings.server_port,
    )


@asynccontextmanager
async def open_server_of(
    profile: ServerProfile,
    settings: Settings,
    progress: Callable[[Progress], None],
    *,
    keep_alive: float | None = None,
) -> AsyncGenerator[Endpoint]:
    """Start or share the server of a profile, its weights fetched before.

    Raises:
        EngineError: it is not installed, or cannot be started.
    """
    python = await to_thread.run_sync(find_sglang, settings.server_python, settings.data_dir)
    if python is None:
        raise EngineError(
            f"{profile.name} needs a model server, and none is installed.",
            hint="agentkit server install; or AGENTKIT_SERVER_PYTHON names an environment with one.",
        )
    weights = await ensure_snapshot(profile, settings.cache_dir, progress, hub=settings.hub)
    async with open_server(
        profile,
        python=python,
        weights=weights,
        state_dir=settings.state_dir,
        api_key=settings.api_key.get_secret_value() if settings.api_key else "",
        keep_alive=settings.engine_keep_alive if keep_alive is None else keep_alive,
        progress=progress,
    ) as endpoint:
        yield endpoint


def _tell_retry(
    progress: Callable[[Progress], None], attempt: int, delay: float, error: AgentkitError
) -> None:
    why = str(error).rstrip(".")
    progress(Progress("load", detail=f"{why}. Attempt {attempt} follows in {delay:.1f} s."))


async def _open_embedded(
    stack: AsyncExitStack,
    profile: Profile,
    settings: Settings,
    progress: Callable[[Progress], None],
) -> Endpoint:
    missing = await to_thread.run_sync(embedded_available)
    if missing:
        raise EngineError(
            f"There is no model server: base_url is not set, and {missing}",
            hint="Set AGENTKIT_BASE_URL to a server you run, or install qwen-agentkit[local].",
        )
    return await stack.enter_async_context(
        open_embedded(
            profile,
            cache_dir=settings.cache_dir,
            state_dir=settings.state_dir,
            keep_alive=settings.engine_keep_alive,
            progress=progress,
        )
    )
