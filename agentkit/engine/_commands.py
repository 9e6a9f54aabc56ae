"""The command line of a model server, from its launch profile."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentkit.engine._server_profile import Flag, ServerOptions, ServerProfile

_NATIVE_CONTEXT = 32_768
_GATEWAY = Path(__file__).with_name("run_gateway.py")
_LOOPBACK = "127.0.0.1,localhost,::1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a server is started, asked whether it is well, and stopped.

    Attributes:
        words: the command line; `{port}` and `{config}` are filled in by the runner.
        environment: variables on top of the user's.
        key_option: how the server is told its key in a file, which `ps` does not show.
        key_variable: or by a variable.
        ready_path: answers 200 when requests are served.
        health_path: makes the server compute something.
        aborts: whether `/abort_request` ends what runs.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    key_option: str = ""
    key_variable: str = ""
    ready_path: str = "/health"
    health_path: str = "/health"
    aborts: bool = False

    def as_options(self) -> dict[str, Any]:
        """Return what the runner is told."""
        return {
            "command": list(self.words),
            "environment": dict(self.environment),
            "key_option": self.key_option,
            "key_variable": self.key_variable,
            "ready_path": self.ready_path,
            "health_path": self.health_path,
            "aborts": self.aborts,
        }


def command_of(profile: ServerProfile, python: Path, weights: Path) -> Command:
    """Return the command that serves the weights as the profile says.

    Args:
        profile: what to start.
        python: of the environment that has the server.
        weights: the model's folder.
    """
    make = {"sglang": _sglang, "vllm": _vllm, "smg": _gateway}[profile.server.kind]
    return make(profile, str(python), str(weights))


def _sglang(profile: ServerProfile, python: str, weights: str) -> Command:
    return Command(
        words=(
            *(python, "-m", "sglang.launch_server", "--config", "{config}"),
            *_words({"model-path": weights, "host": "127.0.0.1", "port": "{port}"}),
            *_words(_sglang_flags(profile)),
        ),
        environment=_environment(profile.server),
        key_option="api-key",
        ready_path="/ready",
        aborts=True,
    )


def _sglang_flags(profile: ServerProfile) -> dict[str, Flag]:
    options = profile.server
    flags: dict[str, Flag] = {
        "served-model-name": profile.model,
        "context-length": options.context_tokens,
        "reasoning-parser": options.reasoning_parser,
        "tool-call-parser": options.tool_call_parser,
        "enable-strict-thinking": options.strict_thinking,
        "grammar-backend": "xgrammar",
        "mem-fraction-static": options.memory_share,
        "kv-cache-dtype": options.kv_cache,
        "tp-size": options.tensor_parallel,
        "stream-interval": 1,
        "enable-cache-report": True,
        "enable-metrics": True,
        "log-level-http": "warning",
    }
    if options.device == "cpu":
        flags["device"] = "cpu"
    if options.yarn_factor is not None:
        flags["json-model-override-args"] = yarn(options.yarn_factor, options.context_tokens)
    return flags | options.flags


def yarn(factor: float, context_tokens: int) -> str:
    """Return what makes SGLang stretch the context of a Qwen3.

    `max_position_embeddings` has to be there: without it SGLang 0.5.23 derives 40,960 tokens,
    whatever the factor, and refuses a longer context (read in `get_context_length`, and run).

    >>> yarn(2.0, 65_536)[:62]
    '{"rope_parameters":{"rope_type":"yarn","factor":2.0,"original_'
    """
    rope = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": _NATIVE_CONTEXT,
    }
    override = {"rope_parameters": rope, "max_position_embeddings": context_tokens}
    return json.dumps(override, separators=(",", ":"))


def _vllm(profile: ServerProfile, python: str, weights: str) -> Command:
    options = profile.server
    flags: dict[str, Flag] = {
        "model": weights,
        "served-model-name": profile.model,
        "host": "127.0.0.1",
        "port": "{port}",
        "max-model-len": options.context_tokens,
        "gpu-memory-utilization": options.memory_share,
        "kv-cache-dtype": "fp8" if options.kv_cache == "fp8_e4m3" else "auto",
        "tensor-parallel-size": options.tensor_parallel,
        "enable-auto-tool-choice": True,
        "tool-call-parser": options.tool_call_parser,
        "reasoning-parser": options.reasoning_parser,
        "enable-prompt-tokens-details": True,
    }
    return Command(
        words=(
            *(python, "-m", "vllm.entrypoints.openai.api_server"),
            *_words(flags | options.flags),
        ),
        environment=_environment(options),
        key_variable="VLLM_API_KEY",
    )


def _gateway(profile: ServerProfile, python: str, weights: str) -> Command:
    """Some SGLang servers behind smg, started by a script of ours.

    The gateway takes a key from its command line only, where every user of the machine can read
    it: all of them listen on the loopback address, and ask for none.
    """
    options = profile.server
    told = {
        "python": python,
        "replicas": options.replicas,
        "gpus": options.tensor_parallel,
        "device": options.device,
        "words": ["--model-path", weights, *_words(_sglang_flags(profile))],
    }
    return Command(
        words=(python, str(_GATEWAY), json.dumps(told), "{port}"),
        environment=_environment(options),
        ready_path="/readiness",
    )


def _environment(options: ServerOptions) -> dict[str, str]:
    # SGLang's warm-up calls the server itself: through a proxy it would wait, and then kill itself.
    direct = {"NO_PROXY": _LOOPBACK, "no_proxy": _LOOPBACK}
    # Five seconds by default, as long as clients keep a connection: one of the two is too late.
    keep = {"SGLANG_TIMEOUT_KEEP_ALIVE": "120"} if options.kind != "vllm" else {}
    return {**direct, **keep, **options.environment}


def _words(flags: Mapping[str, Flag]) -> list[str]:
    """Return options as words.

    >>> _words({"tp-size": 2, "sleep-on-idle": True, "kv": "auto", "off": False})
    ['--tp-size', '2', '--sleep-on-idle', '--kv', 'auto']
    """
    words: list[str] = []
    for name, value in flags.items():
        if value is False:
            continue
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words
