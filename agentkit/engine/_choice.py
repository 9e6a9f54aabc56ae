"""Which engine the settings mean: one that runs elsewhere, one of ours on a GPU, or the embedded one."""

from pathlib import Path
from typing import TypeAlias

from agentkit.engine._fit import Fit, check_fit, choose, read_gpus
from agentkit.engine._install import find_sglang
from agentkit.engine._profiles import Profile, find_profile, read_profiles
from agentkit.engine._server_profile import (
    ServerProfile,
    find_server_profile,
    read_server_profiles,
)
from agentkit.errors import ConfigurationError

Engine: TypeAlias = Profile | ServerProfile
"""What can be started here."""

AUTO, EMBEDDED, URL = "auto", "embedded", "url"


def choose_engine(
    name: str, *, weights: str | None, python: Path | None, data_dir: Path, port: int | None = None
) -> Engine:
    """Return the engine to start.

    Args:
        name: "auto", "embedded", or the name or file of a launch profile. "auto" takes SGLang where
            it is installed and a GPU fits, and the embedded engine elsewhere.
        weights: of the embedded engine: a GGUF file, or the name of a profile; of a server: a folder.
        python: of the environment that has the server, where it is not agentkit's own.
        data_dir: where `agentkit server install` puts it.
        port: of the server, instead of the profile's.

    Raises:
        ConfigurationError: there is no such profile.
        EngineError: it does not fit the GPUs of this machine.
    """
    if name == EMBEDDED or (name == AUTO and weights is not None):
        return find_profile(weights)
    if name == AUTO:
        found = suggest_server(python, data_dir)
        return find_profile(None) if found is None else _at_port(found.profile, port)
    engine = find_engine(name)
    if isinstance(engine, Profile):
        return engine
    profile = _at_port(engine, port)
    if weights is not None:
        profile = profile.model_copy(update={"weights": Path(weights).expanduser().absolute()})
    if profile.memory is None:
        return profile
    return check_fit(profile, read_gpus(), read_server_profiles()).profile


def find_engine(name: str) -> Engine:
    """Return the launch profile of that name, of whichever engine, or the one in a file.

    Raises:
        ConfigurationError: there is none.
    """
    if name in {profile.name for profile in read_profiles()}:
        return find_profile(name)
    try:
        return find_server_profile(name)
    except ConfigurationError as error:
        if name.endswith(".toml"):
            raise
        raise ConfigurationError(
            f"There is no engine {name!r}: it is auto, embedded, url, or a launch profile.",
            hint="AGENTKIT_ENGINE or --engine says which; `agentkit server profiles` lists profiles.",
        ) from error


def suggest_server(python: Path | None, data_dir: Path) -> Fit | None:
    """Return the profile that "auto" starts a server with, if SGLang is there and a GPU fits."""
    if find_sglang(python, data_dir) is None:
        return None
    gpus = read_gpus()
    return choose(read_server_profiles(), gpus) if gpus else None


def _at_port(profile: ServerProfile, port: int | None) -> ServerProfile:
    if port is None:
        return profile
    return profile.model_copy(update={"server": profile.server.model_copy(update={"port": port})})
