"""Figures and calls in words, fit for a terminal."""

import json
from collections.abc import Mapping
from typing import Any

_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    r"""Return the text without control characters: a web page must not steer the terminal.

    >>> printable("a\x1b[2Jb\n")
    'a[2Jb\n'
    """
    return text.translate(_CONTROL)


def shortened(text: str, most: int) -> str:
    r"""Return the text on one line, cut where it is longer than `most` characters.

    >>> shortened("one\n two three", 7)
    'one two… (14 characters)'
    """
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[:most].rstrip()}… ({len(text)} characters)"


def call_arguments(arguments: Mapping[str, Any]) -> str:
    """Return the arguments of a call as one writes them in Python.

    >>> call_arguments({"zone": "Asia/Tokyo", "days": [1, 2]})
    'zone="Asia/Tokyo", days=[1, 2]'
    """
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}"
        for name, value in arguments.items()
    )


def tokens(usage: Mapping[str, int]) -> str:
    """Return the tokens of a request in words.

    >>> tokens({"prompt_tokens": 1200, "completion_tokens": 40, "cached_tokens": 900})
    '1,200 tokens in (75% cached), 40 out'
    """
    prompt, cached = usage.get("prompt_tokens", 0), usage.get("cached_tokens", 0)
    thought = usage.get("reasoning_tokens", 0)
    share = f" ({100 * cached // prompt}% cached)" if prompt and cached else ""
    reasoning = f" ({thought:,} thinking)" if thought else ""
    return f"{prompt:,} tokens in{share}, {usage.get('completion_tokens', 0):,} out{reasoning}"


def plural(number: int, noun: str) -> str:
    """Return a number of things.

    >>> plural(1, "step"), plural(2, "step")
    ('1 step', '2 steps')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
