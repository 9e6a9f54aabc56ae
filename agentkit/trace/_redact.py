"""Take secrets out of text before it reaches a disk."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

MASK = "[redacted]"
TOO_DEEP = "[nested too deeply]"
_SHORTEST = 6  # a shorter value would be found inside ordinary words
_DEEPEST = (
    200  # levels of arguments; as many as are read from a model, far below what the stack has
)

_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:api_?key|key|token|secret|password|passwd|passphrase|pass|credentials?|auth"
    r"|authorization|dsn|cookie|pat)s?(?:$|_)",
    re.IGNORECASE,
)
_SECRET_ARGUMENT = re.compile(
    r"(?:^|_|-)(?:api[_-]?key|access[_-]?key|password|passwd|passphrase|secret|token|authorization)$",
    re.IGNORECASE,
)
_HARMLESS = frozenset({"changeme", "default", "disabled", "enabled", "nothing", "not-needed"})

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"\b([Bb]earer) +(?:(?=[^\s\"]*\d)[\w.~+/=-]{6,}|[\w.~+/=-]{20,})", re.ASCII),
        rf"\1 {MASK}",
    ),
    (
        re.compile(r"(?<![A-Za-z0-9])(?:sk-[\w-]{8,}|(?:hf|ghp|github_pat)_\w{16,})", re.ASCII),
        MASK,
    ),
    (re.compile(r"://[^\s/@\"\\<>]+@"), f"://{MASK}@"),
)


class Redactor:
    """Replaces secrets by a mask, in JSON text and in plain text.

    >>> Redactor(["correct horse"])("say correct horse to sk-0123456789abcdef")
    'say [redacted] to [redacted]'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if _worth_hiding(secret) for form in _written(secret)}
        self._secrets = sorted(forms, key=len, reverse=True)  # the longest first: one holds another

    def __call__(self, text: str) -> str:
        """Return `text` without secrets; JSON stays JSON."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        if _may_hold_secret(text):
            for pattern, mask in _PATTERNS:
                text = pattern.sub(mask, text)
        return text


def without_secrets(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments with the values masked whose name says that they are secret.

    >>> without_secrets({"user": "ada", "login": {"password": "enigma"}})
    {'user': 'ada', 'login': {'password': '[redacted]'}}
    """
    for name, value in arguments.items():
        if isinstance(value, (dict, list)) or _is_secret_argument(name):
            return cast("Mapping[str, Any]", _masked(arguments))
    return arguments


def secrets_in(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the values of the variables whose name says that they are secret.

    >>> secrets_in({"HF_TOKEN": "abcdefgh", "TOKENIZERS_PARALLELISM": "never mind"})
    ('abcdefgh',)
    """
    variables = os.environ if environment is None else environment
    return tuple(value for name, value in variables.items() if _SECRET_VARIABLE.search(name))


@lru_cache(maxsize=1024)
def _is_secret_argument(name: str) -> bool:
    return _SECRET_ARGUMENT.search(name) is not None


def _masked(value: object, room: int = _DEEPEST) -> object:
    if not room and isinstance(value, (Mapping, list)):
        return TOO_DEEP
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, object]", value)
        return {
            name: MASK
            if _is_secret_argument(name) and isinstance(inner, str)
            else _masked(inner, room - 1)
            for name, inner in entries.items()
        }
    if isinstance(value, list):
        return [_masked(inner, room - 1) for inner in cast("list[object]", value)]
    return value


def _may_hold_secret(text: str) -> bool:
    """Look for what every pattern needs; ten times as fast as the patterns."""
    return (
        "://" in text
        or "earer " in text
        or "sk-" in text
        or "hf_" in text
        or "ghp_" in text
        or "github_pat_" in text
    )


def _worth_hiding(value: str) -> bool:
    is_path = value.startswith(("/", "~", "./")) and " " not in value  # SSH_AUTH_SOCK and friends
    return len(value) >= _SHORTEST and value.lower() not in _HARMLESS and not is_path


def _written(secret: str) -> set[str]:
    """Return the ways a value appears: plain, inside JSON, and inside JSON inside JSON."""
    once = json.dumps(secret, ensure_ascii=False)[1:-1]
    twice = json.dumps(once, ensure_ascii=False)[1:-1]
    return {secret, once, twice}
