"""Observe: append what the tools gave, and hold the run to its limits."""

from collections.abc import Sequence

from agentkit.loop._state import RunState, Stopped
from agentkit.messages import ModelTurn, SystemMessage, ToolResult

_REPEATED = (
    "The same call with the same arguments has given the same result again. "
    "Do not repeat it: try something else, or answer with what you know."
)
_WITHHELD = (
    "You go in circles. {names} cannot be called for now: call another tool, or answer with what "
    "you know."
)


def observe(state: RunState, turn: ModelTurn, results: Sequence[ToolResult]) -> None:
    """Append results, then look for a run that goes in circles.

    Raises:
        Stopped: it goes on with calls that are withheld.
    """
    refused = state.guard.is_refused(turn)
    state.transcript.extend(results)
    if refused:
        names = ", ".join(dict.fromkeys(call.name for call in turn.tool_calls))
        raise Stopped("loop", f"The calls of {names} went in circles, and did not end.")
    match state.guard.observe(turn, results, state.policy.limits.repeats):
        case "hint":
            # A reminder with the user role would end the tool loop for Qwen's template: it would
            # drop the turn's thinking from the prompt, and with it the prefix cache.
            state.transcript.append(SystemMessage(_REPEATED))
        case "withhold":
            names = ", ".join(sorted(state.guard.withheld))
            state.transcript.append(SystemMessage(_WITHHELD.format(names=names)))
            state.notice(f"Going in circles: {names} is withheld until another tool has run.")
        case _:
            pass


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
    if state.tokens_are_spent:
        whose = "" if state.parent is None else ", of this run or one that it is a part of,"
        raise Stopped("limit", f"The limit of {limits.tokens or 'the'} tokens{whose} is reached.")
