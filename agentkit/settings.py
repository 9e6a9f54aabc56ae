"""Environment and TOML, read once into one frozen `Settings`."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_cache_path, user_config_path, user_state_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agentkit.errors import ConfigurationError
from agentkit.policies import Limits, PhasedThinking, Plan, Policy, Retry, Timeouts, ToolCalls

_APP = "agentkit"


class Settings(BaseSettings):
    """What a runtime is told from outside.

    Read, first wins: arguments, environment (`AGENTKIT_MODEL`, `AGENTKIT_LIMITS__STEPS`),
    `agentkit.toml` in the working folder, `config.toml` in the user's configuration folder.

    Attributes:
        engine: "embedded" runs a small model in a child process; "url" uses `base_url`;
            "auto" takes `base_url` where it is set and the embedded engine elsewhere.
        base_url: of an OpenAI-compatible server, ending in `/v1`.
        api_key: sent to `base_url` only.
        model: as the server names it; the first it lists where unset.
        weights: a GGUF file, or a name that `agentkit models list` shows; for the embedded engine.
        small_model: whether it is too small to decide by itself when it is done, so that runs
            plan for it; by its name where unset.
        mcp_servers: path of the server file; `mcp_servers.json` of the working folder where unset.
        tools: names of the built-in tools to offer; all where unset.
        sampling: overrides of the model's preset, such as `temperature`.
        strict_tools: hold arguments to their schema by grammar where the server can (SGLang).
        engine_keep_alive: seconds for which an embedded engine outlives its last user.
        trace: whether runs leave a trace file.
    """

    model_config = SettingsConfigDict(
        env_prefix="AGENTKIT_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
    )

    engine: Literal["auto", "embedded", "url"] = "auto"
    base_url: str | None = None
    api_key: SecretStr | None = None
    model: str | None = None
    weights: str | None = None
    mcp_servers: Path | None = None
    tools: Annotated[tuple[str, ...] | None, NoDecode] = None
    small_model: bool | None = None
    thinking: PhasedThinking = "auto"
    tool_calls: ToolCalls = "auto"
    plan: Plan = "auto"
    sampling: dict[str, Any] = Field(default_factory=dict[str, Any])
    strict_tools: bool = True
    engine_keep_alive: float = 0.0
    retry: Retry = Field(default_factory=Retry)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    limits: Limits = Field(default_factory=Limits)
    trace: bool = True
    state_dir: Path = Field(default_factory=lambda: user_state_path(_APP))
    cache_dir: Path = Field(default_factory=lambda: user_cache_path(_APP))

    @field_validator("tools", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        """Read `clock, fetch`, as it stands in an environment variable."""
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @property
    def policy(self) -> Policy:
        """Retry, timeouts and limits together."""
        return Policy(retry=self.retry, timeouts=self.timeouts, limits=self.limits)

    @property
    def trace_dir(self) -> Path:
        """Where runs leave their traces."""
        return self.state_dir / "traces"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by pydantic-settings
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, the folder's file, the user's file."""
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, Path("agentkit.toml")),
            TomlConfigSettingsSource(settings_cls, user_config_path(_APP) / "config.toml"),
        )


def read_settings(**given: object) -> Settings:
    """Return the settings; `given` values win over environment and files, `None` is not given.

    Raises:
        ConfigurationError: a value is unknown or of the wrong kind; the message names it.
    """
    values = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**values)  # pyright: ignore[reportArgumentType] - checked by pydantic
    except ValidationError as error:
        raise ConfigurationError(_first_problem(error), hint=_HINT) from error
    except (OSError, ValueError) as error:  # an unreadable or malformed TOML file
        raise ConfigurationError(f"Settings cannot be read: {error}", hint=_HINT) from error


_HINT = "Settings come from arguments, AGENTKIT_* variables, agentkit.toml and the user's config."


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    variable = f"AGENTKIT_{where.upper().replace('.', '__')}"
    source = f" ({variable})" if variable in os.environ else ""
    return f"Setting {where!r}{source}: {problem['msg']}."
