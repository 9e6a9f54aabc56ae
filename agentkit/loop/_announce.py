"""Notices a call that was announced and not made.

Qwen3 plans a call while it thinks and then writes none, in up to 60 of 100 turns with some weights
(QwenLM/Qwen3 issue 1817): it answers as if it had called, or says that it will.
"""

import re
from collections.abc import Iterable

from agentkit.messages import ModelTurn

_LONGEST = 500  # characters; a longer text is an answer, however it ends
_SENTENCE = re.compile(r"(?<=[.!?:…])\s+|(?<=[。！？：\n])\s*")
_WILL = (
    r"(?:\b(?:I(?:'ll|’ll| will| shall| should| must| need to| have to| am going to|'m going to"
    r"|’m going to)|let me|let's|let’s|we (?:should|must|need to|will))\b"
    r"|我(?:们)?(?:来|要|会|将|应该|需要|得)|让我|接下来|现在)"
)
_DO = (
    r"(?:\b(?:call|use|using|invoke|query|run|check|look|fetch|search|get|find|retrieve|compute"
    r"|calculate|read|open)\b|调用|使用|查|搜索|获取|计算|运行|看一下|读取)"
)
_INTENT = re.compile(rf"{_WILL}.{{0,40}}?{_DO}", re.IGNORECASE)
_AGAINST = re.compile(
    r"\b(?:not|n't|n’t|no need|without|instead|already|unless|know|if you)\b|不|无需|已经",
    re.IGNORECASE,
)


def announces_call(turn: ModelTurn, tools: Iterable[str]) -> bool:
    """Tell whether a turn without a call says that it makes one.

    In the thinking only the last sentence counts, and only with the name of a tool; in the text a
    short one that ends with the intention is enough.

    >>> announces_call(ModelTurn(thinking="I should call clock.", text="It is noon."), ["clock"])
    True
    >>> announces_call(ModelTurn(text="Let me check the weather for you."), ["weather"])
    True
    >>> announces_call(ModelTurn(text="Let me know if you need more."), ["weather"])
    False
    """
    if turn.tool_calls or turn.finish != "stop":
        return False
    names = list(tools)
    if not names:
        return False
    thought = _last_sentence(turn.thinking)
    if any(_names(thought, name) for name in names) and _intends(thought):
        return True
    text = turn.text.strip()
    return (
        len(text) <= _LONGEST and not text.endswith(("?", "？")) and _intends(_last_sentence(text))
    )


def _last_sentence(text: str) -> str:
    sentences = [part for part in _SENTENCE.split(text.strip()) if part.strip()]
    return sentences[-1] if sentences else ""


def _intends(sentence: str) -> bool:
    return _INTENT.search(sentence) is not None and _AGAINST.search(sentence) is None


def _names(sentence: str, tool: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(tool)}(?![\w-])", sentence) is not None
