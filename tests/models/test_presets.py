from typing import Any

import pytest

from agentkit.messages import ModelTurn, SystemMessage, UserMessage
from agentkit.models._dialects import OPENAI, SGLANG
from agentkit.models._identity import habit_of
from agentkit.models._presets import Mode, mode_of, sampling_of


@pytest.mark.parametrize(
    ("name", "habit"),
    [
        ("Qwen/Qwen3-14B-AWQ", "switch"),
        ("qwen3-14b", "switch"),
        ("Qwen3.6-35B-A3B", "switch"),
        ("Qwen3-4B-Instruct-2507", "never"),
        ("Qwen3-30B-A3B-Thinking-2507", "always"),
        ("Qwen3-Coder-30B", "never"),
        ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", "never"),
        ("Qwen2.5-7B", "never"),
        ("QwQ-32B", "always"),
    ],
)
def test_a_model_is_known_to_think_by_its_name(name: str, habit: str) -> None:
    assert habit_of(name) == habit


@pytest.mark.parametrize(
    ("thinking", "text", "mode"),
    [
        ("auto", "hi", Mode(True, None)),
        ("auto", "hi /no_think", Mode(False, None)),
        ("auto", "hi /no_think\n", Mode(False, None)),
        ("auto", "hi /think", Mode(True, None)),
        ("auto", "/no_think please", Mode(True, None)),
        (True, "hi", Mode(True, True)),
        (True, "hi /no_think", Mode(False, True)),
        (False, "hi", Mode(False, False)),
        (False, "hi /think", Mode(False, False)),  # the hard switch wins in the template
    ],
)
def test_switches_choose_the_preset_as_qwen3_reads_them(
    thinking: Any, text: str, mode: Mode
) -> None:
    messages = [SystemMessage("s /no_think"), UserMessage(text), ModelTurn(text="x /no_think")]
    assert mode_of("switch", thinking, messages) == mode


@pytest.mark.parametrize(("habit", "thinks"), [("always", True), ("never", False)])
def test_a_model_without_a_switch_is_not_sent_one(habit: Any, thinks: bool) -> None:
    for thinking in (True, False, "auto"):
        assert mode_of(habit, thinking, [UserMessage("hi /no_think")]) == Mode(thinks, None)


def sampled(**fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"thinks": True, "quantised": False, "qwen": True, "overrides": {}}
    return sampling_of(fields.pop("dialect", SGLANG), **(given | fields))


def test_presets_are_those_of_the_model_card() -> None:
    assert sampled() == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0}
    assert sampled(thinks=False) == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0}


def test_quantised_weights_get_a_presence_penalty() -> None:
    assert sampled(quantised=True)["presence_penalty"] == 1.5


def test_a_plain_openai_server_gets_standard_fields_only() -> None:
    assert sampled(dialect=OPENAI) == {"temperature": 0.6, "top_p": 0.95}


def test_another_family_keeps_its_own_defaults() -> None:
    assert sampled(qwen=False) == {}


def test_overrides_win_and_none_leaves_a_field_out() -> None:
    assert sampled(overrides={"temperature": 0, "top_k": None, "seed": 1}) == {
        "temperature": 0,
        "top_p": 0.95,
        "min_p": 0,
        "seed": 1,
    }
