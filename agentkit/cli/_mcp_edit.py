"""`agentkit mcp add` and `remove`: entries of `mcp_servers.json`."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentkit.cli._terminal import note, say
from agentkit.errors import ConfigurationError, InvalidTaskError
from agentkit.mcp import forget_logins, pins_of, read_config, read_raw, servers_of, write_raw
from agentkit.settings import Settings

_URLS = ("http://", "https://")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
RESERVED = frozenset({"", "$schema", "mcpServers", "servers"})
"""What no server may be called: these names mean something else in some shape of the file."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A server that is to be added."""

    name: str
    entry: dict[str, Any]

    @classmethod
    def of(
        cls,
        name: str,
        target: Sequence[str],
        env: Sequence[str],
        headers: Sequence[str],
        kind: str | None,
        *,
        required: bool,
    ) -> "Addition":
        """Return what a command line asks for.

        Raises:
            InvalidTaskError: it makes no sense.
        """
        if name.strip() in RESERVED:
            raise InvalidTaskError(
                f"{name!r} cannot be the name of a server.", hint="Choose another name."
            )
        words = target[1:] if target[0] == "--" else target  # as other hosts want it before
        if words and words[0].lower().startswith(_URLS):
            if words[1:] or env:
                raise InvalidTaskError("A URL takes no arguments and no --env.")
            entry: dict[str, Any] = {"url": words[0]} | ({"type": kind} if kind else {})
            entry |= {"headers": _pairs(headers, ":", "--header")} if headers else {}
        else:
            entry = _started(words, env)
            if headers or kind:
                raise InvalidTaskError(
                    f"--header and --type are for a URL, and {words[0]!r} is none."
                )
        return cls(name, entry | ({"required": True} if required else {}))


def add_server(file: Path, addition: Addition, *, replace: bool) -> None:
    """Write a server into the file.

    Raises:
        InvalidTaskError: there is one of that name.
        ConfigurationError: the file cannot be read or written, or the entry makes no sense.
    """
    root = read_raw(file)
    servers = servers_of(root)
    if addition.name in servers and not replace:
        raise InvalidTaskError(
            f"{file} has a server {addition.name!r} already.",
            hint="Use --replace, or another name.",
        )
    servers[addition.name] = addition.entry
    write_raw(file, root)
    say(f"✓ {addition.name}  in {file}")
    config = read_config(file, os.environ)
    for server in config.servers:
        if server.name == addition.name and server.problem:
            note(f"• It cannot be used yet: {server.problem}")
            note(f"  Fix: {server.hint}")
    note(f"To try: agentkit mcp test {addition.name}")


def remove_server(file: Path, name: str, settings: Settings) -> None:
    """Take a server out of the file, and forget what was approved of it and its logins.

    Raises:
        InvalidTaskError: there is none of that name.
        ConfigurationError: the file cannot be read or written.
    """
    if not file.exists():
        raise ConfigurationError(f"{file}: there is no such file.", hint="Name it with --file.")
    known = {one.name: one for one in read_config(file, os.environ).servers}
    root = read_raw(file)
    servers = servers_of(root)
    if name not in servers or (servers is root and name not in known):
        there = ", ".join(known) or "none"
        raise InvalidTaskError(f"No MCP server named {name!r} in {file}. There are: {there}.")
    del servers[name]
    write_raw(file, root)
    if name in known:  # what is called like a key of the file has no effect, and was never pinned
        pins_of(settings.pins_dir, known[name]).unlink(missing_ok=True)
        if known[name].url:
            forget_logins(settings.oauth_dir, known[name].url)
    say(f"✓ {name}  taken out of {file}")


def _started(words: Sequence[str], env: Sequence[str]) -> dict[str, Any]:
    """Return the entry of a server that is a command.

    Raises:
        InvalidTaskError: it is none.
    """
    command, *args = words or ("",)
    if not command.strip():
        raise InvalidTaskError(
            "The command is empty.", hint="agentkit mcp add [OPTIONS] NAME COMMAND..."
        )
    if command.startswith("-"):
        raise InvalidTaskError(
            f"The command is {command!r}, which is an option.",
            hint="Options come before the name: agentkit mcp add [OPTIONS] NAME COMMAND...",
        )
    if _SCHEME.match(command):
        raise InvalidTaskError(
            f"{command!r} is neither a command nor an address of a server.",
            hint="An address begins with http:// or https://.",
        )
    entry: dict[str, Any] = {"command": command} | ({"args": args} if args else {})
    return entry | ({"env": _pairs(env, "=", "--env")} if env else {})


def _pairs(texts: Sequence[str], sign: str, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, there, value = text.partition(sign)
        if not there or not name.strip():
            raise InvalidTaskError(
                f"{option} is {text!r}, which has no {sign!r}.",
                hint=f"Write {option} NAME{sign}VALUE.",
            )
        found[name.strip()] = value.strip() if sign == ":" else value
    return found
