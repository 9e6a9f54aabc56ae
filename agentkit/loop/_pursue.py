"""The plain loop: ask, act, observe, until the model answers."""

from agentkit.loop._act import act
from agentkit.loop._announce import announces_call
from agentkit.loop._observe import observe
from agentkit.loop._plan import ask, step_deadline
from agentkit.loop._state import RunState, Stopped
from agentkit.messages import ModelTurn, SystemMessage

_EMPTY = "The model wrote neither an answer nor a call."
_ANNOUNCED = 3  # tries: a nudge, then without thinking, then under a grammar
_NUDGE = (
    "You have announced a tool call and not made it. Make the call now; or, if you need none, "
    "give the whole answer without announcing anything."
)


async def pursue(state: RunState) -> str:
    """Go on until the model gives an answer, and return it.

    Raises:
        Stopped: a limit was reached, or the run goes in circles.
        AgentkitError: the model could not be asked, or gave nothing usable.
    """
    while True:
        answer = await pursue_turn(state)
        if answer is not None:
            return answer


async def pursue_turn(state: RunState) -> str | None:
    """Take one step, within its time; return the answer if it was one."""
    with step_deadline(state):
        # Asked again as it was, then without thinking, then for one JSON object under a grammar.
        tried = max(state.corrections, state.announced)
        calm = tried > 1 or state.thought_too_long
        turn = await ask(
            state, thinking=False if calm else None, guided=tried > 2 and len(state.registry) > 0
        )
        return await _settle(state, turn)


async def _settle(state: RunState, turn: ModelTurn) -> str | None:
    """Do what a turn asks for; return its text if it is the answer."""
    if turn.text.strip() and not turn.problem:
        state.answer = turn.text
    if turn.tool_calls:
        await take_turn(state, turn)
        return None
    if turn.problem:
        _append_spoken(state, turn)
        state.transcript.append(SystemMessage(turn.problem))
        state.correct(turn.problem, turn.text)
        return None
    if not turn.text.strip():
        state.thought_too_long = turn.finish == "length"
        state.correct(_EMPTY, turn.thinking)  # the same question again; later without thinking
        return None
    state.thought_too_long = False
    state.transcript.append(turn)
    if announces_call(turn, (spec.name for spec in state.registry.specs)):
        if state.announced < _ANNOUNCED:
            state.announced += 1
            state.transcript.append(SystemMessage(_NUDGE))
            state.notice("A call was announced, and not made; the model is told.")
            return None
        state.notice("The answer may only announce a call: the model was asked three times.")
    if turn.finish in {"length", "abort"}:
        raise Stopped("limit", f"The answer was cut off ({turn.finish}).")
    return turn.text


async def take_turn(state: RunState, turn: ModelTurn) -> bool:
    """Run the calls of a turn and observe their results; return whether any of them ran.

    Raises:
        Stopped: the run goes in circles, or a person has to be asked.
        InvalidOutputError: none could run, too often in a row.
    """
    state.transcript.append(turn)
    return await finish_turn(state, turn)


async def finish_turn(state: RunState, turn: ModelTurn, *, again: bool = False) -> bool:
    """Do the same for a turn that stands in the transcript; `again` if it has waited.

    Raises:
        Stopped: the run goes in circles, or a person has to be asked.
        InvalidOutputError: none could run, too often in a row.
    """
    before, held_back = state.calls, len(state.held_back)
    results = await act(state, turn, again=again)
    ran = state.calls > before
    if ran:
        state.corrections = state.announced = 0
        state.thought_too_long = False
    observe(state, turn, results)
    state.hand_over()
    if turn.problem:  # beside calls that could be read, one could not
        state.transcript.append(SystemMessage(turn.problem))
        state.notice(turn.problem)
    if not ran and len(state.held_back) == held_back:
        state.correct(results[0].text, turn.text)
    return ran


def _append_spoken(state: RunState, turn: ModelTurn) -> None:
    if turn.text.strip():
        state.transcript.append(turn)
