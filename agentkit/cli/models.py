"""`agentkit models`: the models that can run on this machine."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending, note, say, stdout_console, tell_if
from agentkit.errors import ConfigurationError, InvalidTaskError

if TYPE_CHECKING:
    from agentkit.cli._exit import Exit
    from agentkit.engine import Profile

app = typer.Typer(
    help="See and fetch models for the embedded engine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[
    str | None,
    typer.Argument(help="Name of a profile, or a GGUF file; the default one.", metavar="[NAME]"),
]


@app.command("list")
def show_list(as_json: options.AsJson = False) -> None:
    """List the launch profiles."""
    with ending(tell=tell_if(as_json)):
        from agentkit.engine import read_profiles

        profiles = read_profiles()
        if as_json:
            from agentkit.cli._outcome import print_json

            print_json([_as_json(profile) for profile in profiles])
        else:
            _print_table(profiles)


@app.command("info")
def info(name: Name = None, as_json: options.AsJson = False) -> None:
    """Show a launch profile: size, licence, sources, and whether it is here."""
    with ending(tell=tell_if(as_json)):
        from agentkit.cli._view import megabytes

        profile = _profile(name)
        if as_json:
            from agentkit.cli._outcome import print_json

            print_json(_as_json(profile))
            return
        weights = profile.weights
        lines = {
            "name": profile.name,
            "model": profile.model,
            "why": profile.why,
            "licence": profile.licence,
            "size": megabytes(weights.size) if weights.size else "unknown",
            "sha256": weights.sha256 or "as the hub says",
            "sources": ", ".join(_sources(profile)) or "none",
            "here": _here(profile) or f"no; agentkit models pull {profile.name}",
        }
        for key, value in lines.items():
            say(f"{key:8} {value}")


@app.command("pull")
def pull(name: Name = None, quiet: options.Quiet = False, verbose: options.Verbose = False) -> None:
    """Fetch and verify the weights of a profile; an interrupted download goes on."""
    with ending(verbose=verbose):
        import anyio

        from agentkit.cli._exit import Exit
        from agentkit.cli._signals import Stopper, until_signalled
        from agentkit.cli._view import view_for
        from agentkit.engine import ensure_weights
        from agentkit.settings import read_settings

        settings = read_settings()
        profile = _profile(name)
        view = view_for(quiet=quiet, verbose=verbose)

        async def main(_: Stopper) -> "Exit":
            path = await ensure_weights(profile, settings.cache_dir, view.progress)
            view.stop()
            say(str(path))
            return Exit.OK

        with view:
            code = anyio.run(until_signalled, main, note)
        raise SystemExit(code.value)


def _profile(name: str | None) -> "Profile":
    """Return the profile of a name on the command line, or else that of the settings.

    Raises:
        InvalidTaskError: there is none of that name.
        ConfigurationError: the settings name one that there is not.
    """
    from agentkit.engine import find_profile
    from agentkit.settings import read_settings

    if name is None:
        return find_profile(read_settings().weights)
    try:
        return find_profile(name)
    except ConfigurationError as error:
        raise InvalidTaskError(str(error), hint=error.hint) from error


def _print_table(profiles: "tuple[Profile, ...]") -> None:
    from rich.table import Table
    from rich.text import Text

    from agentkit.cli._view import megabytes

    table = Table("model", "size", "licence", "here", "why", box=None)
    for profile in profiles:
        size = profile.weights.size
        table.add_row(
            Text(profile.name + (" (default)" if profile.default else ""), "cyan"),
            megabytes(size) if size else "?",
            profile.licence,
            "yes" if _here(profile) else "no",
            profile.why,
        )
    stdout_console().print(table)


def _here(profile: "Profile") -> str:
    from agentkit.settings import read_settings

    weights = profile.weights
    path = weights.path or read_settings().cache_dir / "weights" / weights.file
    return str(path) if path.is_file() else ""


def _sources(profile: "Profile") -> list[str]:
    weights = profile.weights
    sources: list[str] = []
    if weights.path is not None:
        sources.append(str(weights.path))
    if weights.hub is not None:
        sources.append(f"hub {weights.hub.repo}/{weights.hub.file}")
    if weights.index is not None:
        parts = f"{weights.index.parts} parts of {weights.index.package}"
        sources.append(f"package index, {parts}")
    return sources


def _as_json(profile: "Profile") -> dict[str, Any]:
    return {**profile.model_dump(mode="json"), "here": _here(profile) or None}
