"""`agentkit chat`: a conversation at a prompt, or over a pipe."""

import sys
from typing import TYPE_CHECKING

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending

if TYPE_CHECKING:
    from agentkit.cli._exit import Exit
    from agentkit.cli._signals import Stopper


def chat(
    instructions: options.Instructions = "",
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
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Talk with an agent; /help lists what else can be typed.

    With stdin from a pipe each line is a turn, and the answers go to stdout.
    """
    with ending(verbose=verbose):
        import anyio

        from agentkit.cli._approval import approver_for
        from agentkit.cli._perform import open_runtime
        from agentkit.cli._prompt import open_lines
        from agentkit.cli._signals import until_signalled
        from agentkit.cli._talk import Talk
        from agentkit.cli._view import view_for

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
        settings = choice.settings()
        view = view_for(quiet=quiet, verbose=verbose)

        async def main(stopper: "Stopper") -> "Exit":
            with view:
                async with open_runtime(settings, view, with_mcp=not no_mcp, asks=True) as runtime:
                    view.stop()
                    policy = choice.policy(settings)
                    agent = runtime.agent(
                        instructions=instructions,
                        policy=policy,
                        approver=approver_for(view, yes=yes, asks=True),
                    )
                    talk = Talk(agent, runtime, view, stopper)
                    lines = open_lines(settings.state_dir)
                    if lines.is_prompt and not quiet:
                        talk.greet()
                    return await talk.go_on(lines)

        code = anyio.run(until_signalled, main, view.note)
        sys.stdout.flush()
        raise SystemExit(code.value)
