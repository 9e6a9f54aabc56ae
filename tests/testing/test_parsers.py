"""The documented outcomes of SGLang's parsers, streamed and not."""

from collections.abc import Collection
from typing import NamedTuple

import pytest

from agentkit.testing._qwen import Delta, Whole, read_stream, read_whole
from agentkit.testing._tokens import pieces

TOOLS = {"search", "noop"}
GOOD = '<tool_call>\n{"name": "search", "arguments": {"q": "line1"}}\n</tool_call>'
LINE1 = ("search", '{"q": "line1"}')


class Read(NamedTuple):
    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str], ...] = ()


def whole(written: str, tools: Collection[str] | None = TOOLS, *, thinking: bool = True) -> Read:
    read = read_whole(written, tools, thinking=thinking)
    return Read(read.text, read.thinking or "", read.calls)


def merged(deltas: list[Delta]) -> Read:
    text = "".join(delta.text for delta in deltas if delta.kind == "text")
    thinking = "".join(delta.text for delta in deltas if delta.kind == "thinking")
    calls: list[tuple[str, str]] = []
    for delta in deltas:
        if delta.kind == "name":
            assert delta.call == len(calls)
            calls.append((delta.text, ""))
        elif delta.kind == "arguments":
            name, arguments = calls[delta.call]
            calls[delta.call] = name, arguments + delta.text
    return Read(text, thinking, tuple(calls))


def stream(written: str, tools: Collection[str] | None = TOOLS, *, thinking: bool = True) -> Read:
    return merged(read_stream(pieces(written), tools, thinking=thinking))


def block(inside: str) -> str:
    return f"<tool_call>\n{inside}\n</tool_call>"


@pytest.mark.parametrize(
    ("written", "as_whole", "as_stream"),
    [
        pytest.param(
            f"<think>\np\n</think>\n\n{GOOD}",
            Read("", "\np\n", (LINE1,)),
            Read("\n\n", "\np\n", (LINE1,)),
            id="thought and call",
        ),
        pytest.param(
            "plain text", Read("", "plain text"), Read("", "plain text"), id="no think tag"
        ),
        pytest.param(GOOD, Read("", "", (LINE1,)), Read("", "", (LINE1,)), id="call, no think"),
        pytest.param(
            f"<think>a\n{GOOD}\n</think>\n\nDone.",
            Read("\n\nDone.", f"a\n{GOOD}\n"),
            Read("", "a\n", (LINE1,)),
            id="call inside a thought",
        ),
        pytest.param(
            f"<think>a\n{GOOD}\n</think>\n\n{GOOD}",
            Read("", f"a\n{GOOD}\n", (LINE1,)),
            Read("", "a\n", (LINE1, LINE1)),
            id="call inside a thought and after it",
        ),
        pytest.param(
            "<think>use <tool_call> now</think>ok",
            Read("ok", "use <tool_call> now"),
            Read("<tool_call> now</think>ok", "use "),
            id="thought mentions the tag",
        ),
        pytest.param(
            f"<think>a\n{GOOD}",
            Read("", "a\n", (LINE1,)),
            Read("", "a\n", (LINE1,)),
            id="unclosed thought",
        ),
        pytest.param("<think>a b", Read("", "a b"), Read("", "a b"), id="truncated thought"),
        pytest.param(
            "<think>a</think>x<think>b</think>",
            Read("x<think>b</think>", "a"),
            Read("x<think>b</think>", "a"),
            id="second thought",
        ),
    ],
)
def test_thinking_and_calls_are_told_apart_as_documented(
    written: str, as_whole: Read, as_stream: Read
) -> None:
    assert whole(written) == as_whole
    assert stream(written) == as_stream


@pytest.mark.parametrize(
    ("written", "as_whole", "as_stream"),
    [
        pytest.param(
            '<tool_call>{"name": "search", "arguments": {}}\n</tool_call>',
            Read('<tool_call>{"name": "search", "arguments": {}}\n</tool_call>'),
            Read('<tool_call>{"name": "search", "arguments": {}}\n'),
            id="no newline after the tag",
        ),
        pytest.param(
            '<tool_call>\n{"name": "search", "arguments": {"q": "line1"}}</tool_call>',
            Read(),
            Read("", "", (LINE1,)),
            id="no newline before the closing tag",
        ),
        pytest.param(
            block('{"name": "search", "arguments": {"q": "line1"}'),
            Read(),
            Read("", "", (LINE1,)),
            id="missing brace",
        ),
        pytest.param(
            block('{"name": "search", "arguments": {"q": "line1",}}'),
            Read(),
            Read("", "", (LINE1,)),
            id="trailing comma",
        ),
        pytest.param(
            block('{"name": "search", "arguments": {"q": "line1\nline2"}}'),
            Read(),
            Read("", "", (LINE1,)),
            id="raw newline",
        ),
        pytest.param(
            block('{"name": "search", "arguments": {"q": "line1\\d+"}}'),
            Read(),
            Read("", "", (LINE1,)),
            id="bad escape",
        ),
        pytest.param(
            block("{'name': 'search', 'arguments': {'q': 'line1'}}"),
            Read(),
            Read(),
            id="single quotes",
        ),
        pytest.param(block("<function=search>\n</function>"), Read(), Read(), id="XML"),
        pytest.param("<tool_call>\n" + GOOD, Read(), Read(), id="doubled tag"),
        pytest.param(
            block('{"name": "search", "arguments": {"q": "line1"}}}'),
            Read(),
            Read("}", "", (LINE1,)),
            id="extra brace",
        ),
        pytest.param(
            block('[{"name": "search", "arguments": {"q": "line1"}}, {"name": "noop"}]'),
            Read("", "", (LINE1, ("noop", "{}"))),
            Read(),
            id="list",
        ),
        pytest.param(
            block('{"name": "noop", "arguments": "{\\"q\\": 1}"}'),
            Read("", "", (("noop", '"{\\"q\\": 1}"'),)),
            Read("", "", (("noop", '"{\\"q\\": 1}"'),)),
            id="arguments as a string",
        ),
        pytest.param(
            block('{"name": "noop"}'),
            Read("", "", (("noop", "{}"),)),
            Read("", "", (("noop", ""),)),
            id="no arguments",
        ),
        pytest.param(
            block('{"name": "noop", "arguments": null}'),
            Read("", "", (("noop", "null"),)),
            Read("", "", (("noop", ""),)),
            id="null arguments",
        ),
        pytest.param(
            block('{"name": "gone", "arguments": {"x": 1}}'),
            Read(),
            Read(' "arguments": {"x": 1}}\n'),
            id="unknown tool",
        ),
        pytest.param(
            '```json\n{"name": "noop"}\n```',
            Read('```json\n{"name": "noop"}\n```'),
            Read('```json\n{"name": "noop"}\n```'),
            id="fenced",
        ),
        pytest.param(
            '<tool_call>\n{"name": "search", "arguments": {"q": "li',
            Read(),
            Read("", "", (("search", '{"q": "li"}'),)),
            id="truncated",
        ),
        pytest.param(
            f"{GOOD}\nThat was it.",
            Read("", "", (LINE1,)),
            Read("", "", (LINE1,)),
            id="text after the call",
        ),
        pytest.param(
            f"Look.\n{GOOD}\n{GOOD}",
            Read("Look.", "", (LINE1, LINE1)),
            Read("Look.\n", "", (LINE1, LINE1)),
            id="text and two calls",
        ),
    ],
)
def test_malformed_calls_are_lost_or_mended_as_documented(
    written: str, as_whole: Read, as_stream: Read
) -> None:
    assert whole(written, thinking=False) == as_whole
    assert stream(written, thinking=False) == as_stream


def test_two_objects_in_a_block_give_one_call_and_leak_the_other() -> None:
    second = '{"name": "noop", "arguments": {}}'
    written = block('{"name": "search", "arguments": {"q": "line1"}}' + second)
    assert whole(written, thinking=False) == Read()
    assert stream(written, thinking=False).calls == (LINE1,)
    assert '"noop"' in stream(written, thinking=False).text


def test_a_call_in_one_piece_loses_its_arguments() -> None:
    assert merged(read_stream([GOOD], TOOLS, thinking=False)).calls == (("search", ""),)


def test_two_calls_in_one_piece_lose_the_second() -> None:
    deltas = read_stream([f"{GOOD}\n{GOOD}"], TOOLS, thinking=False)
    assert merged(deltas).calls == (("search", ""),)


def test_without_tools_calls_stay_text() -> None:
    assert whole(GOOD, None, thinking=False) == Read(GOOD)
    assert stream(GOOD, None, thinking=False) == Read(GOOD)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_size_of_the_pieces_does_not_change_what_a_good_call_says(size: int) -> None:
    written = f"<think>\nHm.\n</think>\n\nLook.\n{GOOD}"
    cut = [written[at : at + size] for at in range(0, len(written), size)]
    read = merged(read_stream(cut, TOOLS, thinking=True))
    assert read == Read("\n\nLook.\n", "\nHm.\n", (LINE1,))


def test_no_reasoning_is_null_and_not_empty() -> None:
    assert read_whole("Hello!", None, thinking=False) == Whole("Hello!", None)
