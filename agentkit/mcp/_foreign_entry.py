"""One server of another host, as an entry of `mcp_servers.json`."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from agentkit.mcp._environment import (
    is_secret_name,
    named_in_args,
    password_of,
    query_of,
    secrets_in,
)
from agentkit.mcp._foreign_texts import Texts, upper_snake

Kind: TypeAlias = Literal["claude", "vscode", "cursor", "gemini", "qwen-agent"]

_TEXTS = ("command", "cwd", "url", "envFile")
_TAKEN = frozenset(
    (
        *("command", "args", "env", "cwd", "url", "headers", "type", "description"),
        *("disabled", "enabled", "includeTools", "excludeTools", "disabledTools"),
        *("autoApprove", "alwaysAllow", "approval", "callTimeout"),
    )
)
_EDITORS = frozenset({"vscode", "cursor"})
_UNIMPORTANT = frozenset({"gallery", "version", "extensionName"})
_SHORTEST_TIMEOUT = 1000  # milliseconds; fewer were surely meant as seconds
_WITH_SCHEME = re.compile(r"([A-Za-z]+ +)\S+")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What another host's file has brought.

    Attributes:
        kind: whose file it is.
        servers: entries of `mcp_servers.json`, by name.
        notes: what a person should know or do, a sentence each.
    """

    kind: Kind
    servers: Mapping[str, dict[str, Any]]
    notes: tuple[str, ...] = ()


def entry_of(
    kind: Kind,
    name: str,
    given: Mapping[str, Any],
    texts: Texts,
    project: Path | None,
    notes: list[str],
) -> dict[str, Any]:
    """Return the entry for a server of another host.

    Args:
        kind: the host.
        name: of the server.
        given: its settings there.
        texts: translates references.
        project: the folder that the host starts it in, where that is known.
        notes: what a person should know is added here.
    """

    def note(words: str) -> None:
        notes.append(f"server {name!r}: {words}")

    rewritten = _REWRITE[kind](given, note)
    taken = _TAKEN | {"envFile"} if kind in _EDITORS else _TAKEN
    left_out = [key for key in rewritten if key not in taken | _UNIMPORTANT | _LOGINS]
    if not _LOGINS.isdisjoint(rewritten):
        note(f'its login left out: write "auth": "oauth", then agentkit mcp login {name}.')
    if left_out:
        note(f"{', '.join(map(repr, left_out))} left out: agentkit has nothing like it.")
    entry = {key: value for key, value in rewritten.items() if key in taken}
    _translate(entry, name, texts)
    if project is not None:
        _settle(entry, project)
    for where, better in _secrets_in_clear(name, entry):
        note(f"{where} holds a secret in clear; better write {better}.")
    return entry


_LOGINS = frozenset({"auth", "oauth"})
_Note: TypeAlias = Callable[[str], None]


def _of_claude(given: Mapping[str, Any], note: _Note) -> dict[str, Any]:
    return _with_timeout(_of_any(given), note)


def _of_any(given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(given)
    transport = result.pop("transport", None)
    if transport is not None:
        result.setdefault("type", transport)
    return result


def _of_editor(given: Mapping[str, Any], _: _Note) -> dict[str, Any]:
    result = _of_any(given)
    if result.get("type") == "http":
        del result["type"]  # it tries SSE where a server refuses, as we do if nothing is said
    return result


def _of_gemini(given: Mapping[str, Any], note: _Note) -> dict[str, Any]:
    result = _with_timeout(_of_any(given), note)
    if http := result.pop("httpUrl", None):
        result.update({"url": http, "type": "http"})
    # A bare `url` was SSE once, and is streamable HTTP now: without a type, both are tried.
    if result.get("url") and result.get("command"):
        note("'command' left out: the address goes first.")
        result = {key: result[key] for key in result if key not in {"command", "args", "env"}}
    trust = result.pop("trust", False)
    if trust is True:
        result["approval"] = "never"
    else:
        note('Gemini CLI asks before each call. Write "approval": "always" to be asked here.')
    return result


def _of_qwen_agent(given: Mapping[str, Any], _: _Note) -> dict[str, Any]:
    result = _of_any(given)
    seconds = result.pop("sse_read_timeout", None)
    if _is_number(seconds):
        result["callTimeout"] = f"{seconds:g}s"
    if result.get("url"):
        http = result.get("type") == "streamable-http"
        result["type"] = "streamable-http" if http else "sse"
        result.pop("command", None)
    return result


_REWRITE: dict[Kind, Callable[[Mapping[str, Any], _Note], dict[str, Any]]] = {
    "claude": _of_claude,
    "vscode": _of_editor,
    "cursor": _of_editor,
    "gemini": _of_gemini,
    "qwen-agent": _of_qwen_agent,
}


def _with_timeout(settings: dict[str, Any], note: _Note) -> dict[str, Any]:
    milliseconds = settings.pop("timeout", None)
    if not _is_number(milliseconds):
        return settings
    if milliseconds < _SHORTEST_TIMEOUT:
        note(f"'timeout' left out: {milliseconds:g} ms are too few for a call.")
        return settings
    seconds = milliseconds / 1000
    return {**settings, "callTimeout": f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _translate(entry: dict[str, Any], name: str, texts: Texts) -> None:
    """Translate every text in place; a number in place of a text becomes one."""

    def translated(field: str, value: object) -> object:
        text = _text(value)
        return texts(name, field, text) if isinstance(text, str) else text

    for key in _TEXTS:
        if key in entry:
            entry[key] = translated(key, entry[key])
    args = entry.get("args")
    if isinstance(args, list):
        entry["args"] = [translated("args", one) for one in cast("list[object]", args)]
    for key in ("env", "headers"):
        values = entry.get(key)
        if isinstance(values, dict):
            every = cast("dict[str, object]", values).items()
            entry[key] = {
                one: translated(f"{key}.{one}", value) for one, value in every if value is not None
            }


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def _settle(entry: dict[str, Any], project: Path) -> None:
    """Make paths independent of where our file is, which need not be the project."""
    for key in ("cwd", "envFile"):
        text = entry.get(key)
        if isinstance(text, str) and text and not text.startswith(("~", "$")):
            entry[key] = str(project / text)
    command = entry.get("command")
    if isinstance(command, str) and not entry.get("cwd") and _is_local(entry, command, project):
        entry["cwd"] = str(project)


def _is_local(entry: Mapping[str, Any], command: str, project: Path) -> bool:
    """Say whether a server looks for something in the folder it is started in."""
    if "/" in command and not command.startswith(("/", "~", "$")):
        return True
    args: object = entry.get("args")
    if not isinstance(args, list):
        return False
    return any(_is_there(project, one) for one in cast("list[object]", args))


def _is_there(project: Path, text: object) -> bool:
    if not isinstance(text, str) or not text or text.startswith(("-", "/", "~")):
        return False
    try:
        return (project / text).exists()
    except (OSError, ValueError):  # too long for a path, or no path at all
        return False


def _secrets_in_clear(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where a secret stands, and what to write instead."""
    for variable, value in _pairs(entry, "env"):
        if _is_secret(variable, value) or any(map(_is_clear, secrets_in(value))):
            yield f"env.{variable}", f"${{{variable}}}"
    for header, value in _pairs(entry, "headers"):
        if _is_secret(header, value):
            yield f"headers.{header}", _with_reference(value, name, header.removeprefix("X-"))
    url: object = entry.get("url")
    if isinstance(url, str):
        yield from _in_address(name, "url", url)
    args: object = entry.get("args")
    if isinstance(args, list):
        yield from _in_args(name, [_or_empty(one) for one in cast("list[object]", args)])


def _in_address(name: str, where: str, text: str) -> Iterator[tuple[str, str]]:
    if _is_clear(password_of(text)):
        yield where, f"${{{upper_snake(f'{name} password')}}}"
    for key, value in query_of(text):
        if _is_secret(key, value):
            yield where, f"{key}=${{{upper_snake(f'{name} {key}')}}}"


def _in_args(name: str, args: Sequence[str]) -> Iterator[tuple[str, str]]:
    for flag, value in named_in_args(args):
        if _is_secret(flag, value):
            yield f"args, at {flag},", _with_reference(value, "", flag)
    for one in args:
        yield from _in_address(name, "args", one)


def _with_reference(value: str, server: str, what: str) -> str:
    """Return what is written in place of a value, the words before a token as they are."""
    found = _WITH_SCHEME.fullmatch(value)
    what = "token" if found and server else what
    return f"{found[1] if found else ''}${{{upper_snake(f'{server} {what}'.strip())}}}"


def _or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _pairs(entry: Mapping[str, Any], key: str) -> Sequence[tuple[str, str]]:
    values: object = entry.get(key)
    if not isinstance(values, dict):
        return ()
    every = cast("dict[str, object]", values).items()
    return [(name, value) for name, value in every if isinstance(value, str)]


def _is_secret(name: str, value: str) -> bool:
    return is_secret_name(name) and _is_clear(value)


def _is_clear(value: str) -> bool:
    """Say whether a value is more than a reference, a number or the next option."""
    return bool(value) and "${" not in value and not value.startswith("-") and not value.isdecimal()
