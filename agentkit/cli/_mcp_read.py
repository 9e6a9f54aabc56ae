"""`agentkit mcp resources` and `prompts`: what servers offer beside tools."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from agentkit.cli._exit import Exit
from agentkit.cli._mcp_open import with_server
from agentkit.cli._outcome import print_json
from agentkit.cli._terminal import note, say
from agentkit.cli.mcp import must_read_servers
from agentkit.errors import InvalidTaskError
from agentkit.mcp import McpServers
from agentkit.settings import read_settings


def show_resources(file: Path | None, name: str, uri: str | None, *, as_json: bool) -> Exit:
    """List what a server lets read, or print one of it."""
    settings = read_settings()

    async def read(opened: McpServers) -> Exit:
        if uri is not None:
            text = await opened.read(name, uri)
            if as_json:
                print_json({"uri": uri, "text": text})
            else:
                say(text)
            return Exit.OK
        found = await opened.resources(name)
        if as_json:
            print_json([asdict(one) for one in found])
            return Exit.OK
        for one in found:
            say("  ".join(filter(None, (one.uri, one.media_type, one.name, one.description))))
        if not found:
            note(f"{name!r} lets nothing be read.")
        return Exit.OK

    return with_server(settings, must_read_servers(settings, file), name, read)


def show_prompts(
    file: Path | None, name: str, prompt: str | None, arguments: Sequence[str], *, as_json: bool
) -> Exit:
    """List the prompts of a server, or print one that it has written.

    Raises:
        InvalidTaskError: an argument has no value.
    """
    settings = read_settings()
    given = dict(_pair(text) for text in arguments)

    async def write(opened: McpServers) -> Exit:
        if prompt is not None:
            text = await opened.prompt(name, prompt, given)
            if as_json:
                print_json({"prompt": prompt, "arguments": given, "text": text})
            else:
                say(text)
            return Exit.OK
        found = await opened.prompts(name)
        if as_json:
            print_json([asdict(one) for one in found])
            return Exit.OK
        for one in found:
            takes = ", ".join(
                key if needed else f"[{key}]" for key, needed in one.arguments.items()
            )
            say("  ".join(filter(None, (f"{one.name}({takes})", one.description))))
        if not found:
            note(f"{name!r} writes no prompts.")
        return Exit.OK

    return with_server(settings, must_read_servers(settings, file), name, write)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InvalidTaskError(f"{text!r} is no KEY=VALUE.", hint="Write city=Paris, for example.")
    return key, value
