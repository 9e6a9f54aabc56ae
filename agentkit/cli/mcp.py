"""`agentkit mcp`: the servers of `mcp_servers.json`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending, say, tell_if
from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from agentkit.mcp import McpConfig
    from agentkit.settings import Settings

app = typer.Typer(
    help="See, try, change and trust MCP servers.", no_args_is_help=True, rich_markup_mode=None
)

File = Annotated[
    Path | None, typer.Option("--file", "--mcp", help="MCP server file.", metavar="FILE")
]
Name = Annotated[str, typer.Argument(help="The server.", metavar="NAME")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def show_list(
    file: File = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Start each server, and say what became of it and what it costs."""
    with ending(tell=tell_if(as_json)):
        from agentkit.cli._mcp_show import show_servers

        raise SystemExit(show_servers(file, watch=watch, as_json=as_json).value)


@app.command("test")
def try_out(
    name: Annotated[str | None, typer.Argument(help="One server.", metavar="[NAME]")] = None,
    call: Annotated[
        str | None,
        typer.Option(
            help="Tool to call, by the server's own name; one that needs nothing and only reads "
            "otherwise.",
            metavar="TOOL",
        ),
    ] = None,
    arguments: Annotated[
        str, typer.Option(help="Its arguments, a JSON object.", metavar="JSON")
    ] = "{}",
    file: File = None,
    as_json: options.AsJson = False,
) -> None:
    """Start one server, or all; list its tools, call one, and fail unless each is ready (exit code 5)."""
    with ending(tell=tell_if(as_json)):
        from agentkit.cli._mcp_show import Trial, try_servers

        trial = Trial.of(call, arguments, name)
        raise SystemExit(try_servers(file, name, trial, as_json=as_json).value)


@app.command("add", context_settings={"allow_interspersed_args": False})
def add(
    name: Name,
    target: Annotated[
        list[str],
        typer.Argument(help="A command with its arguments, or a URL.", metavar="COMMAND...|URL"),
    ],
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", help="Variable for the command.", metavar="NAME=VALUE"),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", help="Header for the URL.", metavar="NAME:VALUE"),
    ] = None,
    kind: Annotated[
        Literal["http", "sse"] | None, typer.Option("--type", help="How the URL is spoken to.")
    ] = None,
    required: Annotated[
        bool, typer.Option("--required", help="Without it, nothing starts.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Also if there is one.")] = False,
    file: File = None,
) -> None:
    """Add a server to mcp_servers.json; options come before its name."""
    with ending():
        from agentkit.cli._mcp_edit import Addition, add_server

        addition = Addition.of(name, target, env or [], header or [], kind, required=required)
        add_server(_target_file(file), addition, replace=replace)


@app.command("remove")
def remove(name: Name, file: File = None) -> None:
    """Take a server out of mcp_servers.json; forget what was approved of it, and its logins."""
    with ending():
        from agentkit.cli._mcp_edit import remove_server
        from agentkit.settings import read_settings

        remove_server(_target_file(file), name, read_settings())


@app.command("trust")
def trust(
    name: Name,
    file: File = None,
    yes: Yes = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Approve nothing of it any more.")
    ] = False,
) -> None:
    """Show what a server's tools are now and were when they were approved, and approve them."""
    with ending():
        from agentkit.cli._mcp_trust import forget_server, trust_server

        if forget:
            forget_server(file, name)
        else:
            raise SystemExit(trust_server(file, name, yes=yes).value)


@app.command("login")
def login(
    name: Name,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the address, or only print it.")
    ] = True,
    file: File = None,
) -> None:
    """Log in to a server that wants OAuth, in a browser; the login is kept."""
    with ending():
        from agentkit.cli._mcp_login import log_in_to

        raise SystemExit(log_in_to(file, name, browser=browser).value)


@app.command("logout")
def logout(name: Name, file: File = None) -> None:
    """Forget the login at a server."""
    with ending():
        from agentkit.cli._mcp_login import log_out_of

        log_out_of(file, name)


@app.command("resources")
def resources(
    name: Name,
    uri: Annotated[
        str | None, typer.Argument(help="What to read; lists them all otherwise.", metavar="[URI]")
    ] = None,
    file: File = None,
    as_json: options.AsJson = False,
) -> None:
    """List what a server lets read, or read one of it."""
    with ending(tell=tell_if(as_json)):
        from agentkit.cli._mcp_read import show_resources

        raise SystemExit(show_resources(file, name, uri, as_json=as_json).value)


@app.command("prompts")
def prompts(
    name: Name,
    prompt: Annotated[
        str | None, typer.Argument(help="Which to write; lists them otherwise.", metavar="[PROMPT]")
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Its arguments.", metavar="[KEY=VALUE]...")
    ] = None,
    file: File = None,
    as_json: options.AsJson = False,
) -> None:
    """List the prompts of a server, or have it write one."""
    with ending(tell=tell_if(as_json)):
        from agentkit.cli._mcp_read import show_prompts

        code = show_prompts(file, name, prompt, arguments or [], as_json=as_json)
        raise SystemExit(code.value)


@app.command("logs")
def logs(
    name: Name,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many.")] = 50,
    file: File = None,
) -> None:
    """Show the end of what a server has written on stderr when it last ran."""
    with ending():
        from agentkit.cli._mcp_show import show_log

        show_log(file, name, lines)


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of mcp_servers.json, for editors."""
    with ending():
        from agentkit.mcp import config_schema

        say(config_schema(), end="")


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

        target = _target_file(file)
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


def _target_file(file: Path | None) -> Path:
    """Return the file that is changed; it need not be there."""
    from agentkit.settings import read_settings

    return file or read_settings().mcp_servers or Path("mcp_servers.json")


def must_read_servers(settings: "Settings", file: Path | None) -> "McpConfig":
    """Return the servers, where a command makes no sense without any.

    Raises:
        ConfigurationError: there are none, or the file cannot be read.
    """
    config = read_servers(settings, file)
    if config is None or not config.servers:
        raise ConfigurationError(
            "There are no MCP servers: no mcp_servers.json in this folder, and no --file.",
            hint="agentkit mcp add NAME COMMAND..., or agentkit mcp import HOST.",
        )
    return config
