"""`agentkit mcp list`, `test` and `logs`: what became of servers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio

from agentkit.cli._exit import Exit
from agentkit.cli._mcp_open import find, logs_of, only, with_servers
from agentkit.cli._outcome import print_json
from agentkit.cli._terminal import note, say, stdout_console
from agentkit.cli.mcp import must_read_servers, read_servers
from agentkit.errors import InvalidTaskError, ToolError
from agentkit.mcp import McpConfig, McpServers, ServerConfig, ServerState, log_of
from agentkit.messages import JsonObject
from agentkit.settings import Settings, read_settings
from agentkit.trace.words import plural, printable, shortened

if TYPE_CHECKING:
    from rich.table import Table

_LOG_LINE = 300  # characters of a line of a server's log
_ANSWER = 300
_LAST_LINES = 5
_LAST_WORDS = " It said: "  # in an error, before the end of the log
_CHARS_A_TOKEN = 4
_WATCH_SECONDS = 2.0
_MARKS = {"ready": ("✓", "green"), "failed": ("✗", "red"), "disabled": ("-", "dim")}


@dataclass(frozen=True, slots=True)
class Trial:
    """The call with which a server is tried.

    Attributes:
        tool: by the server's own name; "" for one that asks for nothing and says that it only reads.
    """

    tool: str = ""
    arguments: JsonObject = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, tool: str | None, arguments: str, server: str | None) -> "Trial":
        """Return the trial that a command line asks for.

        Raises:
            InvalidTaskError: it makes no sense.
        """
        try:
            given: object = json.loads(arguments)
        except ValueError as error:
            raise InvalidTaskError(
                f"--arguments is no JSON: {error}.", hint="""Write '{"text": "hello"}'."""
            ) from error
        if not isinstance(given, dict):
            raise InvalidTaskError(
                "--arguments must be a JSON object.", hint="""Write '{"text": "hello"}'."""
            )
        if tool is not None and server is None:
            raise InvalidTaskError("--call needs the NAME of the server.")
        if given and tool is None:
            raise InvalidTaskError("--arguments needs --call TOOL.")
        return cls(tool or "", cast("JsonObject", given))


@dataclass(frozen=True, slots=True)
class _Tried:
    """What came of trying a server."""

    called: str = ""
    answer: str = ""
    ok: bool = True


def show_servers(file: Path | None, *, watch: bool, as_json: bool) -> Exit:
    """Start all servers and show what became of them, once or again and again."""
    settings = read_settings()
    config = read_servers(settings, file)
    if config is None or not config.servers:
        return _nothing(as_json=as_json)
    known = config
    shown: list[tuple[ServerState, float | None]] = []

    async def look(opened: McpServers) -> Exit:
        if watch:
            await _watch(known, opened)
        latencies = await _latencies(opened)
        shown.extend((state, latencies.get(state.name)) for state in opened.states)
        return Exit.OK

    code = with_servers(settings, config, look)
    if as_json:
        print_json([_as_json(state, latency) for state, latency in shown])
    else:
        latencies = {state.name: latency for state, latency in shown if latency is not None}
        stdout_console().print(_table(config, [state for state, _ in shown], latencies))
        servers = {one.name: one for one in config.servers}
        for state, _ in shown:
            _tell_trouble(state)
            for remark in _remarks(state):
                note(f"• MCP {state.name!r}: {remark}")
            _tell_lacking(state, servers[state.name])
    return code


def try_servers(file: Path | None, name: str | None, trial: Trial, *, as_json: bool) -> Exit:
    """Start servers, call a tool of each, and fail unless all of it works."""
    settings = read_settings()
    config = read_servers(settings, file)
    if config is None or not config.servers:
        return _nothing(as_json=as_json)
    if name is not None:
        config = only(config, name)
    servers = {one.name: one for one in config.servers}
    states: list[ServerState] = []
    tried: dict[str, _Tried] = {}
    latencies: dict[str, float] = {}

    async def attempt(opened: McpServers) -> Exit:
        latencies.update(await _latencies(opened))
        for state in opened.states:
            if state.status == "ready":
                tried[state.name] = await _try(opened, state, trial)
        states.extend(opened.states)
        failed = any(
            state.status == "failed" or _lacking(state, servers[state.name]) for state in states
        )
        return Exit.TOOL if failed or not all(one.ok for one in tried.values()) else Exit.OK

    code = with_servers(settings, config, attempt)
    if as_json:
        print_json([_as_json(one, latencies.get(one.name), tried.get(one.name)) for one in states])
        return code
    stdout_console().print(_table(config, states, latencies))
    for state in states:
        _tell_details(state, tried.get(state.name), servers[state.name], settings)
    return code


def show_log(file: Path | None, name: str, lines: int) -> None:
    """Show the end of what a server has written."""
    settings = read_settings()
    server = find(must_read_servers(settings, file), name)
    path = log_of(logs_of(settings), server.name)
    found = _last_lines(path, server, lines)
    if not found:
        note(f"The MCP server {server.name!r} has written nothing into {path}.")
    for line in found:
        say(line)


def _nothing(*, as_json: bool) -> Exit:
    note("There are no MCP servers: no mcp_servers.json in this folder, and no --file.")
    if as_json:
        print_json([])
    return Exit.OK


async def _latencies(opened: McpServers) -> dict[str, float]:
    """Return the seconds in which each server answers that is ready and does."""
    found: dict[str, float] = {}

    async def ask(name: str) -> None:
        try:
            found[name] = await opened.ping(name)
        except ToolError as error:
            note(f"✗ {error}")

    async with anyio.create_task_group() as asking:
        for state in opened.states:
            if state.status == "ready":
                asking.start_soon(ask, state.name)
    return found


async def _watch(config: McpConfig, opened: McpServers) -> None:
    from rich.live import Live

    with Live(console=stdout_console(), auto_refresh=False) as live:
        while True:
            latencies = await _latencies(opened)
            live.update(_table(config, opened.states, latencies), refresh=True)
            await anyio.sleep(_WATCH_SECONDS)


async def _try(opened: McpServers, state: ServerState, trial: Trial) -> _Tried:
    own = trial.tool or state.trial
    if not own:
        return _Tried()
    name = state.names.get(own, own)
    tool = next((one for one in opened.tools if one.spec.name == name), None)
    if tool is None:
        known = ", ".join(state.names) or "none"
        return _Tried(own, f"There is no tool {own!r}. There are: {known}.", ok=False)
    try:
        answer = await tool.call(tool.validate(trial.arguments))
    except ToolError as error:
        return _Tried(own, str(error), ok=False)
    return _Tried(own, answer)


def _as_json(
    state: ServerState, latency: float | None, tried: _Tried | None = None
) -> dict[str, Any]:
    tokens = state.schema_chars // _CHARS_A_TOKEN
    document = {**asdict(state), "schema_tokens": tokens, "latency_seconds": latency}
    return document if tried is None else document | {"call": asdict(tried)}


def _table(
    config: McpConfig, states: Sequence[ServerState], latencies: Mapping[str, float]
) -> "Table":
    from rich.table import Table
    from rich.text import Text

    servers = {one.name: one for one in config.servers}
    table = Table.grid(padding=(0, 2))
    for state in states:
        ready = state.status == "ready"
        latency = latencies.get(state.name)
        table.add_row(
            Text(*_MARKS[state.status]),
            Text(state.name, "cyan"),
            state.status,
            _count(state) if ready else "",
            f"~{state.schema_chars // _CHARS_A_TOKEN:,} tokens" if ready else "",
            f"up in {state.seconds:.1f} s" if ready else "",
            f"answers in {latency * 1000:.0f} ms" if latency is not None else "",
            plural(state.restarts, "restart") if ready else "",
            Text(printable(servers[state.name].target), "dim"),
        )
    return table


def _count(state: ServerState) -> str:
    withheld = f", {len(state.withheld)} withheld" if state.withheld else ""
    return f"{plural(len(state.tools), 'tool')}{withheld}"


def _tell_trouble(state: ServerState) -> None:
    if state.status == "failed":
        note(f"✗ MCP {state.name!r}: {state.error}")
        if state.hint:
            note(f"  Fix: {state.hint}")
    if state.withheld:
        note(f"• MCP {state.name!r} withholds {', '.join(state.withheld)}.")
        note(f"  Fix: agentkit mcp trust {state.name} shows what has changed, and approves it.")


def _remarks(state: ServerState) -> list[str]:
    """Return what was left out and why, but for what is withheld, which is told by itself."""
    withheld = tuple(f"tool {name!r}: " for name in state.withheld)
    return [printable(remark) for remark in state.notes if not remark.startswith(withheld)]


def _lacking(state: ServerState, server: ServerConfig) -> list[str]:
    """Return the tools that its entry names, but that are neither offered nor withheld."""
    if state.status != "ready":
        return []
    there = {*state.names, *state.withheld}
    return [name for name in server.include if server.wants(name) and name not in there]


def _tell_lacking(state: ServerState, server: ServerConfig) -> None:
    if lacking := _lacking(state, server):
        note(f"✗ MCP {state.name!r} has not what 'includeTools' names: {', '.join(lacking)}.")
        note("  Fix: Correct 'includeTools' of this server, or take it out to see all its tools.")


def _tell_details(
    state: ServerState, tried: _Tried | None, server: ServerConfig, settings: Settings
) -> None:
    from rich.text import Text

    console = stdout_console()
    if state.status == "ready":
        console.print(Text(f"  {state.name}: {', '.join(state.tools) or 'no tools'}"))
        console.print(Text(f"  {state.name}: protocol {state.protocol}"))
        if tried is not None and tried.called:
            mark = ("✓", "green") if tried.ok else ("✗", "red")
            said = shortened(printable(tried.answer), _ANSWER)
            console.print(Text.assemble(f"  {state.name}: {tried.called} ", mark, f" {said}"))
        elif tried is not None:
            console.print(Text(f"  {state.name}: no tool to try; --call TOOL names one", "dim"))
        for remark in state.notes:
            console.print(Text(f"  {state.name}: {printable(remark)}", "yellow"))
    lines = _end_of_log(state, tried, server, settings)
    error = state.error.partition(_LAST_WORDS)[0] if lines else state.error
    _tell_trouble(replace(state, error=error))
    _tell_lacking(state, server)
    for line in lines:
        note(f"  | {shortened(line, _LOG_LINE)}")


def _end_of_log(
    state: ServerState, tried: _Tried | None, server: ServerConfig, settings: Settings
) -> list[str]:
    """Return what a server has said just now, and what is told of its call does not say."""
    if not server.command or (state.status != "ready" and _LAST_WORDS not in state.error):
        return []  # what there may be is of another time
    told = "" if tried is None else shortened(printable(tried.answer), _ANSWER)
    found = _last_lines(log_of(logs_of(settings), server.name), server, _LAST_LINES)
    return [line for line in found if " ".join(line.split()) not in told]


def _last_lines(path: Path, server: ServerConfig, lines: int) -> list[str]:
    """Return the end of a log without secrets: it may be older than the care that is taken now."""
    try:
        found = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:  # it never came to write one
        return []
    return [server.redact(line) for line in found]
