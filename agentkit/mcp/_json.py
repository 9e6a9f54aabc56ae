"""Reads JSON files that people write, and says where they are wrong."""

import json
import re
from pathlib import Path
from typing import Any, cast

from agentkit.errors import ConfigurationError

_TEXT = r'"(?:\\.|[^"\\])*"'
_COMMENT = re.compile(rf"{_TEXT}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA = re.compile(rf"{_TEXT}|,(?=\s*[}}\]])", re.DOTALL)
_STRICT = "JSON has neither comments nor trailing commas; names and texts need quotes."
_TOLERANT = "Names and texts need double quotes, and a comma between one and the next."


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that the file at `path` holds.

    Raises:
        ConfigurationError: the file cannot be read, or holds something else.
    """
    root = read_json(path)
    if not isinstance(root, dict):
        raise ConfigurationError(
            f"{path}: must hold a JSON object, not {type(root).__name__}.",
            hint='Write {"mcpServers": {}}.',
        )
    return cast("dict[str, Any]", root)


def read_json(path: Path, *, comments: bool = False) -> object:
    """Return what the JSON file at `path` holds.

    Args:
        path: the file, in UTF-8.
        comments: whether comments and trailing commas are passed over, as editors do.

    Raises:
        ConfigurationError: it cannot be read, or is not JSON.
    """
    text = read_text(path)
    if comments:
        text = _LAST_COMMA.sub(_blank, _COMMENT.sub(_blank, text))
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}.",
            hint=_TOLERANT if comments else _STRICT,
        ) from error
    except _DuplicateNameError as error:
        raise ConfigurationError(
            f"{path}: the name {error.args[0]!r} appears twice in one object.",
            hint="Rename or remove one of the two.",
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: nested too deeply.", hint="Flatten it.") from error


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8.

    Raises:
        ConfigurationError: it cannot be read, or is no text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read: {error.strerror}.", hint="Create it, or name another file."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: byte {error.start} is not UTF-8.", hint="Save the file as UTF-8."
        ) from error


def _blank(found: re.Match[str]) -> str:
    """Put spaces in place of what is no text, so that every line and column stays."""
    return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])


class _DuplicateNameError(Exception):
    """JSON would silently keep the last of two; the first would be lost."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _DuplicateNameError(name)
        result[name] = value
    return result
