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
    wanted = _wants_approval(spec, item.given)
    why, allow = _objection(state, item)
    if why and not _can_be_asked(state, item, wanted=wanted):
        _hold_back(state, item, why, allow)
        return False
    if not (wanted or why):
        return True
    decision = state.decisions.get(call.id)
    if decision is None:
        step = state.steps
        request = ApprovalRequest(
            run_id=state.run_id, call_id=call.id, name=call.name, arguments=item.given, reason=why
        )
        state.emit(
            ApprovalAsked(
                step=step, call_id=call.id, name=call.name, arguments=item.given, reason=why
            )
        )
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


def _objection(state: RunState, item: Ready) -> tuple[str, str]:
    """Return why a call wants approval because of what the run has read, and what would allow it."""
    mode = state.policy.untrusted
    if mode == "allow" or (mode == "auto" and state.is_attended):
        return "", ""
    why, allow = state.taint.objection(item.tool.spec, item.given, state.policy)
    return (why and f"this run has read untrusted content ({state.taint}), and {why}"), allow


def _can_be_asked(state: RunState, item: Ready, *, wanted: bool) -> bool:
    if state.policy.untrusted == "refuse":
        return False
    # A tool that wants approval anyway pauses the run where nobody is there.
    return wanted or state.approver is not None or item.call.id in state.decisions


def _hold_back(state: RunState, item: Ready, why: str, allow: str) -> None:
    """Give a call that is not made a result that says why, and what a person can do about it."""
    name = item.call.name
    state.held_back = (*state.held_back, name)
    state.notice(f"{name} is not called: {why}. To allow it: {allow}.")
    text = f"Not run: {why}: that needs approval ({allow}). Do without it, and say so."
    finish_call(state, item.call, text, ok=False)


def _wants_approval(spec: ToolSpec, arguments: JsonObject) -> bool:
    try:
        return spec.needs_approval(arguments)
    except Exception:
        return True
