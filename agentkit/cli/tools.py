"""`agentkit tools`: what an agent can do here, and trying it by hand."""

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from agentkit.cli import _options as options
from agentkit.cli._stdin import read_stdin
from agentkit.cli._terminal import ending, note, say, stdout_console, tell_if
from agentkit.errors import InvalidTaskError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agentkit.cli._exit import Exit
    from agentkit.messages import JsonObject, ToolSpec
    from agentkit.protocols import Tool
    from agentkit.runtime import Runtime

app = typer.Typer(
    help="See and try the tools of an agent.", no_args_is_help=True, rich_markup_mode=None
)

_CHARS_PER_TOKEN = 3.5  # of JSON and English; a guess, and shown as one

Name = Annotated[str, typer.Argument(help="Name of the tool.", metavar="NAME")]


@app.command("list")
def show_list(
    mcp: options.McpFile = None,
    no_mcp: options.NoMcp = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> None:
    """List the built-in tools and those of MCP servers."""

    async def print_list(runtime: "Runtime") -> None:
        if as_json:
            from agentkit.cli._outcome import print_json

            print_json([_as_json(tool.spec) for tool in runtime.tools])
        else:
            _print_table(runtime)

    _with_tools(print_list, mcp=mcp, with_mcp=not no_mcp, verbose=verbose, as_json=as_json)


@app.command("show")
def show(
    name: Name,
    mcp: options.McpFile = None,
    no_mcp: options.NoMcp = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what a model is told about a tool."""

    async def print_spec(runtime: "Runtime") -> None:
        from agentkit.cli._outcome import print_json

        spec = _find(runtime, name).spec
        if as_json:
            print_json(_as_json(spec))
            return
        say(f"{spec.name}: {spec.description}")
        if spec.timeout_seconds is not None:
            say(f"Limit of one call: {spec.timeout_seconds:g} s")
        print_json(dict(spec.parameters), indent=2)

    _with_tools(print_spec, mcp=mcp, with_mcp=not no_mcp, verbose=verbose, as_json=as_json)


@app.command("call")
def call(
    name: Name,
    arguments: Annotated[
        str, typer.Argument(help="Arguments as a JSON object; - reads stdin.", metavar="JSON|-")
    ] = "{}",
    mcp: options.McpFile = None,
    no_mcp: options.NoMcp = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> None:
    """Call a tool as a model would, and print what the model would read."""

    async def print_result(runtime: "Runtime") -> None:
        text = await _call(_find(runtime, name), given, runtime.settings.timeouts.tool)
        if as_json:
            from agentkit.cli._outcome import print_json

            print_json({"name": name, "arguments": given, "text": text})
        else:
            say(text)

    with ending(verbose=verbose, tell=tell_if(as_json)):
        given = _read_arguments(arguments)
    _with_tools(print_result, mcp=mcp, with_mcp=not no_mcp, verbose=verbose, as_json=as_json)


def _with_tools(
    work: "Callable[[Runtime], Awaitable[None]]",
    *,
    mcp: Any,
    with_mcp: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Do something with the tools; no model is reached or started for it."""
    with ending(verbose=verbose, tell=tell_if(as_json)):
        import anyio

        from agentkit.cli._exit import Exit
        from agentkit.cli._perform import open_runtime
        from agentkit.cli._signals import Stopper, until_signalled
        from agentkit.cli._view import view_for
        from agentkit.testing import ScriptedModel

        view = view_for(quiet=False, verbose=verbose)
        settings = options.Choice(mcp=mcp, trace=False).settings()

        async def main(_: Stopper) -> "Exit":
            async with open_runtime(
                settings, view, model=ScriptedModel([]), with_mcp=with_mcp
            ) as runtime:
                view.stop()
                await work(runtime)
            return Exit.OK

        with view:
            code = anyio.run(until_signalled, main, note)
        raise SystemExit(code.value)


def _find(runtime: "Runtime", name: str) -> "Tool":
    from agentkit.toolkit import Registry

    return Registry(runtime.tools)[name]


async def _call(tool: "Tool", arguments: "JsonObject", seconds: float | None) -> str:
    from agentkit.errors import ToolTimeoutError
    from agentkit.protocols import OpenTool, RunScopedTool
    from agentkit.resilience import deadline

    limit = tool.spec.timeout_seconds or seconds
    opened: OpenTool | None = tool.for_run() if isinstance(tool, RunScopedTool) else None
    try:
        with deadline(limit, ToolTimeoutError(f"{tool.spec.name} took longer than {limit} s.")):
            used = opened or tool
            return await used.call(used.validate(arguments))
    finally:
        if opened is not None:
            await opened.aclose()


def _read_arguments(text: str) -> "JsonObject":
    if text == "-":
        text = read_stdin("The JSON object")
    hint = """agentkit tools call clock '{"zone": "Asia/Tokyo"}'"""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise InvalidTaskError(f"The arguments are not JSON: {error}.", hint=hint) from error
    if not isinstance(value, dict):
        raise InvalidTaskError("The arguments must be one JSON object.", hint=hint)
    return cast("JsonObject", value)


def _print_table(runtime: "Runtime") -> None:
    from rich.table import Table
    from rich.text import Text

    from agentkit.trace.words import shortened

    homes = {name: state.name for state in runtime.servers for name in state.tools}
    table = Table("tool", "from", "≈ tokens", "what it does", box=None)
    for tool in runtime.tools:
        spec = tool.spec
        table.add_row(
            Text(spec.name, "cyan"),
            f"MCP {homes[spec.name]}" if spec.name in homes else "built in",
            str(_tokens(spec)),
            Text(shortened(spec.description, 90)),
        )
    stdout_console().print(table)


def _tokens(spec: "ToolSpec") -> int:
    return round(len(json.dumps(_as_json(spec), default=str)) / _CHARS_PER_TOKEN)


def _as_json(spec: "ToolSpec") -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": spec.description,
        "parameters": dict(spec.parameters),
        "timeout_seconds": spec.timeout_seconds,
    }
