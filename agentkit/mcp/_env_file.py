"""Reads a file of `NAME=VALUE` lines, as `envFile` names one."""

import re
from pathlib import Path

from agentkit.errors import ConfigurationError
from agentkit.mcp._json import read_text

_LINE = re.compile(
    r"""
    [^\S\n]* (?:export[^\S\n]+)? (?P<name>[A-Za-z_][\w.\-]*) [^\S\n]* = [^\S\n]*
    (?: '(?P<plain>[^']*)' | "(?P<escaped>(?:\\.|[^"\\])*)" | (?P<bare>[^\n]*?) )
    [^\S\n]* (?:(?<=\s)\#[^\n]*)? (?:\n|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_NOTHING = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_env_file(path: Path) -> dict[str, str]:
    r"""Return the variables of the file at `path`; nothing in a value is replaced.

    A line is `NAME=VALUE`, perhaps after `export`; `#` begins a comment. In single quotes all stays
    as it is, in double quotes `\n`, `\"` and the like are read; either may go over many lines.

    Raises:
        ConfigurationError: it cannot be read, or a line is something else; no value is shown.
    """
    text = read_text(path).replace("\r\n", "\n")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if nothing := _NOTHING.match(text, at):
            at = nothing.end()
            continue
        line = _LINE.match(text, at)
        if line is None:
            raise ConfigurationError(
                f"{path}:{text.count(chr(10), 0, at) + 1}: this line is not NAME=VALUE.",
                hint="Write NAME=VALUE, or # before a comment.",
            )
        found[line["name"]] = _value(line)
        at = line.end()
    return found


def _value(line: re.Match[str]) -> str:
    if line["escaped"] is not None:
        return _ESCAPE.sub(lambda one: _ESCAPES.get(one[1], one[1]), line["escaped"])
    return line["bare"] if line["plain"] is None else line["plain"]
