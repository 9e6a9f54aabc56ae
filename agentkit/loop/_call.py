"""One call: in a task of its own, within its time, repeated only where its effect allows."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from agentkit.errors import (
    AgentkitError,
    OutcomeUnknownError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from agentkit.events import CallFinished, CallProgressed, CallStarted
from agentkit.loop._state import CURRENT_RUN, RunState, pointed
from agentkit.loop._taint import READER
from agentkit.messages import JsonObject, ToolCall, ToolResult
from agentkit.protocols import CURRENT_CALL, CallContext, Tool
from agentkit.resilience import abandoned, retrying, run_apart
from agentkit.text import capped, harmless
from agentkit.toolkit import as_text

if TYPE_CHECKING:
    from agentkit.loop._nested import NestedCalls

_MOST_ABANDONED = 20  # of one tool; more, and it hangs each time
_POINTER_CHARS = 200
_WHOLE_CHARS = 1_000_000  # of a result that a tool reads instead of the model
_UNKNOWN = "What it has done by then is unknown: find that out before you repeat it."


@dataclass(frozen=True, slots=True)
class Ready:
    """A call that may run: known tool, checked arguments."""

    call: ToolCall
    tool: Tool
    given: JsonObject
    checked: JsonObject


async def run_call(state: RunState, item: Ready, nested: "NestedCalls | None" = None) -> ToolResult:
    """Run a call, which may make the nested ones; whatever it does, it ends in a result."""
    call, spec = item.call, item.tool.spec
    within = state.within.get(call.id, "")
    state.emit(
        CallStarted(
            step=state.steps, call_id=call.id, name=call.name, arguments=item.given, within=within
        )
    )
    began = anyio.current_time()
    state.keys += 1
    attempts = _Attempts(state, item, f"{state.run_id}:{state.keys}", nested)
    try:
        worth = _never_done if spec.effect == "once" else _does_no_harm
        text = await retrying(state.policy.tool_retry, attempts.next, attempts.announce, worth)
        ok = True
    except OutcomeUnknownError as error:
        text, ok = str(error), False
        if spec.effect == "once" and _UNKNOWN not in text and "unknown" not in text:
            text = f"{text.rstrip('.')}. {_UNKNOWN}"
    except AgentkitError as error:
        text, ok = str(error), False
    source = state.source_of(spec, item.given) or (nested.source if nested is not None else "")
    most = state.policy.limits.result_chars
    shelved = len(text) > most and call.name != READER and not within
    if shelved and (
        handle := await state.keep_whole(text, source, finds=spec.untrusted and not spec.composes)
    ):
        text = pointed(capped(text, most - _POINTER_CHARS), handle)
    seconds = anyio.current_time() - began
    result = finish_call(state, call, text, ok=ok, seconds=seconds, source=source)
    state.take_in(spec, item.given, result)
    return result


def finish_call(
    state: RunState,
    call: ToolCall,
    text: str,
    *,
    ok: bool,
    seconds: float = 0.0,
    source: str = "",
) -> ToolResult:
    """Tell that a call is over, and return its result as the model reads it.

    Whole, where it is read by the tool that has made the call.
    """
    within = state.within.get(call.id, "")
    # Cut first: what is a million characters long is not gone through for those that are kept.
    shown = harmless(capped(text, state.policy.limits.result_chars))
    state.emit(
        CallFinished(
            step=state.steps,
            call_id=call.id,
            name=call.name,
            text=shown,
            ok=ok,
            seconds=seconds,
            within=within,
        )
    )
    mark = state.taint.mark if source else ""
    result = ToolResult(
        call_id=call.id, name=call.name, text=shown, ok=ok, source=source, mark=mark
    )
    state.finished[call.id] = result
    return replace(result, text=capped(text, _WHOLE_CHARS)) if within else result


def beyond_limit(state: RunState, call: ToolCall) -> ToolResult:
    """Return the result of a call that the run has no calls left for; the run ends soon."""
    state.refused_calls += 1
    text = f"Not run: the run's limit of {state.policy.limits.calls} calls is reached."
    return finish_call(state, call, text, ok=False)


class _Attempts:
    """The attempts at one call: the same key for each."""

    def __init__(
        self, state: RunState, item: Ready, key: str, nested: "NestedCalls | None"
    ) -> None:
        self._state = state
        self._item = item
        self._key = key
        self._nested = nested
        self._number = 0
        spec = item.tool.spec
        timeout = spec.timeout_seconds
        self._seconds = state.policy.timeouts.tool if timeout is None else timeout

    async def next(self) -> str:
        """Try once.

        Raises:
            ToolError: it failed.
        """
        self._number += 1
        name = self._item.call.name
        if abandoned().count(name) >= _MOST_ABANDONED:
            raise ToolError(f"It hangs: {_MOST_ABANDONED} earlier calls have not ended yet.")
        outcome = await run_apart(self._work, name, self._abandon, seconds=self._seconds)
        if outcome.is_late:
            raise ToolTimeoutError(
                f"{name!r} was stopped: it took longer than {self._seconds} seconds."
            ) from outcome.error
        if outcome.error is not None:
            raise _as_tool_error(outcome.error) from outcome.error
        return as_text(outcome.value)

    def announce(self, attempt: int, delay: float, error: AgentkitError) -> None:
        """Tell that it is tried again."""
        name = self._item.call.name
        self._state.notice(f"{name}: {error} Attempt {attempt} follows in {delay:.1f} s.")

    async def _work(self) -> str:
        CURRENT_RUN.set(self._state)
        context = CallContext(
            run_id=self._state.run_id,
            call_id=self._item.call.id,
            key=self._key,
            attempt=self._number,
            report=self._report,
            keep_file=self._state.shelf.keep_file if self._state.shelf else None,
            attended=self._state.approver is not None,
        )
        if (nested := self._nested) is not None:
            context = replace(context, tools=nested.tools, call_tool=nested.call)
        CURRENT_CALL.set(context)
        return await self._item.tool.call(self._item.checked)

    def _report(self, done: float, total: float | None, text: str) -> None:
        state, call = self._state, self._item.call
        if call.id not in state.finished:  # an abandoned one may speak long after the run
            state.emit(
                CallProgressed(
                    step=state.steps,
                    call_id=call.id,
                    name=call.name,
                    done=done,
                    total=total,
                    text=text,
                    within=state.within.get(call.id, ""),
                )
            )

    def _abandon(self) -> None:
        name = self._item.call.name
        self._state.abandoned = (*self._state.abandoned, name)
        self._state.notice(f"{name} does not stop when it is told to: it is left to itself.")


def _never_done(error: AgentkitError) -> bool:
    return isinstance(error, ToolUnavailableError)


def _does_no_harm(error: AgentkitError) -> bool:
    return isinstance(error, OutcomeUnknownError | ToolUnavailableError)


def _as_tool_error(error: BaseException) -> ToolError:
    if isinstance(error, ToolError):
        return error
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return ToolError("What the tool was waiting for was cancelled.")
    return ToolError(f"{type(error).__name__}: {error}")  # the border to tools that are not ours
