"""How Qwen models want to be sampled, and when they think.

Source: the model cards of Qwen3 (sampling, soft switches) and Qwen2.5.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentkit.messages import JsonObject, Message, UserMessage
from agentkit.models._dialects import Dialect
from agentkit.models._identity import Habit
from agentkit.policies import Thinking

THINKING = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0}
PLAIN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0}
SMALL = {"temperature": 0.2}  # measured on 50 planned tasks: variety in a narrow question is error
QUANTISED_PENALTY = 1.5  # against the repetition of quantised weights
_STANDARD_FIELDS = frozenset({"temperature", "top_p", "presence_penalty"})
_SWITCH = re.compile(r"/(no_)?think\s*\Z")


@dataclass(frozen=True, slots=True)
class Mode:
    """How one request is sampled.

    Attributes:
        thinks: which preset applies.
        switch: `enable_thinking` for the chat template; `None` leaves the model's default.
    """

    thinks: bool
    switch: bool | None = None


def mode_of(habit: Habit, thinking: Thinking, messages: Sequence[Message]) -> Mode:
    """Return the mode of a request.

    The hard switch (`thinking=False`) wins; else a `/think` or `/no_think` that ends the last
    user message decides, as Qwen3 itself reads it.
    """
    if habit != "switch":
        return Mode(habit == "always")
    if thinking is False:
        return Mode(thinks=False, switch=False)
    soft = _soft_switch(messages)
    return Mode(soft is not False, True if thinking is True else None)


def sampling_of(
    dialect: Dialect,
    *,
    thinks: bool,
    quantised: bool,
    qwen: bool,
    overrides: Mapping[str, Any],
) -> JsonObject:
    """Return the sampling fields of a request; `overrides` win, and `None` there omits a field."""
    fields: JsonObject = {}
    if qwen:
        fields.update(THINKING if thinks else PLAIN)
        if quantised:
            fields["presence_penalty"] = QUANTISED_PENALTY
    if not dialect.extra_sampling:
        fields = {name: value for name, value in fields.items() if name in _STANDARD_FIELDS}
    fields.update(overrides)
    return {name: value for name, value in fields.items() if value is not None}


def _soft_switch(messages: Sequence[Message]) -> bool | None:
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            found = _SWITCH.search(message.text)
            return None if found is None else found[1] is None
    return None
