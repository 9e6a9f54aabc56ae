"""Reads `mcp_servers.json`, in the shape that other MCP hosts share."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from agentkit.errors import ConfigurationError
from agentkit.mcp._config import McpConfig, ServerConfig
from agentkit.mcp._entry import Entry
from agentkit.mcp._json import read_object
from agentkit.mcp._variables import Variables

_ROOTS = ("mcpServers", "servers")
_SCHEMA = "$schema"
_CLOSE = 0.8
_TARGETS = frozenset({"command", "url", "httpUrl"})
_NO_LETTER = re.compile(r"[^a-z]")


def read_config(path: Path, environ: Mapping[str, str]) -> McpConfig:
    """Return the servers of the file at `path`.

    An entry that is wrong, or a variable in it that is not set, disables its server alone: see
    `McpConfig.problems`.

    Args:
        path: a JSON file with the root `mcpServers` or `servers`, or a bare map of servers.
        environ: where `${VAR}` is looked up.

    Raises:
        ConfigurationError: the file cannot be read, or is not a map of servers.
    """
    return _config(read_object(path), path, environ)


def config_of(root: Mapping[str, Any], environ: Mapping[str, str]) -> McpConfig:
    """Return the servers of an object that has the shape of such a file.

    Relative folders are those of the working folder.

    Args:
        root: with the key `mcpServers` or `servers`, or a bare map of servers.
        environ: where `${VAR}` is looked up.

    Raises:
        ConfigurationError: it is not a map of servers.
    """
    return _config(root, Path("mcp_servers"), environ)


def root_key(root: Mapping[str, Any]) -> str | None:
    """Return the key that holds the servers; `None` where `root` itself maps them.

    >>> [root_key(root) for root in ({"servers": {}}, {"time": {"command": "x"}})]
    ['servers', None]
    """
    return next((name for name in _ROOTS if name in root), None)


def config_schema() -> str:
    """Return the JSON schema of such a file, for editors."""
    found = files("agentkit.mcp").joinpath("mcp_servers.schema.json")
    return found.read_text(encoding="utf-8")


def _config(root: Mapping[str, Any], path: Path, environ: Mapping[str, str]) -> McpConfig:
    key = root_key(root)
    if key is None:
        _check_names(path, root)
    found: Any = root if key is None else root[key]
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"{path}: {key!r} must map the names of servers to their settings.",
            hint=f'Write {{"{key}": {{"time": {{"command": "mcp-server-time"}}}}}}.',
        )
    warnings: list[str] = []
    servers = tuple(
        _server(path, name, settings, environ, warnings)
        for name, settings in cast("dict[str, object]", found).items()
        if name != _SCHEMA
    )
    others = () if key is None else tuple(name for name in root if name not in {key, _SCHEMA})
    warnings.extend(f"{path.name}: {name!r} has no effect." for name in others)
    return McpConfig(servers=servers, warnings=tuple(warnings), path=path)


def _check_names(path: Path, root: Mapping[str, Any]) -> None:
    """Refuse a map of servers that would be taken for one server, since its key is misspelt.

    Raises:
        ConfigurationError: there is one.
    """
    for name, settings in root.items():
        meant = _meant_root(name)
        if meant and _holds_servers(settings):
            raise ConfigurationError(
                f"{path}: {name!r} holds servers, and is no name of one. Did you mean {meant!r}?",
                hint=f"Write {meant!r} in place of {name!r}.",
            )


def _holds_servers(value: object) -> bool:
    inner = cast("dict[str, object]", value).values() if isinstance(value, dict) else ()
    return any(map(_is_server, inner))


def _is_server(value: object) -> bool:
    return isinstance(value, dict) and not _TARGETS.isdisjoint(cast("dict[str, object]", value))


def _meant_root(name: str) -> str:
    plain = {root.lower(): root for root in _ROOTS}
    close = get_close_matches(_NO_LETTER.sub("", name.lower()), plain, 1, _CLOSE)
    return plain[close[0]] if close else ""


def _server(
    path: Path, name: str, settings: object, environ: Mapping[str, str], warnings: list[str]
) -> ServerConfig:
    try:
        entry = Entry(path, name, settings, Variables(environ))
        server = entry.server()
    except ConfigurationError as error:
        return _broken(name, settings, error)
    warnings.extend(entry.warnings)
    return server


def _broken(name: str, settings: object, error: ConfigurationError) -> ServerConfig:
    """Return a server that cannot be used, but is still known by its name."""
    given = cast("dict[str, object]", settings) if isinstance(settings, dict) else {}
    return ServerConfig(
        name=name,
        disabled=given.get("disabled") is True or given.get("enabled") is False,
        required=given.get("required") is True,
        problem=str(error),
        hint=error.hint,
    )
