"""Where logins are kept: a file for each server and each authorization server, for us alone."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from agentkit.mcp._names import fit

_DIGEST = 12
_USUAL_PORTS = {"http": 80, "https": 443}


class DamagedLoginError(Exception):
    """The file of a login is there, and says nothing that could be used."""


def server_of(url: str) -> str:
    """Return the origin and the path of an address, in one spelling.

    >>> server_of("HTTPS://me:pw@Example.org:443/mcp?key=1")
    'https://example.org/mcp'
    """
    return f"{origin_of(url)}{urlsplit(url).path or '/'}"


def origin_of(url: str) -> str:
    """Return the origin of an address, in one spelling.

    >>> origin_of("http://LOCALHOST:8000/mcp")
    'http://localhost:8000'
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = parts.port in {None, _USUAL_PORTS.get(parts.scheme)}
    return f"{parts.scheme}://{host}" + ("" if usual else f":{parts.port}")


def file_of(folder: Path, url: str, issuer: str) -> Path:
    """Return the file of the login at a server through one authorization server."""
    host = fit(urlsplit(url).hostname or "")
    return folder / f"{host}-{_digest(server_of(url))}-{_digest(issuer.rstrip('/'))}.json"


def files_of(folder: Path, url: str) -> list[Path]:
    """Return the files of the logins at a server, the newest first."""
    found = folder.glob(f"*-{_digest(server_of(url))}-*.json")
    return sorted(found, key=_written, reverse=True)


def read_login(path: Path) -> dict[str, Any] | None:
    """Return what a file holds; `None` if there is none.

    Raises:
        DamagedLoginError: it cannot be read, or holds something else.
    """
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedLoginError from error
    if not isinstance(content, dict):
        raise DamagedLoginError
    return cast("dict[str, Any]", content)


def write_login(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file at once or not at all, readable by us alone.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    fresh = path.with_name(f".{path.name}.{uuid4().hex}")
    fresh.touch(mode=0o600)
    try:
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def forget_logins(folder: Path, url: str) -> int:
    """Remove the files of all logins at a server, and return how many there were.

    Raises:
        OSError: one cannot be removed.
    """
    found = files_of(folder, url)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_DIGEST]


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # another process has removed it
