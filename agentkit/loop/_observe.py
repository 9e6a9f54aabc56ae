"""Observe: append what the tools gave, and hold the run to its limits."""

from collections.abc import Sequence

from agentkit.loop._state import RunState, Stopped
from agentkit.messages import ModelTurn, SystemMessage, ToolResult

_REPEATED = (
    "The same call with the same arguments has given the same result again. "
    "Do not repeat it: try something else, or answer with what you know."
)


def observe(state: RunState, turn: ModelTurn, results: Sequence[ToolResult]) -> None:
    """Append results, then look for a run that goes in circles.

    Raises:
        Stopped: the same calls have had the same results too often in a row.
    """
    state.transcript.extend(results)
    this_round = tuple(
        (call.name, call.arguments, result.text)
        for call, result in zip(turn.tool_calls, results, strict=True)
    )
    state.repeats = state.repeats + 1 if this_round == state.last_round else 1
    state.last_round = this_round
    allowed = state.policy.limits.repeats
    if state.repeats >= allowed:
        raise Stopped("loop", f"The same call had the same result {state.repeats} times in a row.")
    if state.repeats == allowed - 1 and allowed > 2:
        # A reminder with the user role would end the tool loop for Qwen's template: it would drop
        # the turn's thinking from the prompt, and with it the prefix cache.
        state.transcript.append(SystemMessage(_REPEATED))


def check_limits(state: RunState) -> None:
    """Raise if the run may not take another step.

    Raises:
        Stopped: with the limit's name.
    """
    limits = state.policy.limits
    if state.wants_stop:
        raise Stopped("cancelled", "The run was asked to stop after its step.")
    if state.steps >= limits.steps:
        raise Stopped("limit", f"The limit of {limits.steps} steps is reached.")
    if state.refused_calls:
        raise Stopped("limit", f"The limit of {limits.calls} tool calls is reached.")
    if limits.tokens is not None and state.usage.total_tokens >= limits.tokens:
        raise Stopped("limit", f"The limit of {limits.tokens} tokens is reached.")
