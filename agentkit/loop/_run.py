"""Drive one run from its task to its result."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from agentkit.errors import AgentkitError, DeadlineExceededError, ModelError
from agentkit.events import Event, NestedEvent, RunEnded, RunStarted
from agentkit.loop._facts import gather_facts
from agentkit.loop._outline import follow_outline
from agentkit.loop._output import conform
from agentkit.loop._plan import ask
from agentkit.loop._pursue import finish_turn, pursue
from agentkit.loop._result import Result
from agentkit.loop._state import RunState, Stopped, points
from agentkit.messages import Stop, SystemMessage
from agentkit.protocols import CURRENT_CALL
from agentkit.resilience import deadline

Strategy: TypeAlias = Callable[[RunState], Awaitable[str]]

_CLOSING = (
    "No more tool calls are possible. Answer now with what you know, and say what is missing."
)


def choose_strategy(*, plan: bool, small: bool) -> Strategy:
    """Return how a run goes about its task."""
    if not plan:
        return pursue
    return gather_facts if small else follow_outline


async def run_to_end(state: RunState, *, plan: bool) -> Result:
    """Run until there is an answer or a named stop, and return the result.

    A cancellation passes through, but not before the last event has been sent and the partial
    result stands in `state.result`.
    """
    if state.parent is not None:
        state.emit = _nested(state, state.parent, state.emit)
    strategy = choose_strategy(plan=plan, small=state.model.profile.small)
    state.emit(
        RunStarted(
            run_id=state.run_id,
            task=state.task,
            model=state.model.profile.name,
            tools=tuple(spec.name for spec in state.registry.specs),
            agent=state.agent,
            backend=state.model.profile.backend,
            conversation_id=state.conversation_id,
            parent_run_id=state.parent.run_id if state.parent is not None else "",
        )
    )
    if state.taint.sources and state.parent is None:
        state.tell_taint(state.taint.sources[0])
    state.shelf_is_used = any(map(points, state.transcript))
    try:
        stop, reason, error = await _until_stopped(state, strategy)
    except anyio.get_cancelled_exc_class():
        end_run(state, "cancelled", "The run was cancelled.", None)
        raise
    except Exception as error:  # a bug, which is not hidden: but its run ends like any other
        end_run(state, "failed", f"{type(error).__name__}: {error}", None)
        raise
    finally:
        await state.aclose()
    return end_run(state, stop, reason, error)


def _nested(
    state: RunState, parent: RunState, emit: Callable[[Event], None]
) -> Callable[[Event], None]:
    """Let the run that has begun this one see its events, too."""
    call = CURRENT_CALL.get()
    call_id = call.call_id if call is not None else ""

    def both(event: Event) -> None:
        emit(event)
        parent.emit(
            NestedEvent(
                step=parent.steps,
                call_id=call_id,
                run_id=state.run_id,
                agent=state.agent,
                event=event,
            )
        )

    return both


def end_run(state: RunState, stop: Stop, reason: str, error: AgentkitError | None) -> Result:
    """Settle what is open, send the last event and return the result."""
    paused = state.paused() if stop == "approval" else None
    state.settle_open_calls(f"{'Not run' if paused else 'Outcome unknown'}: {reason}")
    seconds = state.seconds
    state.result = Result(
        run_id=state.run_id,
        agent=state.agent,
        output=state.output_value,
        text=state.answer,
        stop=stop,
        reason=reason,
        steps=state.steps,
        calls=state.calls,
        usage=state.usage,
        transcript=(transcript := tuple(state.transcript)),
        shown=tuple(shown) if (shown := state.shown()) is not state.transcript else transcript,
        plan=state.plan,
        error=error,
        seconds=seconds,
        paused=paused,
        abandoned=state.abandoned,
        untrusted=tuple(state.taint.sources),
        held_back=state.held_back,
    )
    state.emit(
        RunEnded(
            run_id=state.run_id,
            stop=stop,
            text=state.answer,
            steps=state.steps,
            usage=state.usage,
            seconds=seconds,
            error=reason,
        )
    )
    return state.result


async def _until_stopped(
    state: RunState, strategy: Strategy
) -> tuple[Stop, str, AgentkitError | None]:
    seconds = state.policy.timeouts.run
    late = DeadlineExceededError(f"The run took longer than {seconds} seconds.")
    try:
        with deadline(seconds, late):
            try:
                if state.resumed:
                    await finish_turn(state, state.open_turn(), again=True)
                if state.output is None or len(state.registry) or state.resumed:
                    state.answer = await strategy(state)
                if state.output is not None:
                    await conform(state, state.output)
            except Stopped as stopped:
                await _close(state, stopped)
                return stopped.stop, stopped.reason, None
    except DeadlineExceededError as error:
        return "deadline", str(error), None
    except AgentkitError as error:
        error.run_id = state.run_id
        return "failed", str(error), error
    return "done", "", None


async def _close(state: RunState, stopped: Stopped) -> None:
    """Ask once more, without calls, for an answer from what is known by now."""
    spent = state.tokens_are_spent
    if stopped.stop in {"cancelled", "approval"} or spent or not state.calls:
        return
    state.settle_open_calls(f"Not run: {stopped.reason}")
    state.transcript.append(SystemMessage(_CLOSING))
    try:
        turn = await ask(state, "answer", choice="none", usually=False, limited=False)
    except ModelError as error:
        state.notice(f"No closing answer: {error}")
        return
    if turn.text.strip() and not turn.tool_calls:
        state.transcript.append(turn)
        state.answer = turn.text
