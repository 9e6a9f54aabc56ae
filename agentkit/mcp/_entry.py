"""One entry of `mcp_servers.json`: its keys, their other names, their types."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from itertools import starmap
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast
from urllib.parse import urlsplit

from agentkit.errors import ConfigurationError
from agentkit.mcp._config import ServerConfig
from agentkit.mcp._env_file import read_env_file
from agentkit.mcp._environment import as_address, is_secret_name, named_in_args, secrets_in
from agentkit.mcp._oauth_config import OAuthConfig, read_oauth, unknown_in
from agentkit.mcp._variables import SHORTEST_SECRET, UnsetVariableError, Variables

T = TypeVar("T")

_STDIO = ("stdio",)
_HTTP = ("http", "streamable-http", "streamableHttp", "streamable_http")
_FOR_PEOPLE = frozenset({"description", "comment", "type", "transport"})
_WITH_SCHEME = re.compile(r"[A-Za-z]+ +(\S+)")
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_AMBIGUOUS_BELOW = 1000
"""A bare `timeout` is in milliseconds elsewhere; a small one was surely meant in seconds."""
_LEAST_MESSAGE = 1024
"""Not even the greeting of a server fits into fewer bytes."""
_CLOSE = 0.75
_RESTRICTING = frozenset(
    (
        *("approval", "disabled", "enabled", "pins", "required", "trusted"),
        *("includeTools", "include", "allowedTools"),
        *("excludeTools", "exclude", "disabledTools"),
    )
)
"""Without one of these a server may do more than was meant."""
_ELSEWHERE = {
    **dict.fromkeys(("enabledtools", "allow", "allowlist"), "includeTools"),
    **dict.fromkeys(("blockedtools", "deniedtools", "deny", "denylist"), "excludeTools"),
}
"""What other programs call the same thing."""


class Entry:
    """Takes the settings of one server apart; every key is looked at once."""

    def __init__(self, path: Path, name: str, settings: object, variables: Variables) -> None:
        self._path = path
        self._name = name
        self._variables = variables
        self._left: dict[str, Any] = {}
        self._problem = self._hint = ""
        self.warnings: list[str] = []
        if not name.strip():
            self._fail("a server needs a name", "Put a name in place of the empty one.")
        if not isinstance(settings, dict):
            self._fail("must be an object", 'Write {"command": "..."} or {"url": "..."}.')
        self._left = dict(cast("dict[str, Any]", settings))
        self._given = tuple(self._left)

    def server(self) -> ServerConfig:
        """Return the server.

        Raises:
            ConfigurationError: a wrong type, or no way to tell what to start.
        """
        cwd = self._cwd()
        command, url = self._target(cwd)
        transport = self._transport(url)
        env = {**self._env_file(), **self._texts("env")}
        headers = self._texts("headers")
        oauth = self._oauth(url)
        args = tuple(self._expand("args", text) for text in self._list("args"))
        self._hide(url, args, env)
        server = ServerConfig(
            name=self._name,
            command=command,
            args=args,
            env=env,
            cwd=cwd,
            url=url,
            transport=transport,
            headers=headers,
            oauth=oauth,
            disabled=self._flag("disabled") or not self._flag("enabled", default=True),
            required=self._flag("required"),
            include=self._list("includeTools", "include", "allowedTools"),
            exclude=self._list("excludeTools", "exclude", "disabledTools"),
            trusted=self._flag("trusted"),
            approval=self._choice("approval", "never", "always"),
            approved=self._list("autoApprove", "alwaysAllow"),
            prefix=self._flag("prefix"),
            connect_seconds=self._seconds("connect"),
            call_seconds=self._seconds("call", "toolTimeoutMs", "timeoutMs")
            or self._bare_timeout(),
            idle_seconds=self._seconds("idle"),
            close_seconds=self._seconds("close"),
            pins=self._choice("pins", "first-use", "approved", "off"),
            resources=self._flag("resources"),
            prompts=self._flag("prompts"),
            roots=tuple(self._folder(self._expand("roots", text)) for text in self._list("roots")),
            max_memory_bytes=self._count("maxMemoryBytes"),
            max_result_chars=self._count("maxResultChars"),
            max_message_bytes=self._count("maxMessageBytes", _LEAST_MESSAGE)
            or ServerConfig(name="").max_message_bytes,
            problem=self._problem,
            hint=self._hint,
            secrets=self._secrets(env, headers, oauth),
        )
        return self._checked(server)

    def _checked(self, server: ServerConfig) -> ServerConfig:
        """Say what has no effect; a server that may lack a restriction so is not to be used."""
        for key in self._left:
            if key in _FOR_PEOPLE:
                continue
            meant = _meant(key)
            problem = f"{key!r} has no effect{_instead(key, meant)}"
            if meant in _RESTRICTING and not (server.problem or server.disabled):
                server = replace(server, problem=problem, hint=f"Correct {key!r}, or remove it.")
            else:
                self.warnings.append(f"server {self._name!r}: {problem}")
        return server

    def _target(self, cwd: Path | None) -> tuple[str, str]:
        command = self._expand("command", self._text("command"))
        key = "httpUrl" if "httpUrl" in self._left else "url"
        url = self._expand(key, self._text(key))
        if bool(command) == bool(url) and not self._problem:
            self._fail(
                f"needs either 'command' or 'url', and has {self._named() or 'neither'}",
                'Write "command" and "args" to start a program, "url" to speak to a running server.',
            )
        if url and not self._problem:
            self._check_url(url)
        if "/" in command and not Path(command).expanduser().is_absolute():
            return str((cwd or self._path.parent.absolute()) / command), url
        return str(Path(command).expanduser()) if command.startswith("~") else command, url

    def _named(self) -> str:
        return ", ".join(map(repr, self._given))

    def _transport(self, url: str) -> Literal["", "http", "sse"]:
        kind = self._left.get("type", self._left.get("transport"))
        if url and (kind == "sse" or (kind is None and urlsplit(url).path.endswith("/sse"))):
            return "sse"
        allowed = _HTTP if url else _STDIO
        if kind is not None and kind not in allowed and not self._problem:
            self._fail(*_wrong_type(kind, url))
        return "http" if url and kind is not None else ""

    def _check_url(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:  # half an IPv6 address
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            self._fail("'url' is not an http or https address", "Write http://host:port/mcp.")

    def _cwd(self) -> Path | None:
        text = self._expand("cwd", self._text("cwd"))
        return self._folder(text) if text else None

    def _folder(self, text: str) -> Path:
        return self._path.parent.absolute() / Path(text).expanduser()

    def _env_file(self) -> dict[str, str]:
        text = self._expand("envFile", self._text("envFile"))
        if not text:
            return {}
        try:
            return read_env_file(self._path.parent.absolute() / Path(text).expanduser())
        except ConfigurationError as error:
            self._cannot(f"envFile: {error}", error.hint)
            return {}

    def _oauth(self, url: str) -> OAuthConfig | None:
        how = self._choice("auth", "", "oauth")
        given: dict[str, Any] | None = self._take(("oauth",), (dict,), "an object", lambda: None)
        if not how and given is None:
            return None
        if not url and not self._problem:
            self._fail("'oauth' is for servers with a 'url'", "Take it out of this entry.")
        oauth = read_oauth(given or {}, self._expand, self._fail)
        if oauth.missing:
            self._cannot(f"{oauth.missing} is missing", "Write the id and the secret of a client.")
        self.warnings.extend(
            f"server {self._name!r}: 'oauth.{key}' has no effect."
            for key in unknown_in(given or {})
        )
        return oauth

    def _hide(self, url: str, args: Sequence[str], env: Mapping[str, str]) -> None:
        """Remember what is secret by its name among the arguments, or by its shape anywhere."""
        named = {value for name, value in named_in_args(args) if is_secret_name(name)}
        texts = (url, *args, *starmap(as_address, env.items()))
        self._variables.secrets |= named.union(*map(secrets_in, texts))

    def _secrets(
        self, env: dict[str, str], headers: dict[str, str], oauth: OAuthConfig | None
    ) -> tuple[str, ...]:
        named = {value for name, value in env.items() if is_secret_name(name)}
        named |= {oauth.client_secret} if oauth else set()
        every = named | set(headers.values()) | self._variables.secrets
        # "Bearer x" is sent, but x alone may be what a server repeats.
        every |= {found[1] for value in every if (found := _WITH_SCHEME.fullmatch(value))}
        # A log is looked through line by line: a key of many lines is found by each of them.
        every |= {line.strip() for value in every for line in value.splitlines()}
        worth = (secret for secret in every if len(secret) >= SHORTEST_SECRET)
        # Longest first: a secret that is part of another must not leave the rest of it behind.
        return tuple(sorted(worth, key=lambda secret: (-len(secret), secret)))

    def _seconds(self, what: str, *milliseconds: str) -> float | None:
        seconds = self._time(1, f"{what}Seconds", f"{what}Timeout")
        return self._time(1000, f"{what}TimeoutMs", *milliseconds) if seconds is None else seconds

    def _time(self, in_a_second: int, *keys: str) -> float | None:
        """Return the seconds of a number, of which so many are a second, or of a text like "30s"."""
        key = next((name for name in keys if name in self._left), "")
        text: Any = self._left.get(key)
        if not isinstance(text, str):
            value = self._number(*keys)
            return None if value is None else value / in_a_second
        found = _TIME.fullmatch(text.strip())
        if found is None or float(found[1]) <= 0:
            self._fail(
                f"{key!r} is {text!r}, which is no time", 'Write "500ms", "30s", "2m" or "1h".'
            )
        del self._left[key]
        return float(found[1]) * _UNITS[found[2]]

    def _bare_timeout(self) -> float | None:
        says_unit = isinstance(self._left.get("timeout"), str)
        seconds = self._time(1000, "timeout")
        if seconds is None or says_unit or seconds * 1000 >= _AMBIGUOUS_BELOW:
            return seconds
        meant = f"{seconds * 1000:g}"
        self.warnings.append(
            f"server {self._name!r}: 'timeout' is in milliseconds, and {meant} is too few: "
            f'it has no effect. Write "{meant}s".'
        )
        return None

    def _number(self, *keys: str) -> float | None:
        value = self._take(keys, (int, float), "a number", lambda: -1)
        if value == -1:
            return None
        if isinstance(value, bool) or not 0 < value < float("inf"):
            self._fail(f"{keys[0]!r} must be more than 0", "Leave it out, or write a number.")
        return float(value)

    def _count(self, key: str, least: int = 1) -> int | None:
        value = self._number(key)
        if value is not None and value < least > 1:
            self._fail(
                f"{key!r} is {value:g}, which is too few",
                f"Leave it out, or write {least} at least.",
            )
        return None if value is None else max(1, int(value))

    def _flag(self, key: str, *, default: bool = False) -> bool:
        return self._take((key,), (bool,), "true or false", lambda: default)

    def _text(self, key: str) -> str:
        return self._take((key,), (str,), "a text", str)

    def _list(self, *keys: str) -> tuple[str, ...]:
        values: list[Any] = self._take(keys, (list,), "a list of texts", list)
        if not all(isinstance(value, str) for value in values):
            self._fail(f"{keys[0]!r} must be a list of texts", "Put each entry in quotes.")
        return tuple(values)

    def _choice(self, key: str, *allowed: T) -> T:
        """Return one of the words that are allowed, the first where none is given."""
        said = self._text(key) or allowed[0]
        if said not in allowed:
            self._fail(f"{key!r} is {said!r}", f"Write one of {', '.join(map(repr, allowed))}.")
        return allowed[allowed.index(said)]

    def _texts(self, key: str) -> dict[str, str]:
        values: dict[str, Any] = self._take((key,), (dict,), "an object of texts", dict)
        for name, value in values.items():
            if not isinstance(value, str):
                self._fail(f"{key}.{name} must be a text", "Put the value in quotes.")
        return {name: self._expand(f"{key}.{name}", value) for name, value in values.items()}

    def _take(
        self,
        keys: Iterable[str],
        types: tuple[type[Any], ...],
        expected: str,
        default: Callable[[], T],
    ) -> Any:
        for key in keys:
            if key not in self._left:
                continue
            value = self._left.pop(key)
            if not isinstance(value, types):
                self._fail(
                    f"{key!r} must be {expected}, not {type(value).__name__}",
                    f"Write {expected} there.",
                )
            return value
        return default()

    def _expand(self, field: str, text: str) -> str:
        try:
            return self._variables.expand(text)
        except UnsetVariableError as error:
            self._cannot(
                f"{field}: {error}", "Set the variable, or give a default: ${NAME:-default}."
            )
            return ""

    def _cannot(self, problem: str, hint: str) -> None:
        """Remember why the server cannot be used; the first reason is told."""
        if not self._problem:
            self._problem, self._hint = problem, hint

    def _fail(self, what: str, hint: str) -> NoReturn:
        raise ConfigurationError(f"{self._path.name}: {what}", hint=hint)


def _wrong_type(kind: object, url: str) -> tuple[str, str]:
    """Return what is wrong with a `type`, and how to mend it."""
    if url:
        known = ", ".join((*_HTTP, "sse"))
        return f"'type' is {kind!r}", f"Leave it out, or write one of {known}."
    return (
        f"'type' is {kind!r}, and 'command' starts a program",
        "Leave 'type' out; a server that runs already has a 'url' in place of 'command'.",
    )


def _meant(key: str) -> str:
    """Return the key that is nearly `key`, or `key` itself if it is known; empty if none is.

    >>> [_meant(key) for key in ("approvl", "exclude_tools", "enabledTools", "odd")]
    ['approval', 'excludeTools', 'includeTools', '']
    """
    known = _known_keys()
    plain = _plain(key)
    if key in known.values() or plain in _ELSEWHERE:
        return _ELSEWHERE.get(plain, key)
    close = get_close_matches(plain, known, 1, _CLOSE)
    return known[close[0]] if close else ""


def _instead(key: str, meant: str) -> str:
    if key == meant:
        return " beside another key of the same meaning."
    return f". Did you mean {meant!r}?" if meant else "."


@cache
def _known_keys() -> Mapping[str, str]:
    """Return every key that the schema has for a server, by its letters alone."""
    schema = files("agentkit.mcp").joinpath("mcp_servers.schema.json").read_text(encoding="utf-8")
    return {_plain(key): key for key in json.loads(schema)["$defs"]["server"]["properties"]}


def _plain(key: str) -> str:
    return re.sub(r"[\W_]", "", key.lower())
