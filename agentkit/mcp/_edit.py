"""Changes `mcp_servers.json` as a whole: what is read, and what takes its place at once."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from agentkit.errors import ConfigurationError
from agentkit.mcp._file import read_config, root_key
from agentkit.mcp._json import read_object

_NEW_MODE = 0o600  # it may come to hold secrets


def read_raw(path: Path) -> dict[str, Any]:
    """Return what the server file at `path` holds, unexpanded; no servers if there is no file.

    Raises:
        ConfigurationError: it cannot be read, or is no JSON object.
    """
    if not os.path.lexists(path):
        return {"mcpServers": {}}
    return read_object(path)


def servers_of(root: dict[str, Any]) -> dict[str, Any]:
    """Return the servers in what `read_raw` has read: a change of them is a change of `root`.

    An empty object gets a place for them.

    Raises:
        ConfigurationError: there is something else in their place.

    >>> root = {"servers": {}, "inputs": []}
    >>> servers_of(root)["time"] = {"command": "mcp-server-time"}
    >>> root
    {'servers': {'time': {'command': 'mcp-server-time'}}, 'inputs': []}
    """
    if not root:
        root["mcpServers"] = {}
    key = root_key(root)
    found: object = root if key is None else root[key]
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"{key!r} must map the names of servers to their settings.",
            hint=f'Write {{"{key}": {{"time": {{"command": "mcp-server-time"}}}}}}.',
        )
    return cast("dict[str, Any]", found)


def write_raw(path: Path, root: Mapping[str, Any]) -> None:
    """Put `root` in place of the server file at `path`, which is whole at any moment.

    Its mode stays; a new file is for its owner alone.

    Raises:
        ConfigurationError: it cannot be written, what is to be written cannot be read back, or it
            would leave servers without effect.
    """
    place = path.resolve()  # a link stays a link
    try:
        _replace(place, json.dumps(root, ensure_ascii=False, indent=2) + "\n")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written: {error.strerror}.",
            hint="Make its folder, or name another file.",
        ) from error


def _replace(place: Path, text: str) -> None:
    mode = place.stat().st_mode & 0o777 if place.exists() else _NEW_MODE
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        _check(new, place)
        new.replace(place)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _check(new: Path, place: Path) -> None:
    try:
        if place.exists():
            _check_shape(read_object(place), read_object(new), place)
        read_config(new, {})
    except ConfigurationError as error:
        raise ConfigurationError(
            str(error).replace(str(new), str(place)), hint=error.hint
        ) from error


def _check_shape(old: Mapping[str, Any], new: Mapping[str, Any], place: Path) -> None:
    """Refuse a new server whose name is that of the place for servers."""
    key = root_key(new)
    lost = old.keys() & new.keys() - {"$schema"}
    if key is not None and root_key(old) is None and lost:
        raise ConfigurationError(
            f"{place}: a server cannot be called {key!r} here: all others would have no effect.",
            hint='Choose another name, or put all of them into {"mcpServers": {...}}.',
        )
