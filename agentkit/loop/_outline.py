"""Planned runs of a capable model: outline first, revise when a step fails, check at the end."""

import json
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from agentkit.events import PlanMade
from agentkit.loop._plan import ask, step_deadline
from agentkit.loop._pursue import pursue, pursue_turn
from agentkit.loop._state import RunState
from agentkit.messages import PlanStep, SystemMessage, ToolResult

_MOST_STEPS = 10
_MOST_REVISIONS = 2
_MOST_CHECKS = 2

_OUTLINE = (
    "Before you begin, write a short plan as JSON: the steps in order, each with what is needed "
    'and the tool that gets it ("" for none). Do not call a tool yet.'
)
_REVISE = "A step has failed: {problem}\nWrite the plan for what is still to be done, as JSON."
_PLAN_STANDS = "The plan:\n{plan}\nNow carry it out, step by step, and then answer the task."
_CHECK = (
    "Check your answer against the task. Is every part of the task answered, and does every "
    "number, time and name agree with the tool results?"
)
_MEND = "The answer is not complete: {missing}\nDo what is missing, then give the whole answer."


async def follow_outline(state: RunState) -> str:
    """Outline, carry out, check; return the answer.

    Raises:
        Stopped: a limit was reached, or the run goes in circles.
        AgentkitError: the model could not be asked, or gave nothing usable.
    """
    if not state.resumed:
        await _make_plan(state, _OUTLINE, revision=0)
    revision = 0
    for _ in range(_MOST_CHECKS):
        answer: str | None = None
        while answer is None:
            answer = await pursue_turn(state)
            problem = _failed_round(state)
            if answer is None and problem and revision < _MOST_REVISIONS:
                revision += 1
                await _make_plan(state, _REVISE.format(problem=problem), revision=revision)
        missing = await _check(state)
        if not missing:
            return answer
        state.notice(f"The check found something missing: {missing}")
        state.transcript.append(SystemMessage(_MEND.format(missing=missing)))
    return await pursue(state)


async def _make_plan(state: RunState, prompt: str, *, revision: int) -> None:
    """Ask for a plan; one that cannot be read is left out, and the run goes on without it."""
    with step_deadline(state):
        turn = await ask(
            state,
            "plan",
            aside=SystemMessage(prompt),
            choice="none",
            schema=_PLAN_SCHEMA,
            usually=True if state.model.profile.schema_after_thought else "auto",
        )
    steps = _read_steps(turn.text)
    if not steps:
        state.notice("The plan could not be read; going on without one.")
        return
    state.plan = steps
    state.emit(PlanMade(step=state.steps, steps=steps, revision=revision))
    lines = [f"{n}. {s.need}" + (f" ({s.tool})" if s.tool else "") for n, s in enumerate(steps, 1)]
    state.transcript.append(SystemMessage(_PLAN_STANDS.format(plan="\n".join(lines))))


async def _check(state: RunState) -> str:
    """Return what the answer lacks, or "" where it is complete or the check cannot be read."""
    with step_deadline(state):
        turn = await ask(
            state,
            "check",
            aside=SystemMessage(_CHECK),
            choice="none",
            schema=_CHECK_SCHEMA,
            usually=False,
        )
    try:
        verdict: dict[str, Any] = json.loads(turn.text)
        return "" if verdict["complete"] else str(verdict["missing"]).strip()
    except (ValueError, KeyError, TypeError):
        state.notice("The check could not be read; the answer stands unchecked.")
        return ""


def _failed_round(state: RunState) -> str:
    """Return the first error of the last calls, "" if none failed."""
    results = takewhile(lambda entry: isinstance(entry, ToolResult), reversed(state.transcript))
    failed = [entry for entry in results if isinstance(entry, ToolResult) and not entry.ok]
    return f"{failed[-1].name}: {failed[-1].told}" if failed else ""


def _read_steps(text: str) -> tuple[PlanStep, ...]:
    try:
        steps: list[dict[str, str]] = json.loads(text)["steps"]
        return tuple(PlanStep(str(step["need"]), str(step["tool"])) for step in steps)
    except (ValueError, KeyError, TypeError):
        return ()


_PLAN_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "minItems": 1,
            "maxItems": _MOST_STEPS,
            "items": {
                "type": "object",
                "properties": {"need": {"type": "string"}, "tool": {"type": "string"}},
                "required": ["need", "tool"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["steps"],
    "additionalProperties": False,
}

_CHECK_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"complete": {"type": "boolean"}, "missing": {"type": "string"}},
    "required": ["complete", "missing"],
    "additionalProperties": False,
}
