"""Launch profiles of model servers: which model, on what hardware, started with which options."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from agentkit.engine._profile_files import Named, Table, read_file, read_named
from agentkit.errors import ConfigurationError

Flag: TypeAlias = str | int | float | bool
"""The value of a server's option; true is an option without a value."""

_TOML = ".toml"
_NATIVE_CONTEXT = 32_768  # of Qwen3, before YaRN stretches it


class Source(Table):
    """A repository of a model hub; Qwen's have one name on both."""

    repo: str
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    revision: str = "main"


class Memory(Table):
    """What a model takes on a GPU, for the sum that is done before a start.

    Attributes:
        weights_bytes: of all GPUs together, as loaded.
        layers: as `num_hidden_layers` in the model's config.json; and so the next two.
        kv_heads: `num_key_value_heads`.
        head_dim: `head_dim`.
    """

    weights_bytes: PositiveInt
    layers: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt

    def kv_bytes(self, bits: int) -> int:
        """Return the bytes of the KV cache that one token takes, on all GPUs together.

        >>> Memory(weights_bytes=1, layers=40, kv_heads=8, head_dim=128).kv_bytes(16) // 1024
        160
        """
        return 2 * self.layers * self.kv_heads * self.head_dim * bits // 8


class ServerOptions(Table):
    """How a server is started.

    Attributes:
        kind: the program: SGLang, vLLM, or SGLang behind the model gateway (smg).
        device: "cpu" is for tests: nothing is fitted to a GPU.
        context_tokens: of one conversation.
        reasoning_parser: takes the thinking out of the text.
        tool_call_parser: reads the calls.
        strict_thinking: no call inside a thought, and a budget for thinking; needs a GPU.
        memory_share: of the GPU's memory, for weights and KV cache.
        kv_cache: "fp8_e4m3" halves what a token takes.
        tensor_parallel: GPUs that share the model.
        replicas: servers behind a gateway, each on GPUs of its own.
        yarn_factor: stretches the context; 2 for 64k, 4 for 128k.
        port: 0 for any free one.
        start_seconds: patience with a start; by the size of the weights where unset.
        flags: further options, by their names without dashes.
        environment: variables of the process.
    """

    kind: Literal["sglang", "vllm", "smg"] = "sglang"
    device: Literal["cuda", "cpu"] = "cuda"
    context_tokens: PositiveInt = _NATIVE_CONTEXT
    reasoning_parser: str = "qwen3"
    tool_call_parser: str = "qwen"
    strict_thinking: bool = True
    memory_share: Annotated[float, Field(gt=0, lt=1)] = 0.85
    kv_cache: Literal["auto", "fp8_e4m3"] = "auto"
    tensor_parallel: PositiveInt = 1
    replicas: PositiveInt = 1
    yarn_factor: Annotated[float, Field(gt=1)] | None = None
    port: Annotated[NonNegativeInt, Field(lt=65_536)] = 30_000
    start_seconds: PositiveFloat | None = None
    flags: dict[str, Flag] = Field(default_factory=dict[str, Flag])
    environment: dict[str, str] = Field(default_factory=dict[str, str])


class ServerProfile(Named):
    """A model behind a server of its own, and how to start that.

    Attributes:
        choice: the order in which `auto` looks for one that fits; those without are only started
            by name.
        source: where the weights can be had; without it they are given as a folder.
        weights: a folder that is there already, instead of the source.
        memory: what it takes on a GPU; without it nothing is fitted.
    """

    choice: PositiveInt | None = None
    source: Source | None = None
    weights: Path | None = None
    memory: Memory | None = None
    server: ServerOptions

    @model_validator(mode="after")
    def _a_gpu_can_be_fitted(self) -> Self:
        if self.server.device == "cuda" and self.memory is None:
            raise ValueError("a server on a GPU needs a [memory] table")
        return self

    @property
    def gpus(self) -> int:
        """How many GPUs it wants."""
        return self.server.tensor_parallel * self.server.replicas


def read_server_profiles() -> tuple[ServerProfile, ...]:
    """Return every launch profile of a model server, in the order of choice, then by name.

    Raises:
        ConfigurationError: a profile cannot be read, or has an unknown or wrong entry.
    """
    profiles = read_named(ServerProfile, server=True)
    return tuple(sorted(profiles, key=lambda one: (one.choice is None, one.choice or 0, one.name)))


def find_server_profile(name_or_path: str) -> ServerProfile:
    """Return the profile of that name, or the one in a file of one's own.

    Raises:
        ConfigurationError: there is no such profile or file, or it is wrong.
    """
    if name_or_path.lower().endswith(_TOML):
        return read_file(ServerProfile, Path(name_or_path).expanduser())
    profiles = read_server_profiles()
    for profile in profiles:
        if profile.name == name_or_path:
            return profile
    known = ", ".join(profile.name for profile in profiles)
    raise ConfigurationError(
        f"No launch profile of a server named {name_or_path!r}. Known profiles: {known}.",
        hint="Name one of them, or give the path of a .toml file; launch/README.md says how.",
    )
