"""References in the files of other hosts, and how they are written here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agentkit.mcp._environment import is_inherited

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_ENVIRONMENT = re.compile(r"env:[A-Za-z_]\w*|[A-Z_][A-Z0-9_]*(?::-.*)?", re.DOTALL)
_DOLLAR = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class Texts(Protocol):
    """Translates one text of a server."""

    def __call__(self, server: str, field: str, text: str) -> str:
        """Return `text`, found in that field of that server, as it is written here."""
        ...


def upper_snake(name: str) -> str:
    """Return the name of a variable for `name`.

    >>> [upper_snake(name) for name in ("perplexity-key", "githubToken", "2nd key")]
    ['PERPLEXITY_KEY', 'GITHUB_TOKEN', 'INPUT_2_ND_KEY']
    """
    words = "_".join(_WORD.findall(name)).upper()
    return words if words[:1].isalpha() else f"INPUT_{words}".rstrip("_")


def same_texts(server: str, field: str, text: str) -> str:  # noqa: ARG001 - it is a `Texts`
    """Leave a text that is written as it is here."""
    return text


def dollar_texts(server: str, field: str, text: str) -> str:  # noqa: ARG001 - it is a `Texts`
    """Put braces around `$VAR`; in `env`, a variable that is not set is empty.

    >>> dollar_texts("a", "env.T", "$T ${U}"), dollar_texts("a", "url", "http://$HOST/mcp")
    ('${T:-} ${U:-}', 'http://${HOST}/mcp')
    """
    default = ":-" if field.startswith("env.") else ""
    return _DOLLAR.sub(lambda found: f"${{{found[1] or found[2]}{default}}}", text)


@dataclass(frozen=True, slots=True)
class PlainTexts:
    """Of a host that replaces nothing in them; it says where we would."""

    notes: list[str]

    def __call__(self, server: str, field: str, text: str) -> str:
        """Return the same text."""
        if found := _REFERENCE.search(text):
            self.notes.append(
                f"server {server!r}: {field} holds {found[0]}, which is a variable from now on."
            )
        return text


@dataclass(frozen=True, slots=True)
class EditorTexts:
    """Of VS Code, and of Cursor, which has taken over a part of it.

    Attributes:
        home: of the person.
        workspace: the folder that is open.
        project: whether the file says so; it is the working folder otherwise.
        inputs: what a person is asked for, by its id.
        notes: what a person must know is added here.
    """

    home: Path
    workspace: Path
    project: bool
    inputs: Mapping[str, Mapping[str, Any]]
    notes: list[str]
    _variables: dict[str, str] = field(default_factory=dict[str, str])

    def __call__(self, server: str, field: str, text: str) -> str:
        """Return `text` with folders and inputs replaced."""
        where = f"server {server!r}: {field}"
        return _REFERENCE.sub(lambda found: self._value(where, found), text)

    def _value(self, where: str, found: re.Match[str]) -> str:
        content = found[1]
        fixed = self._fixed(where, content)
        if fixed is not None:
            return fixed
        if content.startswith("input:"):
            return self._input(content.removeprefix("input:"))
        if not _ENVIRONMENT.fullmatch(content):
            self.notes.append(f"{where} holds {found[0]}: write what it stands for.")
        return found[0]

    def _fixed(self, where: str, content: str) -> str | None:
        if content.startswith("workspaceFolder") and not self.project:
            self.notes.append(f"{where}: ${{{content}}} is taken to be {self.workspace}.")
        return {
            "workspaceFolder": str(self.workspace),
            "workspaceFolderBasename": self.workspace.name,
            "userHome": str(self.home),
            "pathSeparator": "/",
            "/": "/",
        }.get(content)

    def _input(self, name: str) -> str:
        known = self.inputs.get(name, {})
        default = known.get("default")
        usable = isinstance(default, str) and "}" not in default
        if name not in self._variables:
            self._variables[name] = variable = self._variable(name)
            self.notes.append(_about_input(variable, name, known, optional=usable))
        return f"${{{self._variables[name]}{f':-{default}' if usable else ''}}}"

    def _variable(self, name: str) -> str:
        """Return a variable that has no other meaning, in our environment or in this file."""
        variable = upper_snake(name)
        if is_inherited(variable):
            variable = f"INPUT_{variable}"
        while variable in self._variables.values():
            variable += "_2"
        return variable


def _about_input(variable: str, name: str, known: Mapping[str, Any], *, optional: bool) -> str:
    what = "a password: " if known.get("password") is True else ""
    what += str(known.get("description") or f"what is asked for as {name!r}").rstrip(".")
    options = known.get("options")
    if isinstance(options, list) and options:
        what += f"; one of {', '.join(map(str, options))}"  # pyright: ignore[reportUnknownArgumentType]
    return f"Set the variable {variable}, {what}." + (
        " Without it, the default is taken." if optional else ""
    )
