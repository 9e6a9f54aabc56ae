"""`agentkit mcp`: the servers of `mcp_servers.json`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending, note, say, stdout_console, tell_if
from agentkit.errors import InvalidTaskError

if TYPE_CHECKING:
    from agentkit.cli._exit import Exit
    from agentkit.mcp import McpConfig, ServerConfig, ServerState
    from agentkit.settings import Settings

app = typer.Typer(help="See and test MCP servers.", no_args_is_help=True, rich_markup_mode=None)

_LOG_LINE = 300  # characters of a line of a server's log
_MARKS = {"ready": ("✓", "green"), "failed": ("✗", "red"), "disabled": ("-", "dim")}

File = Annotated[
    Path | None, typer.Option("--file", "--mcp", help="MCP server file.", metavar="FILE")
]


@app.command("list")
def show_list(file: File = None, as_json: options.AsJson = False) -> None:
    """Start each server, and say what became of it."""
    with ending(tell=tell_if(as_json)):
        raise SystemExit(_run(file, None, as_json=as_json, must_work=False).value)


@app.command("test")
def try_out(
    name: Annotated[str | None, typer.Argument(help="One server.", metavar="[NAME]")] = None,
    file: File = None,
    as_json: options.AsJson = False,
) -> None:
    """Start one server, or all, and fail unless each is ready (exit code 5)."""
    with ending(tell=tell_if(as_json)):
        raise SystemExit(_run(file, name, as_json=as_json, must_work=True).value)


@app.command("logs")
def logs(
    name: Annotated[str, typer.Argument(help="The server.", metavar="NAME")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many.")] = 50,
    file: File = None,
) -> None:
    """Show the end of what a server has written on stderr when it last ran."""
    with ending():
        from agentkit.settings import read_settings

        settings = read_settings()
        config = read_servers(settings, file)
        server = _find(config.servers if config is not None else (), name)
        _show_log(settings.state_dir / "logs", server, lines)


@app.command("import")
def take_over(
    source: Annotated[
        str,
        typer.Argument(
            help="A file, or the host whose files are looked for: claude, vscode, cursor, gemini.",
            metavar="SOURCE",
        ),
    ],
    kind: Annotated[
        Literal["claude", "vscode", "cursor", "gemini", "qwen-agent"] | None,
        typer.Option("--from", help="Whose file it is; seen from it otherwise."),
    ] = None,
    file: File = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it, and write nothing.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also what has the same name here.")
    ] = False,
) -> None:
    """Take over the servers of another host into mcp_servers.json."""
    with ending():
        from agentkit.cli._mcp_import import find_sources, import_servers
        from agentkit.settings import read_settings

        target = file or read_settings().mcp_servers or Path("mcp_servers.json")
        sources = find_sources(source, kind, target)
        import_servers(sources, target, dry_run=dry_run, replace=replace)


def read_servers(settings: "Settings", file: Path | None = None) -> "McpConfig | None":
    """Return the servers of the file given, the settings' file, or that of the working folder.

    Raises:
        ConfigurationError: it cannot be read.
    """
    from agentkit.mcp import read_config

    path = file or settings.mcp_servers
    if path is None and not Path("mcp_servers.json").exists():
        return None
    return read_config(path or Path("mcp_servers.json"), os.environ)


def _run(file: Path | None, name: str | None, *, as_json: bool, must_work: bool) -> "Exit":
    from dataclasses import asdict, replace

    import anyio

    from agentkit.cli._exit import Exit
    from agentkit.cli._outcome import print_json
    from agentkit.cli._signals import Stopper, until_signalled
    from agentkit.settings import read_settings

    settings = read_settings()
    config = read_servers(settings, file)
    if config is None or not config.servers:
        note("There are no MCP servers: no mcp_servers.json in this folder, and no --file.")
        if as_json:
            print_json([])
        return Exit.OK
    if name is not None:
        config = replace(config, servers=_only(config, name))
    # Here a server that is missing is the news, not the end.
    config = replace(config, servers=tuple(replace(one, required=False) for one in config.servers))
    for warning in config.warnings:
        note(f"• {warning}")
    states: list[ServerState] = []

    async def main(_: Stopper) -> Exit:
        from agentkit.mcp import open_servers

        async with open_servers(
            config, timeouts=settings.timeouts, log_dir=settings.state_dir / "logs"
        ) as opened:
            states.extend(opened.states)
        failed = any(state.status == "failed" for state in states)
        return Exit.TOOL if failed and must_work else Exit.OK

    if starting := [one.name for one in config.servers if not one.disabled]:
        note(f"Starting {', '.join(starting)}…")
    code = anyio.run(until_signalled, main, note)
    if as_json:
        print_json([asdict(state) for state in states])
    else:
        _print_table(config, states, settings.state_dir / "logs", details=must_work)
    return code


def _find(servers: "tuple[ServerConfig, ...]", name: str) -> "ServerConfig":
    for one in servers:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in servers) or "none"
    raise InvalidTaskError(f"No MCP server named {name!r}. There are: {known}.")


def _only(config: "McpConfig", name: str) -> "tuple[ServerConfig, ...]":
    found = _find(config.servers, name)
    if found.disabled:
        raise InvalidTaskError(
            f"The MCP server {name!r} is disabled, so nothing was tried.",
            hint='Take "disabled" (or "enabled": false) out of its entry.',
        )
    return (found,)


def _print_table(
    config: "McpConfig", states: "list[ServerState]", logs: Path, *, details: bool
) -> None:
    from rich.table import Table
    from rich.text import Text

    from agentkit.mcp import log_of
    from agentkit.trace.words import plural, printable

    servers = {one.name: one for one in config.servers}
    table = Table.grid(padding=(0, 2))
    for state in states:
        table.add_row(
            Text(*_MARKS[state.status]),
            Text(state.name, "cyan"),
            state.status,
            plural(len(state.tools), "tool") if state.status == "ready" else "",
            f"{state.seconds:.1f} s" if state.seconds else "",
            Text(printable(servers[state.name].target), "dim"),
        )
    console = stdout_console()
    console.print(table)
    for state in states:
        if state.status == "ready" and details:
            console.print(Text(f"  {state.name}: {', '.join(state.tools)}"))
            for remark in state.notes:
                console.print(Text(f"  {state.name}: {printable(remark)}", "yellow"))
        if state.status == "failed":
            note(f"✗ MCP {state.name!r}: {state.error}")
            if state.hint:
                note(f"  Fix: {state.hint}")
            if details:
                _print_log(log_of(logs, state.name), servers[state.name])


def _show_log(logs: Path, server: "ServerConfig", lines: int) -> None:
    from agentkit.mcp import log_of

    path = log_of(logs, server.name)
    found = _last_lines(path, server, lines)
    if not found:
        note(f"The MCP server {server.name!r} has written nothing into {path}.")
    for line in found:
        say(line)


def _print_log(path: Path, server: "ServerConfig") -> None:
    from agentkit.trace.words import shortened

    for line in _last_lines(path, server, 5):
        note(f"  | {shortened(line, _LOG_LINE)}")


def _last_lines(path: Path, server: "ServerConfig", lines: int) -> list[str]:
    """Return the end of a log without secrets: it may be older than the care that is taken now."""
    try:
        found = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:  # it never came to write one
        return []
    return [server.redact(line) for line in found]
