"""Environment and TOML, read once into one frozen `Settings`."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_cache_path, user_config_path, user_data_path, user_state_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from agentkit.errors import ConfigurationError
from agentkit.policies import (
    Limits,
    PhasedThinking,
    Plan,
    Policy,
    Retry,
    Timeouts,
    ToolCalls,
    Traffic,
    Untrusted,
)

_APP = "agentkit"
_PREFIX = "AGENTKIT_"


class Settings(BaseSettings):
    """What a runtime is told from outside.

    Read, first wins: arguments, environment (`AGENTKIT_MODEL`, `AGENTKIT_LIMITS__STEPS`),
    `agentkit.toml` in the working folder, `config.toml` in the user's configuration folder.

    Attributes:
        engine: "url" uses `base_url`; "embedded" runs a small model in a child process; the name
            or file of a launch profile starts that (`agentkit server profiles` lists them);
            "auto" takes `base_url` where it is set, else SGLang where it is installed and a GPU
            fits, else the embedded engine.
        base_url: of an OpenAI-compatible server, ending in `/v1`; several, with commas between,
            stand for each other.
        api_key: sent to `base_url` only.
        model: as the server names it; the first it lists where unset.
        weights: for the embedded engine, a GGUF file or a name that `agentkit models list` shows;
            for a server of ours, the model's folder.
        server_python: the environment, or its python, that has SGLang or vLLM, where
            `agentkit server install` has not made one.
        server_port: of a server of ours, instead of its profile's; 0 for any free one.
        hub: where a server's weights are fetched from: "huggingface" or "modelscope".
        small_model: whether it is too small to decide by itself when it is done, so that runs
            plan for it; by its name where unset.
        mcp_servers: path of the server file; `mcp_servers.json` of the working folder where unset.
        schema_share: of the model's context; if what MCP tools take up of it is more, the model
            finds them with a search tool instead.
        tools: names of the built-in tools to offer; all where unset.
        untrusted: what a run that has read untrusted content may still do: see `Policy`.
        allow_tools: names of tools that such a run may call all the same.
        allow_hosts: hosts whose addresses it may open, subdomains included.
        sampling: overrides of the model's preset, such as `temperature`.
        strict_tools: hold arguments to their schema by grammar where the server can (SGLang).
        engine_keep_alive: seconds for which an engine of ours outlives its last user.
        trace: whether runs leave a trace file.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
    )

    engine: str = "auto"
    base_url: str | None = None
    api_key: SecretStr | None = None
    model: str | None = None
    weights: str | None = None
    server_python: Path | None = None
    server_port: Annotated[int, Field(ge=0, lt=65_536)] | None = None
    hub: Literal["huggingface", "modelscope"] | None = None
    mcp_servers: Path | None = None
    schema_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    tools: Annotated[tuple[str, ...] | None, NoDecode] = None
    untrusted: Untrusted = "auto"
    allow_tools: Annotated[tuple[str, ...], NoDecode] = ()
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    small_model: bool | None = None
    thinking: PhasedThinking = "auto"
    tool_calls: ToolCalls = "auto"
    plan: Plan = "auto"
    sampling: dict[str, Any] = Field(default_factory=dict[str, Any])
    strict_tools: bool = True
    engine_keep_alive: float = 0.0
    retry: Retry = Field(default_factory=Retry)
    tool_retry: Retry = Field(default_factory=lambda: Policy().tool_retry)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    limits: Limits = Field(default_factory=Limits)
    traffic: Traffic = Field(default_factory=Traffic)
    trace: bool = True
    state_dir: Path = Field(default_factory=lambda: user_state_path(_APP))
    cache_dir: Path = Field(default_factory=lambda: user_cache_path(_APP))
    data_dir: Path = Field(default_factory=lambda: user_data_path(_APP))

    @field_validator("tools", "allow_tools", "allow_hosts", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        """Read `clock, fetch`, as it stands in an environment variable."""
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator(
        "base_url",
        "api_key",
        "model",
        "weights",
        "server_python",
        "server_port",
        "hub",
        "mcp_servers",
        "small_model",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """Read `AGENTKIT_MODEL= agentkit run` as no model; an empty list of tools is a list."""
        return None if value == "" else value

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Each address of `base_url`."""
        return tuple(url.strip() for url in (self.base_url or "").split(",") if url.strip())

    @property
    def policy(self) -> Policy:
        """Retries, timeouts and limits together."""
        return Policy(
            retry=self.retry,
            tool_retry=self.tool_retry,
            timeouts=self.timeouts,
            limits=self.limits,
            untrusted=self.untrusted,
            allow_tools=self.allow_tools,
            allow_hosts=self.allow_hosts,
        )

    @property
    def trace_dir(self) -> Path:
        """Where runs leave their traces."""
        return self.state_dir / "traces"

    @property
    def pins_dir(self) -> Path:
        """Where the tools of MCP servers are written down as they were approved."""
        return self.state_dir / "pins"

    @property
    def oauth_dir(self) -> Path:
        """Where logins at MCP servers are kept."""
        return self.state_dir / "oauth"

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
            *(TomlConfigSettingsSource(settings_cls, path) for path in _files()),
        )


def read_settings(**given: object) -> Settings:
    """Return the settings; `given` values win over environment and files, `None` is not given.

    Raises:
        ConfigurationError: a value is unknown or of the wrong kind; the message names it.
    """
    values = {name: value for name, value in given.items() if value is not None}
    _refuse_mistyped(os.environ)
    try:
        return Settings(**values)  # pyright: ignore[reportArgumentType] - checked by pydantic
    except ValidationError as error:
        raise ConfigurationError(_first_problem(error), hint=_HINT) from error
    except SettingsError as error:  # it names the field only: a part of JSON is missing there
        field = str(error).partition('"')[2].partition('"')[0]
        variable = f"{_PREFIX}{field.upper()}"
        raise ConfigurationError(f"{variable} is not valid JSON.", hint=_HINT) from error
    except (OSError, ValueError) as error:  # an unreadable or malformed TOML file
        raise ConfigurationError(
            f"{_broken_file() or 'Settings'} cannot be read: {error}.",
            hint="Write TOML: texts in quotes, one `name = value` a line, tables as [limits].",
        ) from error


def _files() -> tuple[Path, Path]:
    return Path("agentkit.toml"), user_config_path(_APP) / "config.toml"


_HINT = "Settings come from arguments, AGENTKIT_* variables, agentkit.toml and the user's config."
_NO_SETTINGS = (
    "CODE_INPUTS",
    "CODE_ISOLATION",
    "CODE_MINIMUM",
    "CODE_TOOLS",
    "FETCH_ALLOW",
    "FETCH_DENY",
    "FETCH_ONLY",
    "FETCH_PROXY",
    "FETCH_ROBOTS",
    "MCP_SERVER",
    "ENGINE_PARENT",
    "ENGINE_KEY",
)  # variables of ours all the same
_CHOICES = {  # where pydantic names each branch of a union in a sentence of its own
    "plan": "'auto', true or false",
    "small_model": "true or false",
    "thinking": "'auto', true, false, or one of them for each of plan, act, answer and check",
}
_CLOSE = 0.75  # of 1; MODLE is to MODEL what 0.8 is to 1
_GROUPS = {
    group: [field.name for field in fields(policy)]
    for group, policy in (
        ("limits", Limits),
        ("timeouts", Timeouts),
        ("retry", Retry),
        ("tool_retry", Retry),
        ("traffic", Traffic),
    )
}
_FREE = ("SAMPLING", "THINKING")  # what is below them is not ours to name


def _refuse_mistyped(environ: Mapping[str, str]) -> None:
    """Raise for a variable that nobody reads, but that was surely meant for a setting.

    Raises:
        ConfigurationError: with the name that was meant.
    """
    top = [*(name.upper() for name in Settings.model_fields), *_NO_SETTINGS]
    known = [
        *top,
        *(f"{group}__{name}".upper() for group, names in _GROUPS.items() for name in names),
    ]
    for variable in environ:
        name = variable.upper().removeprefix(_PREFIX)
        if not variable.upper().startswith(_PREFIX) or name.startswith("TEST_"):
            continue
        if name in known or name.partition("__")[0] in _FREE:
            continue
        if close := get_close_matches(name, known, 1, _CLOSE):
            raise ConfigurationError(
                f"{variable} is no setting of agentkit, and would have no effect.",
                hint=f"Did you mean {_PREFIX}{close[0]}?",
            )


def _broken_file() -> str:
    for path in _files():
        try:
            tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return str(path)
    return ""


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    choices = _CHOICES.get(str(problem["loc"][0])) if problem["loc"] else None
    if choices is not None:
        where = str(problem["loc"][0])
    variable = f"{_PREFIX}{where.upper().replace('.', '__')}"
    source = f" ({variable})" if variable in os.environ else ""
    return f"Setting {where!r}{source}: {f'must be {choices}' if choices else problem['msg']}."
