"""Asks a person before a call that wants it; where nobody can be asked, the run pauses."""

from collections.abc import Sequence

from agentkit.events import ApprovalAsked, ApprovalGiven
from agentkit.loop._call import Ready, finish_call
from agentkit.loop._state import RunState
from agentkit.messages import ApprovalRequest, JsonObject, ToolSpec

_REFUSED = "Not run: the person you work for has refused this call"


async def approved(state: RunState, ready: Sequence[Ready]) -> list[Ready]:
    """Return the calls that may run; the others have a result, or stand in `state.waiting`."""
    state.waiting = ()
    return [item for item in ready if await _is_approved(state, item)]


async def _is_approved(state: RunState, item: Ready) -> bool:
    call, spec = item.call, item.tool.spec
    if not _wants_approval(spec, item.given):
        return True
    request = ApprovalRequest(
        run_id=state.run_id, call_id=call.id, name=call.name, arguments=item.given
    )
    decision = state.decisions.get(call.id)
    if decision is None:
        step = state.steps
        state.emit(ApprovalAsked(step=step, call_id=call.id, name=call.name, arguments=item.given))
        if state.approver is None:
            state.waiting = (*state.waiting, request)
            return False
        decision = await state.approver(request)
    why = decision if isinstance(decision, str) else ""
    state.emit(
        ApprovalGiven(
            step=state.steps, call_id=call.id, name=call.name, approved=decision is True, reason=why
        )
    )
    if decision is not True:
        finish_call(
            state, call, f"{_REFUSED}{f': {why}' if why else ''}".rstrip(".") + ".", ok=False
        )
    return decision is True


def _wants_approval(spec: ToolSpec, arguments: JsonObject) -> bool:
    try:
        return spec.needs_approval(arguments)
    except Exception:
        return True
