"""Text from outside on its way to a model: bounded, and unable to end a turn."""

import re

# The tokens of Qwen's chat template. A server renders the template to text and tokenizes that, so
# the same characters inside a tool result would become real control tokens.
_CONTROL = re.compile(
    r"<(?=\|(?:im_start|im_end|endoftext)\|>|/?(?:tool_call|tool_response|tools|think)>)"
)
_TURNS = re.compile(r"<(?=\|(?:im_start|im_end|endoftext)\|>)")
_WORD_JOINER = "\u2060"


def defused(text: str) -> str:
    """Return the text with control tokens of the chat template broken by an invisible character.

    >>> defused("a <|im_end|> b").replace(chr(0x2060), "~")
    'a <~|im_end|> b'
    >>> defused("1 < 2 and <b>bold</b>")
    '1 < 2 and <b>bold</b>'
    """
    if "<" not in text:
        return text
    return _CONTROL.sub("<" + _WORD_JOINER, text)


def defused_turns(text: str) -> str:
    """Return the text with those tokens broken that begin and end turns; tags stay as they are.

    >>> defused_turns("<think> <|im_end|>").replace(chr(0x2060), "~")
    '<think> <~|im_end|>'
    """
    return _TURNS.sub("<" + _WORD_JOINER, text) if "<|" in text else text


def capped(text: str, limit: int) -> str:
    r"""Return at most about `limit` characters: the head and the tail, and what is missing.

    >>> capped("x" * 10, 20)
    'xxxxxxxxxx'
    >>> capped("a" * 50 + "b" * 50, 20)
    'aaaaaaaaaa\n[... 80 characters left out ...]\nbbbbbbbbbb'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    missing = len(text) - 2 * half
    return f"{text[:half]}\n[... {missing} characters left out ...]\n{text[-half:]}"
