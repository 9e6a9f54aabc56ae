"""About what the server makes of a request: the prompt, in segments, and its size."""

import json
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from agentkit.testing._tokens import pieces

Segments = tuple[str, ...]

_FRAME = 5
"""Tokens around a message: its opening, role, newline, closing, newline."""

_TOOL_RULES = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{}\n"
    "</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
)


def prompt_of(body: Mapping[str, Any]) -> Segments:
    """Return the segments of a request's prompt, tools first; dropped if they must not be used."""
    tools = body.get("tools") if body.get("tool_choice") != "none" else None
    head = (_TOOL_RULES.format("\n".join(map(json.dumps, tools))),) if tools else ()
    return head + tuple(_message(message) for message in body["messages"])


def size_of(prompt: Segments) -> int:
    """Return about how many tokens a prompt has."""
    return sum(_tokens(segment) + _FRAME for segment in prompt) + 3


class PrefixCache:
    """Remembers the last prompts, to say how much of the next one is known."""

    def __init__(self) -> None:
        self._prompts: deque[Segments] = deque(maxlen=32)

    def known(self, prompt: Segments) -> int:
        """Return how many tokens of the prompt are known already, and remember it."""
        best = max((_shared(prompt, other) for other in self._prompts), default=0)
        self._prompts.append(prompt)
        tokens = size_of(prompt[:best]) if best else 0
        return min(tokens, size_of(prompt) - 1)

    def clear(self) -> None:
        """Forget everything."""
        self._prompts.clear()


def text_of(content: object) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    parts = cast("list[dict[str, Any]]", content) if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts)


def _message(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls") or ()
    lines = [str(message.get("role")), text_of(message.get("content"))]
    if message.get("reasoning_content"):
        lines.insert(1, f"<think>\n{message['reasoning_content']}\n</think>\n")
    lines += [f"<tool_call>\n{json.dumps(item['function'])}\n</tool_call>" for item in calls]
    return "\n".join(lines)


def _shared(one: Segments, other: Segments) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


@lru_cache(maxsize=4096)
def _tokens(segment: str) -> int:
    return len(pieces(segment))
