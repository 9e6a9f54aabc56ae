"""What the names of a model tell: whether it thinks, how large it is, what its weights are.

Source: the names that Qwen gives its models, and the model cards of Qwen2.5 and Qwen3.
"""

import re
from typing import Literal, TypeAlias

Habit: TypeAlias = Literal["switch", "always", "never"]
"""Whether a model thinks: as it is told, always, or never."""

_NEVER = re.compile(r"qwen-?[12](\.|\b|-)|coder|instruct|qwen3\.?\d*-?vl-.*instruct", re.IGNORECASE)
_ALWAYS = re.compile(r"qwq|thinking", re.IGNORECASE)
_FEW_BITS = re.compile(
    r"awq|gptq|(?<![a-z])(int[48]|w[48]a\d)|fp4|[48]-?bit|(?<![a-z0-9])i?q[2-8](_|\b)",
    re.IGNORECASE,
)
_FENCED = re.compile(r"qwen-?2\.?5-?coder", re.IGNORECASE)
_SIZE = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE
)  # not the A3B of 30B-A3B
_SMALL = 3.0  # billion parameters; below it a model wanders after it has all it needs


def habit_of(identity: str) -> Habit:
    """Tell from a model's name whether it thinks.

    >>> [habit_of(name) for name in ("Qwen3-14B-AWQ", "Qwen3-4B-Thinking-2507", "qwen2.5-coder")]
    ['switch', 'always', 'never']
    """
    if _ALWAYS.search(identity):
        return "always"
    return "never" if _NEVER.search(identity) else "switch"


def has_few_bits(identity: str) -> bool:
    """Tell from a model's name whether its weights are quantised to few bits.

    >>> [has_few_bits(name) for name in ("Qwen3-14B-AWQ", "qwen3-q4_k_m.gguf", "Qwen3-14B-FP8")]
    [True, True, False]
    >>> has_few_bits("/models/checkpoint4/qwen3")
    False
    """
    return _FEW_BITS.search(identity) is not None


def is_small(identity: str) -> bool:
    """Tell from a model's name whether it is too small to decide by itself when it is done.

    >>> [is_small(name) for name in ("Qwen3-1.7B", "Qwen3-30B-A3B", "Qwen3-14B", "my-model")]
    [True, False, False, False]
    """
    sizes = [float(size) for size in _SIZE.findall(identity)]
    return bool(sizes) and max(sizes) < _SMALL


def fences_calls(identity: str) -> bool:
    """Tell from a model's name whether it writes calls as fenced JSON, which no parser reads.

    Seen with llama.cpp and SGLang, both.

    >>> [fences_calls(name) for name in ("Qwen2.5-Coder-1.5B-Instruct", "Qwen2.5-7B-Instruct")]
    [True, False]
    """
    return _FENCED.search(identity) is not None
