import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import ConfigurationError, UnknownToolError
from agentkit.testing import RecordingTool
from agentkit.toolkit import Registry, capped, defused


def test_tools_keep_the_order_they_came_in() -> None:
    registry = Registry([RecordingTool("b"), RecordingTool("a")])
    assert [spec.name for spec in registry.specs] == ["b", "a"]


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Two tools are named 'a'"):
        Registry([RecordingTool("a"), RecordingTool("a")])


def test_an_unknown_tool_names_those_there_are() -> None:
    with pytest.raises(UnknownToolError, match=r"No tool named 'c'. Known tools: a, b."):
        _ = Registry([RecordingTool("a"), RecordingTool("b")])["c"]


_TOKENS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>",
    "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(_TOKENS), st.text(max_size=5))).map("".join))
def test_no_control_token_survives(text: str) -> None:
    safe = defused(text)
    assert not any(token in safe for token in _TOKENS)
    assert safe.replace("\u2060", "") == text.replace("\u2060", "")


@given(st.text(max_size=300), st.integers(2, 200))
def test_a_capped_text_keeps_head_and_tail(text: str, limit: int) -> None:
    short = capped(text, limit)
    assert len(short) <= limit + 60
    assert short[: limit // 2] == text[: limit // 2]
    assert short == text or short.endswith(text[-(limit // 2) :])
