"""`agentkit mcp add` and `remove`: entries of `mcp_servers.json`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentkit.cli._terminal import note, say
from agentkit.errors import ConfigurationError, InvalidTaskError
from agentkit.mcp import pins_of, read_config, read_raw, servers_of, write_raw

_URLS = ("http://", "https://")


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
        first, *rest = target
        if not first.lower().startswith(_URLS):
            if headers or kind:
                raise InvalidTaskError(f"--header and --type are for a URL, and {first!r} is none.")
            entry: dict[str, Any] = {"command": first}
            entry |= {"args": rest} if rest else {}
            entry |= {"env": _pairs(env, "=", "--env")} if env else {}
        else:
            if rest or env:
                raise InvalidTaskError("A URL takes no arguments and no --env.")
            entry = {"url": first} | ({"type": kind} if kind else {})
            entry |= {"headers": _pairs(headers, ":", "--header")} if headers else {}
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


def remove_server(file: Path, name: str, pins_dir: Path) -> None:
    """Take a server out of the file, and forget what was approved of it.

    Raises:
        InvalidTaskError: there is none of that name.
        ConfigurationError: the file cannot be read or written.
    """
    if not file.exists():
        raise ConfigurationError(f"{file}: there is no such file.", hint="Name it with --file.")
    known = {one.name: one for one in read_config(file, os.environ).servers}
    root = read_raw(file)
    servers = servers_of(root)
    if name not in servers:
        there = ", ".join(servers) or "none"
        raise InvalidTaskError(f"No MCP server named {name!r} in {file}. There are: {there}.")
    del servers[name]
    write_raw(file, root)
    pins_of(pins_dir, known[name]).unlink(missing_ok=True)
    say(f"✓ {name}  taken out of {file}")


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
