"""Ends a turn from our side: thinking beyond its budget, and text that only repeats itself."""

from typing import Literal

_CHECK_EVERY = 256  # characters
_BYTES_A_TOKEN = 4  # of Qwen's tokenizer, about, in English, Chinese and code
_SPARE_SHARE, _SPARE = 1.25, 64  # a server that holds the budget itself comes first
_PROBE = 32  # characters that have to come again
_LONGEST_CIRCLE = 1_500
_TIMES, _THINKING_CHARS = 5, 1_000
_TEXT_TIMES, _TEXT_CHARS = 8, 4_000  # somebody may have asked for a thousand zeros


class CutShort(Exception):  # noqa: N818 - not an error: the rest of a turn is not wanted
    """Raised to a model that is about to emit more of a turn than anybody wants."""


class Watch:
    """Looks at a turn while it is written."""

    __slots__ = ("_budget", "_bytes", "_fresh", "_kind", "_tail", "reason")

    def __init__(self, thinking_tokens: int | None) -> None:
        self.reason = ""
        self._budget = (
            None
            if thinking_tokens is None
            else (thinking_tokens * _SPARE_SHARE + _SPARE) * _BYTES_A_TOKEN
        )
        self._kind: str = ""
        self._tail = ""
        self._fresh = self._bytes = 0

    @property
    def thinking_tokens(self) -> int:
        """About how many tokens the thinking has, so far."""
        return self._bytes // _BYTES_A_TOKEN

    def take(self, kind: Literal["thinking", "text"], piece: str) -> bool:
        """Take the next piece; return whether the turn has to be cut, for `reason`."""
        if kind != self._kind:
            self._kind, self._tail, self._fresh = kind, "", 0
        self._tail += piece
        self._fresh += len(piece)
        if kind == "thinking":
            self._bytes += len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace"))
            if self._budget is not None and self._bytes > self._budget:
                self.reason = (
                    f"The thinking was longer than its budget, about {self.thinking_tokens} tokens."
                )
                return True
        if self._fresh < _CHECK_EVERY:
            return False
        self._fresh = 0
        times, chars = (
            (_TIMES, _THINKING_CHARS) if kind == "thinking" else (_TEXT_TIMES, _TEXT_CHARS)
        )
        self._tail = self._tail[-2 * max(times * _LONGEST_CIRCLE, chars) :]
        if not goes_in_circles(self._tail, times, chars):
            return False
        self.reason = f"The {kind} went in circles."
        return True


def goes_in_circles(text: str, times: int, chars: int) -> bool:
    """Tell whether a text ends in one passage, `times` times and for `chars` characters at least.

    >>> goes_in_circles("Hm. " + "Wait, let me think again about this. " * 40, 5, 1000)
    True
    >>> goes_in_circles(" ".join(map(str, range(2000))), 5, 1000)
    False
    """
    before = text.rfind(text[-_PROBE:], 0, len(text) - 1)
    period = len(text) - _PROBE - before
    if before < 0 or period > _LONGEST_CIRCLE:
        return False
    length = max(times * period, chars)
    return len(text) >= length + period and text[-length:] == text[-length - period : -period]
