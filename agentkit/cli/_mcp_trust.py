"""`agentkit mcp trust`: a person looks at what has changed, and approves it or not."""

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentkit.cli._exit import Exit
from agentkit.cli._mcp_open import find, with_server
from agentkit.cli._stdin import is_typed
from agentkit.cli._terminal import note, say
from agentkit.cli.mcp import must_read_servers
from agentkit.errors import InvalidTaskError
from agentkit.mcp import Difference, McpServers, pins_of
from agentkit.settings import read_settings
from agentkit.trace.words import plural, printable

_MARKS = {"new": "+", "changed": "~", "gone": "-"}


def trust_server(file: Path | None, name: str, *, yes: bool) -> Exit:
    """Show what is not as it was approved, and approve it if a person says so.

    Raises:
        InvalidTaskError: nobody can be asked.
    """
    settings = read_settings()
    config = must_read_servers(settings, file)
    # To look at a server must not be to believe it.
    careful = replace(
        config, servers=tuple(replace(one, pins="approved") for one in config.servers)
    )

    async def look(opened: McpServers) -> Exit:
        found = await opened.review(name)
        if not found:
            note(f"✓ All tools of {name!r} are as they were approved.")
            return Exit.OK
        show(found)
        try:
            agreed = yes or await _agreed(name, found)
        except KeyboardInterrupt:  # a key here, and no signal
            note("✗ Interrupted. Nothing was approved.")
            return Exit.INTERRUPTED
        if not agreed:
            note("Nothing was approved.")
            return Exit.APPROVAL
        await opened.approve(name)
        say(f"✓ {name}: {plural(len(found), 'difference')} approved")
        return Exit.OK

    return with_server(settings, careful, name, look)


def forget_server(file: Path | None, name: str) -> None:
    """Approve nothing of a server any more.

    Raises:
        InvalidTaskError: there is none of that name.
    """
    settings = read_settings()
    server = find(must_read_servers(settings, file), name)
    pins_of(settings.pins_dir, server).unlink(missing_ok=True)
    say(f"✓ {name}: what was approved is forgotten")


def show(found: Sequence[Difference]) -> None:
    """Print what is new, gone or changed, line by line."""
    for one in found:
        say(f"{_MARKS[one.kind]} {printable(one.name)}: {one.kind}")
        before, after = _lines(one.before), _lines(one.after)
        for line in list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]:
            if not line.startswith("@@"):
                say(f"    {printable(line)}")


def _lines(definition: Mapping[str, Any] | None) -> list[str]:
    if definition is None:
        return []
    # As ASCII: what cannot be seen in a text can be seen in its escapes.
    return json.dumps(definition, indent=2, sort_keys=True, ensure_ascii=True).splitlines()


async def _agreed(name: str, found: Sequence[Difference]) -> bool:
    if not is_typed() or not sys.stderr.isatty():
        raise InvalidTaskError(
            f"{plural(len(found), 'difference')} of {name!r} wait for approval, and nobody can be "
            "asked here.",
            hint="Run it in a terminal, or say --yes.",
        )
    from prompt_toolkit import PromptSession
    from prompt_toolkit.output import create_output

    session: PromptSession[str] = PromptSession(output=create_output(stdout=sys.stderr))
    asked = printable(f"Approve {plural(len(found), 'difference')} of {name!r}? [y/N] ")
    try:
        said = await session.prompt_async(asked, handle_sigint=False)
    except EOFError:
        return False
    return said.strip().lower() in {"y", "yes"}
