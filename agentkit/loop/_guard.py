"""Notices a run that goes in circles: the same calls with the same results, alone or in turns."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agentkit.messages import ModelTurn, ToolResult

Verdict: TypeAlias = Literal["", "hint", "withhold"]

_LONGEST_PERIOD = 4  # rounds; a circle of more calls than that is a procedure
_PATIENCE = 3  # times as many, where the results differ: a clock, a counter, a queue that empties

Round: TypeAlias = tuple[tuple[str, str, str], ...]


@dataclass(slots=True)
class Guard:
    """Remembers the rounds of a run: which calls, with which arguments, and what they gave.

    First the model gets a hint, then the tools of the circle are withheld until another one has
    run; a model that goes on asking for them has its run ended.
    """

    rounds: list[Round] = field(default_factory=list[Round])
    withheld: frozenset[str] = frozenset()
    has_hinted: bool = False

    def withholds(self, name: str) -> str:
        """Return why a tool cannot be called now; "" if it can."""
        if name not in self.withheld:
            return ""
        return (
            f"Not run: {name} has given the same again and again, and is withheld. Use what it "
            "gave, call another tool, or answer with what you know."
        )

    def is_refused(self, turn: ModelTurn) -> bool:
        """Tell whether all that a turn asks for is withheld."""
        return bool(turn.tool_calls) and all(call.name in self.withheld for call in turn.tool_calls)

    def observe(self, turn: ModelTurn, results: Sequence[ToolResult], allowed: int) -> Verdict:
        """Take note of a round, and say what to do about it.

        Args:
            turn: whose calls.
            results: what they gave, in their order.
            allowed: how often a circle may go round.
        """
        ran = tuple(
            (call.name, _canonical(call.arguments), result.text)
            for call, result in zip(turn.tool_calls, results, strict=True)
            if call.name not in self.withheld
        )
        if not ran:
            return ""
        self.withheld = frozenset()
        self.rounds.append(ran)
        most = max(allowed * _PATIENCE, allowed * _LONGEST_PERIOD)
        del self.rounds[: -most - 1]
        times, period = self._circles()
        if times >= allowed:
            last = self.rounds[-period:]
            self.withheld = frozenset(name for round_ in last for name, _, _ in round_)
            self.rounds.clear()
            self.has_hinted = False
            return "withhold"
        due = times == allowed - 1 and allowed > 2
        hints = due and not self.has_hinted
        self.has_hinted = due or (self.has_hinted and times > 1)
        return "hint" if hints else ""

    def _circles(self) -> tuple[int, int]:
        """Return how often the circle at the end has gone round, and of how many rounds it is."""
        last = _asked(self.rounds[-1])
        if not any(_asked(round_) == last for round_ in self.rounds[:-1]):
            return 1, 1  # nearly always: this has never been asked for before
        found = [
            (_repeats(self.rounds, period), period) for period in range(1, _LONGEST_PERIOD + 1)
        ]
        asked = [_asked(round_) for round_ in self.rounds]
        found.append((_repeats(asked, 1) // _PATIENCE, 1))
        return max(found, key=lambda one: (one[0], -one[1]))


def _asked(round_: Round) -> tuple[tuple[str, str], ...]:
    return tuple((name, arguments) for name, arguments, _ in round_)


def _repeats(rounds: Sequence[object], period: int) -> int:
    """Return how often the last `period` rounds stand at the end.

    >>> _repeats(list("xababab"), 2), _repeats(list("aab"), 1), _repeats([], 1)
    (3, 1, 0)
    """
    last, times, end = rounds[-period:], 0, len(rounds)
    while end >= period and rounds[end - period : end] == last:
        times, end = times + 1, end - period
    return times


def _canonical(arguments: str) -> str:
    """Return arguments in one spelling, to be compared: order and spaces make no other call.

    >>> _canonical('{"b": 1,  "a": 2}')
    '{"a": 2, "b": 1}'
    """
    if "," not in arguments:  # one argument at most: nothing to put in order
        return "".join(arguments.split())
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
