"""Act: run the calls of a turn side by side, in bounds, and hand back results in call order."""

import json
from collections.abc import Sequence
from typing import Any

import anyio

from agentkit.errors import ToolError, ToolInputError
from agentkit.loop._approval import approved
from agentkit.loop._call import Ready, beyond_limit, finish_call, run_call
from agentkit.loop._nested import NestedCalls
from agentkit.loop._state import RunState
from agentkit.messages import JsonObject, ModelTurn, ToolCall, ToolResult

_CUT_OFF = (
    "Not run: the answer was cut off at the token limit, so the arguments may be incomplete. "
    "Make the call again, shorter."
)


async def act(state: RunState, turn: ModelTurn, *, again: bool = False) -> list[ToolResult]:
    """Run the calls of a turn; each ends in one result, in the order of the calls.

    A call that is unknown, invalid, cut off, withheld, refused by a person or beyond the limit is
    not run: its result says why.

    Args:
        state: of the run.
        turn: whose calls.
        again: the turn has waited for approvals: what has run by then has its result.

    Raises:
        Stopped: a person has to be asked, and nobody can be; the other calls have run.
    """
    if not again:
        state.finished.clear()
    prepared = [_prepare(state, turn, call) for call in turn.tool_calls]
    ready = [item for item in prepared if isinstance(item, Ready)]
    allowed = ready[: state.calls_left]
    allowed = await approved(state, allowed)
    state.spend_calls(len(allowed))
    done = await _run_all(state, allowed)
    state.raise_if_waiting()
    return [
        item if isinstance(item, ToolResult) else done.get(id(item)) or _not_run(state, item)
        for item in prepared
    ]


def parse_arguments(call: ToolCall) -> JsonObject:
    """Return the arguments of a call as an object.

    Raises:
        ToolInputError: they are not a JSON object.
    """
    try:
        parsed: Any = json.loads(call.arguments or "{}")
    except ValueError as error:
        raise ToolInputError(
            f"The arguments of {call.name!r} are not valid JSON: {error}."
        ) from error
    if not isinstance(parsed, dict):
        raise ToolInputError(f"The arguments of {call.name!r} must be a JSON object.")
    return parsed  # pyright: ignore[reportUnknownVariableType] - any JSON object


def _prepare(state: RunState, turn: ModelTurn, call: ToolCall) -> Ready | ToolResult:
    if call.id in state.finished:
        return state.finished[call.id]
    if turn.finish in {"length", "abort"}:
        return finish_call(state, call, _CUT_OFF, ok=False)
    if problem := state.guard.withholds(call.name):
        return finish_call(state, call, problem, ok=False)
    try:
        tool = state.tool(call.name)
        given = parse_arguments(call)
        return Ready(call, tool, given, tool.validate(given))
    except ToolError as error:
        return finish_call(state, call, str(error), ok=False)
    except Exception as error:  # the border to tools that are not ours
        return finish_call(state, call, f"{type(error).__name__}: {error}", ok=False)


async def _run_all(state: RunState, ready: Sequence[Ready]) -> dict[int, ToolResult]:
    if len(ready) == 1:  # the usual turn: no task group for a single call
        return {id(ready[0]): await _run(state, ready[0])}
    done: dict[int, ToolResult] = {}
    limiter = anyio.CapacityLimiter(state.policy.limits.parallel_calls)

    async def run_into(item: Ready) -> None:
        async with limiter:
            done[id(item)] = await _run(state, item)

    async with anyio.create_task_group() as group:
        for item in ready:
            group.start_soon(run_into, item)
    return done


async def _run(state: RunState, item: Ready) -> ToolResult:
    with NestedCalls(state, item.call, _prepare) as nested:
        return await run_call(state, item, nested)


def _not_run(state: RunState, item: Ready) -> ToolResult:
    if refused := state.finished.get(item.call.id):  # by a person
        return refused
    return beyond_limit(state, item.call)
