"""`agentkit trace`: what runs have done."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending, note, say, stdout_console, tell_if

if TYPE_CHECKING:
    from agentkit.trace import TraceSummary

app = typer.Typer(help="See what runs have done.", no_args_is_help=True, rich_markup_mode=None)

_STYLES = {"done": "green", "running": "cyan", "failed": "red", "interrupted": "red"}


@app.command("list")
def show_list(
    most: Annotated[int, typer.Option("-n", min=1, help="How many, the latest first.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List the latest runs."""
    with ending(tell=tell_if(as_json)):
        from agentkit.settings import read_settings
        from agentkit.trace import list_traces

        folder = read_settings().trace_dir
        runs = list_traces(folder, most=most)
        if as_json:
            from agentkit.cli._outcome import print_json

            print_json([_as_json(run) for run in runs])
        elif runs:
            _print_table(runs)
        else:
            note(f"No run has left a trace in {folder}.")


@app.command("view")
def view(
    run: Annotated[str, typer.Argument(help="`last`, a run id or its beginning, a file.")] = "last",
    full: Annotated[bool, typer.Option("--full", help="Shorten nothing.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show a run as a tree: plan, steps, thinking, calls, times, tokens, cache hits."""
    with ending(tell=tell_if(as_json)):
        from agentkit.settings import read_settings
        from agentkit.trace import find_trace, read_trace

        path = find_trace(read_settings().trace_dir, run)
        if as_json:
            say(path.read_text(encoding="utf-8", errors="replace"), end="")
            return
        from agentkit.trace.tree import trace_tree

        stdout_console().print(trace_tree(read_trace(path), full=full))
        note(str(path))


def _print_table(runs: "tuple[TraceSummary, ...]") -> None:
    from rich.table import Table
    from rich.text import Text

    from agentkit.trace.words import shortened

    table = Table("run", "started", "end", "steps", "tokens", "seconds", "task", box=None)
    for run in runs:
        table.add_row(
            Text(run.run_id[:8], "cyan"),
            _local(run.started),
            Text(run.outcome, _STYLES.get(run.outcome, "yellow")),
            str(run.steps),
            f"{run.tokens:,}",
            f"{run.seconds:.1f}",
            Text(shortened(run.task, 60), no_wrap=True, overflow="ellipsis"),
        )
    stdout_console().print(table)


def _local(at: str) -> str:
    from datetime import datetime

    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return "?"


def _as_json(run: "TraceSummary") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(run)
