"""Planned runs of a small model: the loop decides what it cannot.

A model of one or two billion parameters picks the right call for one fact, but does not know when
it is done, nor how to leave a tool alone. So it is asked three small questions instead: which facts
the task needs, then one call for each fact with only that fact's tool in sight, and at last an
answer from the collected results, where no call is possible.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from agentkit.events import PlanMade
from agentkit.loop._fact_answer import Found, answer, fact_lines, told_lines
from agentkit.loop._fact_plan import (
    FactPlan,
    Source,
    missing_messages,
    plan_messages,
    plan_schema,
    read_plan,
    revision_messages,
)
from agentkit.loop._plan import ask, step_deadline
from agentkit.loop._pursue import pursue, take_turn
from agentkit.loop._state import RunState
from agentkit.messages import (
    JsonObject,
    Message,
    ModelTurn,
    PlanStep,
    SystemMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from agentkit.text import capped

_TRIES = 3
_GIST_CHARS = 400  # of an error
_ERROR_NAME = re.compile(r"\w*(?:Error|Exception|Warning)\b")
_ADDRESS = re.compile(r"https?://[^\s)>\]]*[^\s)>\].,:;?!]")
_CONTEXT_CHARS = 4000  # of what was said before the task

_FACT_PROMPT = """\
Task: {task}
{known}Make one call of {tool} that finds out: {need}"""

_KNOWN = "Known already; write what you need of it into the call:"
# Not the failed call itself: a small model copies what it sees, and makes that call again.
_AGAIN = """
An earlier call of {tool} failed, so make a better one:
{error}"""


async def gather_facts(state: RunState) -> str:
    """Plan the facts, get each, answer from them; return the answer.

    Raises:
        Stopped: a limit was reached, or the run goes in circles.
        AgentkitError: the model could not be asked, or gave nothing usable.
    """
    found = state.found
    if state.resumed and state.plan:
        found.append((state.plan[len(found)], _last_result(state)))
    elif state.resumed or not await _plan(state):
        return await pursue(state)
    for number in range(len(found), len(state.plan)):
        found.append(await _find(state, number, found))
        state.answer = fact_lines(_known(found))  # should the run end before its answer
    missing = partial(_find_missing, state)
    source = cast("Source", state.source)
    return await answer(state, source, _in_context(state), found, _instructions(state), missing)


async def _plan(state: RunState) -> bool:
    planned = await _plan_facts(state)
    if planned is None:
        state.notice("The plan could not be read; going on without one.")
        return False
    state.source, state.plan = planned
    state.emit(PlanMade(step=state.steps, steps=state.plan))
    return True


async def _plan_facts(state: RunState) -> FactPlan | None:
    specs = state.registry.specs
    names = [spec.name for spec in specs]
    # An address in the task is there to be read: no other answer is offered.
    schema = plan_schema(names, tools_only="://" in state.task)
    return await _ask_for_plan(state, plan_messages(specs, _in_context(state)), schema, names)


async def _find(state: RunState, number: int, found: Found) -> tuple[PlanStep, ToolResult]:
    """Get one fact of the plan; where its tool fails, plan that fact again."""
    step = state.plan[number]
    result = await _get_fact(state, step, found)
    if result.ok or not (other := await _other_way(state, step, result)):
        return step, result
    state.plan = (*state.plan[:number], other, *state.plan[number + 1 :])
    state.emit(PlanMade(step=state.steps, steps=state.plan, revision=1))
    second = await _get_fact(state, other, found)
    return (other, second) if second.ok else (step, result)


async def _other_way(state: RunState, step: PlanStep, result: ToolResult) -> PlanStep | None:
    """Ask for another tool for a fact; `None` where there is none."""
    specs = state.registry.specs
    others = [spec.name for spec in specs if spec.name != step.tool]
    if not others or "://" in state.task:  # a page that cannot be read is not known elsewhere
        return None
    messages = revision_messages(specs, _in_context(state), state.plan, step, result.told)
    return await _ask_for_step(state, messages, others, tools_only=False)


async def _find_missing(
    state: RunState, found: Found, figures: str
) -> tuple[PlanStep, ToolResult] | None:
    """Get a fact that the plan has left out."""
    specs = state.registry.specs
    names = [spec.name for spec in specs]
    facts = told_lines(found)
    messages = missing_messages(specs, _in_context(state), state.plan, facts, figures)
    step = await _ask_for_step(state, messages, names, tools_only=True)
    if step is None or step in state.plan:  # it was asked already, and did not tell
        return None
    state.plan = (*state.plan, step)
    state.emit(PlanMade(step=state.steps, steps=state.plan, revision=1))
    result = await _get_fact(state, step, found)
    return (step, result) if result.ok else None


async def _ask_for_step(
    state: RunState, messages: Sequence[Message], names: Sequence[str], *, tools_only: bool
) -> PlanStep | None:
    schema = plan_schema(names, tools_only=tools_only, most=1)
    _, steps = await _ask_for_plan(state, messages, schema, names) or ("nobody", ())
    return steps[0] if steps else None


async def _ask_for_plan(
    state: RunState, messages: Sequence[Message], schema: JsonObject, names: Sequence[str]
) -> FactPlan | None:
    with step_deadline(state):
        turn = await ask(state, "plan", messages=messages, tools=(), schema=schema, usually=False)
    return read_plan(turn.text, names)


async def _get_fact(state: RunState, step: PlanStep, found: Found) -> ToolResult:
    spec = state.registry[step.tool].spec
    task, known = state.task, _known_lines(found)
    if known and not _takes_an_address(spec):  # else it reads the page again, in its own way
        task, known = _ADDRESS.sub("that page", task), _ADDRESS.sub("that page", known)
    prompt = _FACT_PROMPT.format(task=task, known=known, tool=step.tool, need=step.need)
    messages: list[Message] = [*_instructions(state), UserMessage(prompt)]
    result = ToolResult(call_id="", name=step.tool, text="No call was made.", ok=False)
    tried: set[str] = set()
    for attempt in range(_TRIES):
        with step_deadline(state):
            turn = await ask(
                state,
                "act",
                messages=messages,
                tools=(spec,),
                choice="required",
                usually=False,
                varied=attempt > 0,
            )
            if not turn.tool_calls:
                state.correct(turn.problem or "The model made no call.", turn.text)
                continue
            one = _first_call(turn)
            if one.tool_calls[0].arguments in tried:
                break  # it would fail again, and the same call for ever is a circle
            tried.add(one.tool_calls[0].arguments)
            await take_turn(state, one)
        result = _last_result(state)
        if result.ok:
            break
        prompt += _AGAIN.format(tool=step.tool, error=replace(result, text=_gist(result.text)).told)
        messages[-1] = UserMessage(prompt)
    return result


def _history(state: RunState) -> list[Message]:
    """Everything before the task: instructions and earlier turns."""
    for index in range(len(state.transcript) - 1, -1, -1):
        if isinstance(state.transcript[index], UserMessage):
            return state.transcript[:index]
    return []


def _instructions(state: RunState) -> list[Message]:
    return [entry for entry in _history(state) if isinstance(entry, SystemMessage)]


def _takes_an_address(spec: ToolSpec) -> bool:
    return "url" in str(spec.parameters).lower()


def _gist(error: str) -> str:
    r"""Return what went wrong, without the code it went wrong in.

    >>> print(_gist("  File 'cell', line 1\n    print(x)\nNameError: x\nDefine it."))
    NameError: x
    Define it.
    """
    lines = error.strip().splitlines()
    named = [n for n, line in enumerate(lines) if _ERROR_NAME.match(line)]
    return capped("\n".join(lines[named[-1] :] if named else lines), _GIST_CHARS)


def _known_lines(found: Found) -> str:
    known = _known(found)  # an error would be copied
    return f"{_KNOWN}\n{told_lines(known)}\n" if known else ""


def _known(found: Found) -> Found:
    return [(step, result) for step, result in found if result.ok]


def _in_context(state: RunState) -> str:
    """The task; with what was said before, if the task continues a conversation."""
    said = [
        f"{'User' if isinstance(entry, UserMessage) else 'Assistant'}: {entry.text}"
        for entry in _history(state)
        if isinstance(entry, UserMessage | ModelTurn) and entry.text
    ]
    if not said:
        return state.task
    before = capped("\n".join(said), _CONTEXT_CHARS)
    return f"Said before:\n{before}\n\nThe task now: {state.task}"


def _first_call(turn: ModelTurn) -> ModelTurn:
    if len(turn.tool_calls) == 1:
        return turn
    return ModelTurn(
        text=turn.text, tool_calls=turn.tool_calls[:1], finish=turn.finish, usage=turn.usage
    )


def _last_result(state: RunState) -> ToolResult:
    return next(e for e in reversed(state.transcript) if isinstance(e, ToolResult))
