"""Launch profiles of model servers: what ships, what a wrong one is told, what command they make."""

import json
from pathlib import Path

import pytest

from agentkit.engine import find_server_profile, read_server_profiles
from agentkit.engine._commands import command_of
from agentkit.errors import ConfigurationError

PYTHON, WEIGHTS = Path("python"), Path("weights")
README = Path(__file__).parents[2] / "launch" / "README.md"


def words_of(name: str) -> list[str]:
    return list(command_of(find_server_profile(name), PYTHON, WEIGHTS).words)


def flag(words: list[str], name: str) -> str:
    return words[words.index(f"--{name}") + 1]


def test_every_profile_that_ships_is_whole_and_in_the_readme() -> None:
    readme = README.read_text(encoding="utf-8")
    for profile in read_server_profiles():
        assert f"| `{profile.name}` |" in readme
        assert profile.licence == "Apache-2.0"
        assert profile.why.endswith(".")
        if profile.server.device == "cuda":
            assert profile.source is not None
            assert profile.source.repo.startswith("Qwen/Qwen3-")
            assert profile.memory is not None


def test_the_order_of_choice_is_that_of_quality() -> None:
    chosen = [profile.name for profile in read_server_profiles() if profile.choice is not None]
    assert chosen[:4] == ["qwen3-14b", "qwen3-14b-tp2", "qwen3-14b-fp8", "qwen3-14b-awq"]


def test_a_server_is_started_with_what_agents_need() -> None:
    words = words_of("qwen3-14b-awq")
    assert words[:5] == ["python", "-m", "sglang.launch_server", "--config", "{config}"]
    assert flag(words, "reasoning-parser") == "qwen3"
    assert flag(words, "tool-call-parser") == "qwen"
    assert flag(words, "context-length") == "32768"
    assert {"--enable-strict-thinking", "--enable-cache-report", "--enable-metrics"} <= set(words)
    assert "--quantization" not in words  # read from the checkpoint: named, it would be slower
    assert "--api-key" not in words
    environment = command_of(find_server_profile("qwen3-14b-awq"), PYTHON, WEIGHTS).environment
    assert environment["SGLANG_TOOL_STRICT_LEVEL"] == "2"
    assert "127.0.0.1" in environment["NO_PROXY"]
    assert "127.0.0.1" in environment["no_proxy"]


@pytest.mark.parametrize(
    ("name", "factor", "tokens"), [("64k", 2.0, 65_536), ("128k", 4.0, 131_072)]
)
def test_yarn_sets_the_factor_and_the_length(name: str, factor: float, tokens: int) -> None:
    words = words_of(f"qwen3-14b-{name}")
    assert json.loads(flag(words, "json-model-override-args")) == {
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": 32_768,
        },
        "max_position_embeddings": tokens,
    }
    assert flag(words, "context-length") == str(tokens)


def test_two_gpus_share_a_model_by_tensor_parallelism() -> None:
    assert flag(words_of("qwen3-14b-tp2"), "tp-size") == "2"


def test_vllm_is_told_its_key_by_a_variable() -> None:
    command = command_of(find_server_profile("qwen3-14b-vllm"), PYTHON, WEIGHTS)
    words = list(command.words)
    assert flag(words, "tool-call-parser") == "hermes"
    assert "--enable-auto-tool-choice" in words
    assert (command.key_variable, command.key_option) == ("VLLM_API_KEY", "")


def test_a_gateway_has_whole_servers_behind_it() -> None:
    python, script, told, port = words_of("qwen3-14b-gateway")
    options = json.loads(told)
    assert (python, Path(script).name, port) == ("python", "run_gateway.py", "{port}")
    assert (options["replicas"], options["gpus"], options["device"]) == (2, 1, "cuda")
    assert flag(options["words"], "tool-call-parser") == "qwen"
    assert "--port" not in options["words"]


def test_a_file_of_ones_own_is_a_profile(tmp_path: Path) -> None:
    text = (README.parent / "qwen3-14b-awq.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace("32_768", "16_384"), encoding="utf-8")
    profile = find_server_profile(str(tmp_path / "mine.toml"))
    assert (profile.name, profile.server.context_tokens) == ("mine", 16_384)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[server]", "[server]\ncolour = 1", r"entry 'server\.colour'"),
        ("layers = 40", "", r"entry 'memory\.layers'"),
        ("choice = 4", "choice = 0", "entry 'choice'"),
        ("context_tokens = 32_768", "memory_share = 1.5", r"entry 'server\.memory_share'"),
        ("quantised = true", "quantised = 4.5", "entry 'quantised'"),
        ("[source]", "[sauce]", "entry 'sauce'"),
    ],
)
def test_a_wrong_profile_is_named_with_its_entry(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (README.parent / "qwen3-14b-awq.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"mine\.toml, {message}"):
        find_server_profile(str(tmp_path / "mine.toml"))


def test_a_profile_without_figures_is_for_a_cpu_only(tmp_path: Path) -> None:
    text = (README.parent / "qwen3-scripted.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('"cpu"', '"cuda"'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"needs a \[memory\] table"):
        find_server_profile(str(tmp_path / "mine.toml"))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'nonsense'.*qwen3-14b-awq"):
        find_server_profile("nonsense")
