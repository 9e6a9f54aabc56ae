"""What the fake server makes of a text, held to SGLang's own parsers: good calls, and every bad one."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from agentkit.testing._qwen import Delta, read_stream, read_whole
from agentkit.testing._tokens import pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sglang.conftest import Installed

PROGRAM = Path(__file__).with_name("read_with_sglang.py")
TOOLS = ["search", "noop"]
ARGUMENTS = '{"q": "line1"}'
GOOD = f'<tool_call>\n{{"name": "search", "arguments": {ARGUMENTS}}}\n</tool_call>'


def block(inside: str) -> str:
    return f"<tool_call>\n{inside}\n</tool_call>"


def call(arguments: str, end: str = "}") -> str:
    return f'{{"name": "search", "arguments": {arguments}{end}'


THOUGHTS = {
    "thought and call": f"<think>\np\n</think>\n\n{GOOD}",
    "thought and text": "<think>\np\n</think>\n\nHello.",
    "no think tag": "plain text",
    "call without a thought": GOOD,
    "call inside a thought": f"<think>a\n{GOOD}\n</think>\n\nDone.",
    "call inside a thought and after it": f"<think>a\n{GOOD}\n</think>\n\n{GOOD}",
    "thought that mentions the tag": "<think>use <tool_call> now</think>ok",
    "unclosed thought": f"<think>a\n{GOOD}",
    "truncated thought": "<think>a b",
    "second thought": "<think>a</think>x<think>b</think>",
    "empty thought": f"<think>\n\n</think>\n\n{GOOD}",
}
CALLS = {
    "good": GOOD,
    "Chinese": block(call('{"q": "北京 \\u5317 🕐"}')),
    "nested": block(call('{"q": {"a": [1, 2, {"b": "}"}]}}')),
    "no newline after the tag": f"<tool_call>{call(ARGUMENTS)}\n</tool_call>",
    "no newline before the closing tag": f"<tool_call>\n{call(ARGUMENTS)}</tool_call>",
    "missing brace": block(call(ARGUMENTS, end="")),
    "trailing comma": block(call('{"q": "line1",}')),
    "raw newline": block(call('{"q": "line1\nline2"}')),
    "bad escape": block(call('{"q": "line1\\d+"}')),
    "single quotes": block("{'name': 'search', 'arguments': {'q': 'line1'}}"),
    "XML": block("<function=search>\n</function>"),
    "doubled tag": f"<tool_call>\n{GOOD}",
    "extra brace": block(call(ARGUMENTS, end="}}")),
    "two objects": block(call(ARGUMENTS) + '{"name": "noop", "arguments": {}}'),
    "list": block(f'[{call(ARGUMENTS)}, {{"name": "noop"}}]'),
    "arguments as a string": block('{"name": "noop", "arguments": "{\\"q\\": 1}"}'),
    "no arguments": block('{"name": "noop"}'),
    "null arguments": block('{"name": "noop", "arguments": null}'),
    "unknown tool": block('{"name": "gone", "arguments": {"x": 1}}'),
    "bare": call(ARGUMENTS),
    "fenced": f"```json\n{call(ARGUMENTS)}\n```",
    "truncated": '<tool_call>\n{"name": "search", "arguments": {"q": "li',
    "truncated before the arguments": '<tool_call>\n{"name": "sea',
    "text after the call": f"{GOOD}\nThat was it.",
    "text and two calls": f"Look.\n{GOOD}\n{GOOD}",
    "three calls": f"{GOOD}\n{GOOD}\n{block(call('{}'))}",
    "no call": "Hello.",
}


def rows() -> list[tuple[str, dict[str, Any]]]:
    """Return each text as the tokenizer would cut it, and the good ones in one piece, too."""
    found = [(name, row(text, thinking=True)) for name, text in THOUGHTS.items()]
    found += [(name, row(text, thinking=False)) for name, text in CALLS.items()]
    found += [
        (f"{name}, after a thought", row(f"<think>\nHm.\n</think>\n\n{text}", thinking=True))
        for name, text in CALLS.items()
    ]
    found += [
        (f"{name}, letter by letter", {**row(text, thinking=False), "pieces": list(text)})
        for name, text in CALLS.items()
    ]
    found.append(("a call in one piece", {**row(GOOD, thinking=False), "pieces": [GOOD]}))
    both = f"{GOOD}\n{GOOD}"
    found.append(("two calls in one piece", {**row(both, thinking=False), "pieces": [both]}))
    found.append(("without tools", {**row(GOOD, thinking=False), "tools": None}))
    return found


def row(text: str, *, thinking: bool) -> dict[str, Any]:
    return {"pieces": pieces(text), "tools": TOOLS, "thinking": thinking}


def by_the_fake(given: dict[str, Any]) -> dict[str, Any]:
    tools, thinking = given["tools"], given["thinking"]
    whole = read_whole("".join(given["pieces"]), tools, thinking=thinking)
    return {
        "whole": {
            "text": whole.text,
            "thinking": whole.thinking or "",
            "calls": [list(one) for one in whole.calls],
        },
        "stream": merged(read_stream(given["pieces"], tools, thinking=thinking)),
    }


def merged(deltas: list[Delta]) -> dict[str, Any]:
    calls: list[list[str]] = []
    for delta in deltas:
        if delta.kind == "name":
            calls.append([delta.text, ""])
        elif delta.kind == "arguments":
            calls[delta.call][1] += delta.text
    text = "".join(delta.text for delta in deltas if delta.kind == "text")
    thinking = "".join(delta.text for delta in deltas if delta.kind == "thinking")
    return {"text": text, "thinking": thinking, "calls": calls}


@pytest.mark.sglang
@pytest.mark.timeout(120)
async def test_the_fake_reads_every_text_as_sglang_does(
    real_installed: "Callable[[], Installed]",
) -> None:
    installed = await to_thread.run_sync(real_installed)
    named = rows()
    done = await anyio.run_process(
        [str(await to_thread.run_sync(installed.python_itself)), str(PROGRAM)],
        input=json.dumps([given for _, given in named]).encode(),
        env=installed.profile.server.environment,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    real: list[Any] = json.loads(done.stdout.decode().splitlines()[-1])
    wrong = {
        name: {"real": theirs, "fake": by_the_fake(given)}
        for (name, given), theirs in zip(named, real, strict=True)
        if by_the_fake(given) != theirs
    }
    assert wrong == {}
