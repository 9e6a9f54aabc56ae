"""Asks a person before a call that wants it; where nobody can be asked, the run pauses."""

from collections.abc import Sequence

from agentkit.events import ApprovalAsked, ApprovalGiven
from agentkit.loop._call import Ready, finish_call
from agentkit.loop._state import RunState
from agentkit.messages import ApprovalRequest, Decision, JsonObject, ToolSpec

_REFUSED = "Not run: the person you work for has refused this call"
_NOBODY = (
    "Not run: a person has to approve this call, and nobody can be asked while {outer} is at work. "
    "Call {name} by itself."
)


async def approved(state: RunState, ready: Sequence[Ready]) -> list[Ready]:
    """Return the calls that may run; the others have a result, or stand in `state.waiting`."""
    state.waiting = ()
    return [item for item in ready if await is_approved(state, item)]


async def is_approved(state: RunState, item: Ready, *, outer: str = "") -> bool:
    """Tell whether a call may run; one that may not has a result, or stands in `state.waiting`.

    Args:
        state: of the run.
        item: the call.
        outer: the tool that makes the call, if one does: its work cannot wait for another day.
    """
    call, spec = item.call, item.tool.spec
    wanted = _wants_approval(spec, item.given)
    why, allow = _objection(state, item)
    if why and not _can_be_asked(state, item, wanted=wanted):
        _hold_back(state, item, why, allow)
        return False
    if not (wanted or why):
        return True
    request = ApprovalRequest(
        run_id=state.run_id, call_id=call.id, name=call.name, arguments=item.given, reason=why
    )
    if outer and state.approver is None:
        finish_call(state, call, _NOBODY.format(outer=outer, name=call.name), ok=False)
        return False
    decision = state.decisions.get(call.id)
    if decision is None:
        async with state.asking:  # calls that tools make side by side: one question at a time
            decision = await _ask(state, request)
        if decision is None:
            return False
    return _note_decision(state, item, decision)


async def _ask(state: RunState, request: ApprovalRequest) -> Decision | None:
    state.emit(
        ApprovalAsked(
            step=state.steps,
            call_id=request.call_id,
            name=request.name,
            arguments=request.arguments,
            reason=request.reason,
        )
    )
    if state.approver is not None:
        return await state.approver(request)
    state.waiting = (*state.waiting, request)
    return None


def _note_decision(state: RunState, item: Ready, decision: Decision) -> bool:
    call = item.call
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
