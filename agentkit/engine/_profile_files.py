"""The files of launch profiles: where they are, and what is said of a wrong one."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from agentkit.errors import ConfigurationError

_SHIPPED = Path(__file__).with_name("profiles")  # an installed wheel
_CHECKOUT = Path(__file__).parents[2] / "launch"  # a source checkout


class Table(BaseModel):
    """A table of a profile: an entry that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(Table):
    """What every launch profile says.

    Attributes:
        name: of the file, without `.toml`.
        model: the name that requests use.
        why: one sentence on when to choose it.
        small: too small to decide by itself when a task is done.
        quantised: weights of fewer bits than they were trained in.
    """

    name: str
    model: str
    why: str
    licence: str
    small: bool
    quantised: bool


NamedT = TypeVar("NamedT", bound=Named)


def read_named(kind: type[NamedT], *, server: bool) -> list[NamedT]:
    """Return the profiles that have a `[server]` table, or those that have none, by name.

    Raises:
        ConfigurationError: a file cannot be read, or has an unknown or wrong entry.
    """
    folder = _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT
    tables = {path: _load(path) for path in sorted(folder.glob("*.toml"))}
    return [
        _check(kind, path, table) for path, table in tables.items() if server is ("server" in table)
    ]


def read_file(kind: type[NamedT], path: Path) -> NamedT:
    """Return the profile in a file.

    Raises:
        ConfigurationError: it cannot be read, or has an unknown or wrong entry.
    """
    return _check(kind, path, _load(path))


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Launch profile {path} cannot be read: {error}.") from error


def _check(kind: type[NamedT], path: Path, table: dict[str, Any]) -> NamedT:
    try:
        return kind.model_validate({"name": path.stem, **table})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(
            f"Launch profile {path.name}, entry {where!r}: {problem['msg']}.",
            hint="launch/README.md lists the entries of a profile.",
        ) from error
