"""`agentkit server`: model servers of one's own, from the plan to the stop."""

from typing import TYPE_CHECKING, Annotated

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending, note, say, tell_if

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agentkit.cli._exit import Exit
    from agentkit.cli._signals import Stopper
    from agentkit.cli._view import View

app = typer.Typer(
    help="Plan, install, start and watch model servers (SGLang, vLLM) of your own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Profile = Annotated[
    str | None,
    typer.Argument(
        help="A name of `agentkit server profiles`, or a .toml file.", metavar="[PROFILE]"
    ),
]
Port = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="Where to listen; 0 for any free port.")
]


@app.command("profiles")
def profiles(as_json: options.AsJson = False) -> None:
    """List the launch profiles, those of the embedded engine too."""
    with ending(tell=tell_if(as_json)):
        from agentkit.cli._servers import show_profiles

        show_profiles(as_json=as_json)


@app.command("plan")
def plan(
    profile: Profile = None,
    vram: Annotated[
        float | None,
        typer.Option(min=1, help="GB of a GPU that is not this machine's.", metavar="GB"),
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=1, max=64, help="How many such GPUs, with --vram.", metavar="N")
    ] = 1,
    as_json: options.AsJson = False,
) -> None:
    """Say which profile fits the GPU, and how many tokens of context it leaves.

    Exit codes: 0 it fits, 2 no such profile, 4 it does not fit.
    """
    with ending(tell=tell_if(as_json)):
        from agentkit.cli._servers import show_plan

        raise SystemExit(show_plan(profile, vram, gpus, as_json=as_json).value)


@app.command("install")
def install(quiet: options.Quiet = False, verbose: options.Verbose = False) -> None:
    """Put the pinned SGLang into an environment of its own; an interrupted installation goes on.

    An environment that you have already is used with AGENTKIT_SERVER_PYTHON instead.
    """

    async def work(_: "Stopper", view: "View") -> "Exit":
        from agentkit.cli._servers import install_server

        return await install_server(view)

    _perform(work, quiet=quiet, verbose=verbose)


@app.command("pull")
def pull(
    profile: Profile = None, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Fetch and verify the weights of a profile; an interrupted download goes on."""

    async def work(_: "Stopper", view: "View") -> "Exit":
        from agentkit.cli._servers import pull_weights

        return await pull_weights(profile, view)

    _perform(work, quiet=quiet, verbose=verbose)


@app.command("start")
def start(
    profile: Profile = None,
    port: Port = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Start a server that goes on when this command ends; weights are fetched before.

    Prints its base URL. Runs with the same AGENTKIT_ENGINE share it.
    """

    async def work(_: "Stopper", view: "View") -> "Exit":
        from agentkit.cli._servers import start_server

        return await start_server(profile, port, view)

    _perform(work, quiet=quiet, verbose=verbose)


@app.command("restart")
def restart(
    profile: Profile = None,
    port: Port = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Stop a server if it runs, and start it."""

    async def work(_: "Stopper", view: "View") -> "Exit":
        from agentkit.cli._servers import start_server, stop_servers

        await stop_servers(profile, view, must_run=False)
        return await start_server(profile, port, view)

    _perform(work, quiet=quiet, verbose=verbose)


@app.command("stop")
def stop(
    profile: Profile = None,
    every: Annotated[bool, typer.Option("--all", help="Stop every engine of yours.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Stop a server, whoever uses it, with every process of it."""

    async def work(_: "Stopper", view: "View") -> "Exit":
        from agentkit.cli._servers import stop_servers

        return await stop_servers(profile, view, every=every)

    _perform(work, quiet=quiet, verbose=verbose)


@app.command("status")
def status(as_json: options.AsJson = False) -> None:
    """Show what runs, how busy it is, and how much of the prompts comes from the prefix cache."""
    with ending(tell=tell_if(as_json)):
        import anyio

        from agentkit.cli._servers import show_status
        from agentkit.cli._signals import until_signalled

        async def main(_: "Stopper") -> "Exit":
            return await show_status(as_json=as_json)

        raise SystemExit(anyio.run(until_signalled, main, note).value)


@app.command("logs")
def logs(
    profile: Profile = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
) -> None:
    """Show the end of a server's log, of one that has died too."""
    with ending():
        import anyio

        from agentkit.cli._servers import show_logs
        from agentkit.cli._signals import until_signalled

        async def main(_: "Stopper") -> "Exit":
            return await show_logs(profile, lines, follow=follow)

        raise SystemExit(anyio.run(until_signalled, main, note).value)


@app.command("env")
def env(profile: Profile = None) -> None:
    """Print the variables with which other programs reach a server: eval "$(agentkit server env)"."""
    with ending():
        import anyio

        from agentkit.cli._servers import find_one

        running = anyio.run(find_one, profile)
        say(f"export OPENAI_BASE_URL={running.url}/v1")
        say(f"export OPENAI_API_KEY={running.api_key}")
        say(f"export AGENTKIT_BASE_URL={running.url}/v1")
        say(f"export AGENTKIT_API_KEY={running.api_key}")


def _perform(
    work: "Callable[[Stopper, View], Awaitable[Exit]]", *, quiet: bool, verbose: bool
) -> None:
    with ending(verbose=verbose):
        import anyio

        from agentkit.cli._signals import until_signalled
        from agentkit.cli._view import view_for

        view = view_for(quiet=quiet, verbose=verbose)

        async def main(stopper: "Stopper") -> "Exit":
            return await work(stopper, view)

        with view:
            code = anyio.run(until_signalled, main, note)
        raise SystemExit(code.value)
