"""`agentkit resume`: decide about calls that wait, and let the run go on."""

from typing import Annotated

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending
from agentkit.errors import InvalidTaskError


def resume(
    run: Annotated[str, typer.Argument(help="`last`, or a run id or its beginning.")] = "last",
    decision: Annotated[
        bool | None, typer.Option("--yes/--no", help="Make the calls that wait, or refuse them.")
    ] = None,
    because: Annotated[
        str, typer.Option(help="With --no: why not; the model reads it.", metavar="TEXT")
    ] = "",
    base_url: options.BaseUrl = None,
    model: options.ModelName = None,
    weights: options.Weights = None,
    engine: options.Engine = None,
    thinking: options.Thinking = None,
    plan: options.Plan = None,
    tool_calls: options.ToolCalls = None,
    mcp: options.McpFile = None,
    no_mcp: options.NoMcp = False,
    max_steps: options.MaxSteps = None,
    timeout: options.Timeout = None,
    output: options.Output = "text",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Go on with a run that stopped with exit code 8, because a call wanted approval.

    Without --yes or --no it shows the calls that wait.
    """
    with ending(verbose=verbose):
        from agentkit.cli._approval import described, find
        from agentkit.cli._perform import Order, perform
        from agentkit.cli._terminal import note
        from agentkit.loop import PausedRun

        choice = options.Choice(
            base_url=base_url,
            model=model,
            weights=weights,
            engine=engine,
            tool_calls=tool_calls,
            thinking=thinking,
            plan=plan,
            mcp=mcp,
            with_mcp=not no_mcp,
            max_steps=max_steps,
            timeout=timeout,
        )
        path = find(run, choice.settings().state_dir)
        paused = PausedRun.from_json(path.read_text(encoding="utf-8"))
        if decision is None:
            for request in paused.waiting:
                note(described(request))
            raise InvalidTaskError(
                "These calls wait for a decision.",
                hint=f"agentkit resume {paused.run_id[:8]} --yes, or --no.",
            )
        order = Order(
            task=paused.task,
            choice=choice,
            output=output,
            quiet=quiet,
            verbose=verbose,
            paused=paused,
            decision=decision or because or False,
        )
        code = perform(order)
        if code.value != 8:  # it has gone on, and a file that is still there would repeat it
            path.unlink(missing_ok=True)
        raise SystemExit(code.value)
