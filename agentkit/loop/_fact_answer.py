"""The answer of a small model, from collected results; its figures are theirs.

Such a model copies "09:09:50" as "10:09:50", and where nothing was found it makes something up. So
the figures of an answer are held to what the model was given, and a short last result must be in it.
An answer that fails is asked for once more; after that the results themselves are the answer.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from agentkit.events import Phase
from agentkit.loop._fact_plan import Source
from agentkit.loop._figures import states, strange_figures
from agentkit.loop._plan import ask, step_deadline
from agentkit.loop._state import RunState
from agentkit.messages import Message, ModelTurn, PlanStep, ToolResult, UserMessage
from agentkit.text import capped

Found: TypeAlias = Sequence[tuple[PlanStep, ToolResult]]
"""What was asked of the tools, and what they said."""

FindMissing: TypeAlias = Callable[[Found, str], Awaitable[tuple[PlanStep, ToolResult] | None]]
"""Finds out figures that no result has; `None` where that fails."""

_NUMBER = re.compile(r"-?[\d,]+(?:\.\d+)?")
_FACT_CHARS = 4000  # of one result; a small model on a CPU takes half a second for a line of it
_SHOWN_CHARS = 400  # of all results, where they themselves are the answer

_PROMPTS: Mapping[Source, str] = {
    "tools": """\
Results of the tools:
{facts}

Task: {task}

Write the answer that these results give, in one or two sentences. Copy every number, time and \
name exactly as it stands there. No steps and no explanation. If something was not found, say \
so; never guess.""",
    "memory": "{task}\n\nAnswer in one or two sentences.",
    "nobody": """\
{task}

Neither you nor your tools can know this. Say in one sentence that you do not know it; never guess.""",
}
_NOTHING = """\
{task}

The tools could not find this out:
{facts}

Say in one sentence that it could not be found out, and why; never guess."""
_AGAIN = "{complaint} Write the answer again, copied from the results only."


async def answer(
    state: RunState,
    source: Source,
    task: str,
    found: Found,
    before: Sequence[Message],
    find_missing: FindMissing,
) -> str:
    """Return the answer to `task`; `before` are standing instructions.

    A number in it that no result has was worked out by the model, because the plan has left out
    who does that: it is found out by a tool, once.

    Raises:
        Stopped: a limit was reached.
        AgentkitError: the model could not be asked, or wrote nothing.
    """
    question = _question(source, task, found, before)
    turn = await _written(state, "answer", question)
    numbers = [figure for figure in _strange(turn.text, task, found) if _NUMBER.fullmatch(figure)]
    if numbers and any(result.ok for _, result in found):
        missing = await find_missing(found, ", ".join(numbers))
        if missing is not None:
            found = [*found, missing]
            question = _question(source, task, found, before)
            turn = await _written(state, "answer", question)
    turn = await _held(state, turn, question, task, found)
    state.transcript.append(turn)
    return turn.text


def _question(source: Source, task: str, found: Found, before: Sequence[Message]) -> list[Message]:
    facts = told_lines(found)
    lost = bool(found) and not any(result.ok for _, result in found)
    prompt = (_NOTHING if lost else _PROMPTS[source]).format(task=task, facts=facts)
    return [*before, UserMessage(prompt)]


async def _held(
    state: RunState, turn: ModelTurn, messages: Sequence[Message], task: str, found: Found
) -> ModelTurn:
    """Return an answer that copies nothing wrong: this one, another one, or the results."""
    complaint = _complaint(turn.text, task, found)
    if not complaint:
        return turn
    asked = UserMessage(_AGAIN.format(complaint=complaint))
    turn = await _written(state, "check", [*messages, turn, asked])
    if _complaint(turn.text, task, found) and (plain := _plainly(found)):
        return ModelTurn(text=plain, usage=turn.usage)
    return turn


def _strange(text: str, task: str, found: Found) -> tuple[str, ...]:
    return strange_figures(text, f"{task}\n{fact_lines(found)}") if found else ()


def _complaint(text: str, task: str, found: Found) -> str:
    """Return what an answer copied wrong, "" if nothing."""
    if not found:
        return ""
    if strange := _strange(text, task, found):
        return f"No result says {', '.join(strange)}."
    last = next((result.text.strip() for _, result in reversed(found) if result.ok), "")
    # Earlier results may only have been needed for the last.
    return "" if states(text, last) else f"The answer lacks this result: {last}."


def fact_lines(found: Found) -> str:
    """Return what was found, a line or more for each fact."""
    return "\n".join(
        f"- {step.need}: {'' if result.ok else 'not found: '}{_shortened(result).text}"
        for step, result in found
    )


def told_lines(found: Found) -> str:
    """Return the same for a model: what is from outside stands between markers."""
    return "\n".join(
        f"- {step.need}: {'' if result.ok else 'not found: '}{_shortened(result).told}"
        for step, result in found
    )


def _shortened(result: ToolResult) -> ToolResult:
    return replace(result, text=capped(result.text.strip(), _FACT_CHARS))


async def _written(state: RunState, phase: Phase, messages: Sequence[Message]) -> ModelTurn:
    while True:
        with step_deadline(state):
            turn = await ask(state, phase, messages=messages, tools=(), usually=False)
        if turn.text.strip():
            state.answer = turn.text
            return turn
        state.correct("The model wrote no answer.", turn.thinking)


def _plainly(found: Found) -> str:
    """Return the results as they are, "" where they are too long to be an answer."""
    lines = [
        f"{step.need}: {result.text.strip() if result.ok else 'not found'}"
        for step, result in found
    ]
    text = "\n".join(lines)
    return text if len(text) <= _SHOWN_CHARS else ""
