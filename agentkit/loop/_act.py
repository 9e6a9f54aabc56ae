"""Act: run the calls of a turn side by side, in bounds, and hand back results in call order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from agentkit.errors import ToolError, ToolInputError, ToolTimeoutError
from agentkit.events import CallFinished, CallStarted
from agentkit.loop._state import RunState
from agentkit.messages import JsonObject, ModelTurn, ToolCall, ToolResult
from agentkit.protocols import Tool
from agentkit.resilience import deadline, is_cancelled
from agentkit.toolkit import capped, defused

_CUT_OFF = (
    "Not run: the answer was cut off at the token limit, so the arguments may be incomplete. "
    "Make the call again, shorter."
)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A call that may run: known tool, checked arguments."""

    call: ToolCall
    tool: Tool
    given: JsonObject
    checked: JsonObject


async def act(state: RunState, turn: ModelTurn) -> list[ToolResult]:
    """Run the calls of a turn; each ends in one result, in the order of the calls.

    A call that is unknown, invalid, cut off or beyond the limit is not run: its result says why.
    """
    state.finished.clear()
    prepared = [_prepare(state, turn, call) for call in turn.tool_calls]
    ready = [item for item in prepared if isinstance(item, _Ready)]
    allowed = ready[: max(0, state.policy.limits.calls - state.calls)]
    state.calls += len(allowed)
    done = await _run_all(state, allowed)
    return [
        item if isinstance(item, ToolResult) else done.get(id(item)) or _over_limit(state, item)
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


def _prepare(state: RunState, turn: ModelTurn, call: ToolCall) -> _Ready | ToolResult:
    if turn.finish in {"length", "abort"}:
        return _finish(state, call, _CUT_OFF, ok=False)
    try:
        tool = state.tool(call.name)
        given = parse_arguments(call)
        return _Ready(call, tool, given, tool.validate(given))
    except ToolError as error:
        return _finish(state, call, str(error), ok=False)
    except Exception as error:  # the border to tools that are not ours
        return _finish(state, call, f"{type(error).__name__}: {error}", ok=False)


async def _run_all(state: RunState, ready: Sequence[_Ready]) -> dict[int, ToolResult]:
    if len(ready) == 1:  # the usual turn: no task group for a single call
        return {id(ready[0]): await _run_one(state, ready[0])}
    done: dict[int, ToolResult] = {}
    limiter = anyio.CapacityLimiter(state.policy.limits.parallel_calls)

    async def run_into(item: _Ready) -> None:
        async with limiter:
            done[id(item)] = await _run_one(state, item)

    async with anyio.create_task_group() as group:
        for item in ready:
            group.start_soon(run_into, item)
    return done


async def _run_one(state: RunState, item: _Ready) -> ToolResult:
    call, spec = item.call, item.tool.spec
    state.emit(CallStarted(step=state.steps, call_id=call.id, name=call.name, arguments=item.given))
    seconds = state.policy.timeouts.tool if spec.timeout_seconds is None else spec.timeout_seconds
    late = ToolTimeoutError(f"{call.name!r} was stopped: it took longer than {seconds} seconds.")
    began = anyio.current_time()
    try:
        with deadline(seconds, late):
            text, ok = await item.tool.call(item.checked), True
    except ToolError as error:
        text, ok = str(error), False
    except anyio.get_cancelled_exc_class():
        if is_cancelled():
            raise
        text, ok = "What the tool was waiting for was cancelled.", False
    except Exception as error:  # the border to tools that are not ours
        text, ok = f"{type(error).__name__}: {error}", False
    return _finish(state, call, text, ok=ok, seconds=anyio.current_time() - began)


def _over_limit(state: RunState, item: _Ready) -> ToolResult:
    state.refused_calls += 1
    text = f"Not run: the run's limit of {state.policy.limits.calls} calls is reached."
    return _finish(state, item.call, text, ok=False)


def _finish(
    state: RunState, call: ToolCall, text: str, *, ok: bool, seconds: float = 0.0
) -> ToolResult:
    shown = capped(defused(text), state.policy.limits.result_chars)
    state.emit(
        CallFinished(
            step=state.steps, call_id=call.id, name=call.name, text=shown, ok=ok, seconds=seconds
        )
    )
    result = ToolResult(call_id=call.id, name=call.name, text=shown, ok=ok)
    state.finished[call.id] = result
    return result
