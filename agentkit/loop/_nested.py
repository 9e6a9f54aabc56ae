"""Nested calls: those that a tool at work makes of the other tools of its run."""

import json
from collections.abc import Callable
from typing import Self, TypeAlias

import anyio

from agentkit.errors import ToolError, ToolInputError
from agentkit.loop._approval import is_approved
from agentkit.loop._call import Ready, beyond_limit, finish_call, run_call
from agentkit.loop._state import RunState
from agentkit.messages import JsonObject, ModelTurn, ToolCall, ToolResult, ToolSpec

_STOPPED = "Stopped: the call that has made this one was stopped, or does not wait for it."

Prepare: TypeAlias = Callable[[RunState, ModelTurn, ToolCall], Ready | ToolResult]
"""Checks a call: a result says why it may not run."""


class NestedCalls:
    """What one call may make of other tools while it goes on; leaving the block ends that.

    Each goes the way of a call of the model, as `CallContext.call_tool` promises. Its events name
    the outer call; the transcript does not have it.

    Attributes:
        source: of the first untrusted result; what the outer call gives may repeat it.
    """

    def __init__(self, state: RunState, outer: ToolCall, prepare: Prepare) -> None:
        self.source = ""
        self._state = state
        self._outer = outer
        self._prepare = prepare
        self._limiter: anyio.CapacityLimiter | None = None
        self._made = 0
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True  # a tool that was abandoned may go on, but not with this run

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """What may be called: all that the model is shown at the moment, but the outer tool."""
        return tuple(spec for spec in self._state.specs if spec.name != self._outer.name)

    async def call(self, name: str, arguments: JsonObject) -> str:
        """Make a call and return its whole result.

        Raises:
            ToolError: it was not allowed, or failed; or the outer call is over.
        """
        state, outer = self._state, self._outer
        if self._is_over:
            raise ToolError(f"{name} cannot be called: the call of {outer.name} is over.")
        if name == outer.name:
            raise ToolError(f"{name} cannot be called from within itself.")
        written = _written(name, arguments)
        self._made += 1
        call = ToolCall(f"{outer.id}.{self._made}", name, written)
        state.within[call.id] = outer.id
        try:
            result = await self._do(call)
        except anyio.get_cancelled_exc_class():
            finish_call(state, call, _STOPPED, ok=False)
            raise
        finally:
            del state.within[call.id]
        if result.source:
            self.source = self.source or result.source
            state.note_held(outer.name, result.source)
        if not result.ok:
            raise ToolError(result.text)
        return result.text

    async def _do(self, call: ToolCall) -> ToolResult:
        state = self._state
        turn = ModelTurn(tool_calls=(call,), finish="tool_calls")
        item = self._prepare(state, turn, call)
        if isinstance(item, ToolResult):
            return item
        if not state.calls_left:
            return beyond_limit(state, call)
        if not await is_approved(state, item, outer=self._outer.name):
            return state.finished[call.id]
        if not state.calls_left:  # others were made while a person was asked
            return beyond_limit(state, call)
        state.spend_calls(1)
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(state.policy.limits.parallel_calls)
        async with self._limiter:
            return await run_call(state, item)


def _written(name: str, arguments: JsonObject) -> str:
    try:
        return json.dumps(arguments)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolInputError(f"The arguments of {name!r} are no JSON object: {error}.") from error
