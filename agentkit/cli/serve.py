"""`agentkit serve`: an agent that other programs give tasks to."""

from pathlib import Path
from typing import Annotated

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending
from agentkit.errors import InvalidTaskError


def serve(
    mcp: Annotated[bool, typer.Option("--mcp", help="Speak MCP, on stdin and stdout.")] = False,
    http: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Speak it over streamable HTTP instead, on 127.0.0.1; 0 takes a free port.",
            metavar="PORT",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What its tool is called.")] = "run_task",
    description: Annotated[
        str, typer.Option(help="What it is good for, as clients read it.", metavar="TEXT")
    ] = "",
    concurrency: Annotated[
        int, typer.Option(min=1, help="Most runs at once; more wait.", metavar="N")
    ] = 8,
    instructions: options.Instructions = "",
    base_url: options.BaseUrl = None,
    model: options.ModelName = None,
    weights: options.Weights = None,
    engine: options.Engine = None,
    thinking: options.Thinking = None,
    plan: options.Plan = None,
    tool_calls: options.ToolCalls = None,
    mcp_servers: Annotated[
        Path | None, typer.Option(help="File of the MCP servers that it uses.", metavar="FILE")
    ] = None,
    no_mcp: options.NoMcp = False,
    max_steps: options.MaxSteps = None,
    timeout: options.Timeout = None,
    yes: options.Yes = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show on stderr what runs do, and tracebacks.")
    ] = False,
) -> None:
    """Serve an agent over MCP: its one tool takes a task and gives the answer.

    A call that wants approval ends its run, unless --yes makes them all. Everything but the
    protocol goes to stderr.

    Exit codes: 0 the client has gone, 2 usage, 3 settings, 4 model, 5 MCP server.
    """
    with ending(verbose=verbose):
        if not mcp:
            raise InvalidTaskError(
                "Which protocol? MCP is the only one so far.", hint="agentkit serve --mcp"
            )
        from agentkit.cli._serving import Offer, offer_over_mcp

        choice = options.Choice(
            base_url=base_url,
            model=model,
            weights=weights,
            engine=engine,
            tool_calls=tool_calls,
            thinking=thinking,
            plan=plan,
            mcp=mcp_servers,
            with_mcp=not no_mcp,
            max_steps=max_steps,
            timeout=timeout,
        )
        offer = Offer(
            choice=choice,
            name=name,
            description=description,
            concurrency=concurrency,
            instructions=instructions,
            yes=yes,
            verbose=verbose,
        )
        raise SystemExit(offer_over_mcp(offer, http))
