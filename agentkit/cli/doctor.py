"""`agentkit doctor`: is everything here that a run needs?"""

from typing import TYPE_CHECKING, Annotated

import typer

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending, note, say, stdout_console, tell_if

if TYPE_CHECKING:
    from agentkit.cli._checks import Check
    from agentkit.cli._exit import Exit

Probe = Annotated[
    bool,
    typer.Option("--probe", help="Ask the model server small questions: calls, thinking, cache, …"),
]

_MARKS = {"ok": ("✓", "green"), "warn": ("•", "yellow"), "fail": ("✗", "red")}
_SCHEMA_VERSION = 1


def doctor(
    probe: Probe = False, as_json: options.AsJson = False, verbose: options.Verbose = False
) -> None:
    """Check package, settings, model, tools, MCP servers and disk, each with a fix.

    Exit codes: 0 nothing failed, 3 settings, 4 model server or engine, 5 tool or MCP server.
    """
    with ending(verbose=verbose, tell=tell_if(as_json)):
        import anyio

        from agentkit.cli._checks import checks
        from agentkit.cli._exit import Exit
        from agentkit.cli._signals import Stopper, until_signalled

        found: list[Check] = []

        async def main(_: Stopper) -> "Exit":
            async for check in checks(probe=probe):
                if not as_json:
                    _show(check, is_first=not found or found[-1].group != check.group)
                found.append(check)
            return next((check.code for check in found if check.status == "fail"), Exit.OK)

        code = anyio.run(until_signalled, main, note)
        _conclude(found, code, as_json=as_json)
        raise SystemExit(code.value)


def _show(check: "Check", *, is_first: bool) -> None:
    from rich.text import Text

    from agentkit.trace.words import printable

    mark, colour = _MARKS[check.status]
    lines = Text()
    if is_first:
        lines.append(f"{check.group}\n", "bold")
    lines.append(f"  {mark} ", colour)
    lines.append(f"{check.name}: {printable(check.message)}")
    if check.fix:
        lines.append(f"\n    → {printable(check.fix)}", "yellow")
    stdout_console().print(lines)


def _conclude(found: "list[Check]", code: "Exit", *, as_json: bool) -> None:
    from dataclasses import asdict

    from agentkit.cli._outcome import print_json

    numbers = {
        status: sum(check.status == status for check in found) for status in ("ok", "warn", "fail")
    }
    if not as_json:
        say(f"{numbers['ok']} ok, {numbers['warn']} to know, {numbers['fail']} failed")
        return
    worst = next((status for status in ("fail", "warn") if numbers[status]), "ok")
    print_json(
        {
            "schema_version": _SCHEMA_VERSION,
            "status": worst,
            "summary": numbers,
            "exit_code": code.value,
            "checks": [
                {key: value for key, value in asdict(check).items() if key != "code"}
                for check in found
            ],
        },
        indent=2,
    )
