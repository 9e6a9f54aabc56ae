"""Planned runs of a small model: the loop decides what it cannot.

A model of one or two billion parameters picks the right call for one fact, but does not know when
it is done, nor how to leave a tool alone. So it is asked three small questions instead: which facts
the task needs, then one call for each fact with only that fact's tool in sight, and at last an
answer from the collected results, where no call is possible.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentkit.events import PlanMade
from agentkit.loop._plan import ask
from agentkit.loop._pursue import pursue, take_turn
from agentkit.loop._state import RunState
from agentkit.messages import (
    Message,
    ModelTurn,
    PlanStep,
    SystemMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from agentkit.toolkit import capped

_NO_TOOL = "none"
_MOST_FACTS = 5
_TRIES = 2
_FACT_CHARS = 4000  # of one result; a small model on a CPU reads 20 tokens in the time of one word

_PLAN_PROMPT = """\
You plan which tool calls a task needs. You do not solve it. Reply with JSON only.
Tools:
{tools}
One entry for each call: "need" says what the call must find out, with the names, numbers and \
addresses of the task; "tool" says which tool finds it out. Calculations, dates, counting and \
text work are calls too. No call for common knowledge, translation or small talk, and none for \
what no tool can find out: then the list is empty."""

# The tools of the examples are not those of the run: they teach the form, not the choice.
_PLAN_EXAMPLES: tuple[Message, ...] = (
    UserMessage("What is the weather in Oslo and in Rome?"),
    ModelTurn(
        text='{"facts": [{"need": "weather in Oslo", "tool": "weather"}, '
        '{"need": "weather in Rome", "tool": "weather"}]}'
    ),
    UserMessage("Who wrote Hamlet?"),
    ModelTurn(text='{"facts": []}'),
    UserMessage("How heavy are 8 of the boxes on http://shop.example/box?"),
    ModelTurn(
        text='{"facts": [{"need": "weight of one box on http://shop.example/box", '
        '"tool": "read_page"}, {"need": "8 times the weight of one box", "tool": "calculator"}]}'
    ),
    UserMessage("What is my neighbour called?"),
    ModelTurn(text='{"facts": []}'),
)

_FACT_PROMPT = """\
Task: {task}
{known}Make one call of {tool} that finds out: {need}"""

_ANSWER_PROMPT = """\
{task}

Found out with tools just now:
{facts}

Answer from this in one or two sentences. Copy numbers, times and names exactly. \
If something was not found, say that you could not find it; never guess."""

_PLAIN_PROMPT = """\
{task}

Answer in one or two sentences. If you cannot know the answer, say so; never guess."""


async def gather_facts(state: RunState) -> str:
    """Plan the facts, get each, answer from them; return the answer.

    Raises:
        Stopped: a limit was reached, or the run goes in circles.
        AgentkitError: the model could not be asked, or gave nothing usable.
    """
    steps = await _plan_facts(state)
    if steps is None:
        state.notice("The plan could not be read; going on without one.")
        return await pursue(state)
    state.plan = steps
    state.emit(PlanMade(step=state.steps, steps=steps))
    found: list[tuple[PlanStep, ToolResult]] = []
    for step in steps:
        if step.tool:
            result = await _get_fact(state, step, found)
            found.append((step, result))
    return await _answer(state, found)


async def _plan_facts(state: RunState) -> tuple[PlanStep, ...] | None:
    prompt = _PLAN_PROMPT.format(tools=_tool_lines(state.registry.specs))
    names = [spec.name for spec in state.registry.specs]
    turn = await ask(
        state,
        "plan",
        messages=[SystemMessage(prompt), *_PLAN_EXAMPLES, UserMessage(_in_context(state))],
        tools=(),
        schema=_plan_schema(names),
        thinking=False,
    )
    return _read_plan(turn.text, names)


async def _get_fact(
    state: RunState, step: PlanStep, found: list[tuple[PlanStep, ToolResult]]
) -> ToolResult:
    spec = state.registry[step.tool].spec
    prompt = _FACT_PROMPT.format(
        task=state.task, known=_known(found), tool=step.tool, need=step.need
    )
    messages: list[Message] = [*_history(state), UserMessage(prompt)]
    result = ToolResult(call_id="", name=step.tool, text="No call was made.", ok=False)
    for _ in range(_TRIES):
        turn = await ask(
            state, "act", messages=messages, tools=(spec,), choice="required", thinking=False
        )
        if not turn.tool_calls:
            state.correct(turn.problem or "The model made no call.", turn.text)
            continue
        one = _first_call(turn)
        await take_turn(state, one)
        result = _last_result(state)
        if result.ok:
            break
        messages += [one, result]
    return result


async def _answer(state: RunState, found: list[tuple[PlanStep, ToolResult]]) -> str:
    facts = _fact_lines(found)
    form = _ANSWER_PROMPT if found else _PLAIN_PROMPT
    prompt = form.format(task=state.task, facts=facts)
    messages: list[Message] = [*_history(state), UserMessage(prompt)]
    while True:
        turn = await ask(state, "answer", messages=messages, tools=(), thinking=False)
        if turn.text.strip():
            state.transcript.append(turn)
            return turn.text
        state.correct("The model wrote no answer.", turn.thinking)


def _history(state: RunState) -> list[Message]:
    """Everything before the task: instructions and earlier turns."""
    for index in range(len(state.transcript) - 1, -1, -1):
        if isinstance(state.transcript[index], UserMessage):
            return state.transcript[:index]
    return []


def _tool_lines(specs: tuple[ToolSpec, ...]) -> str:
    return "\n".join(f"- {spec.name}: {_first_sentence(spec.description)}" for spec in specs)


def _first_sentence(text: str) -> str:
    return text.split("\n", 1)[0].split(". ", 1)[0].rstrip(".") + "."


def _plan_schema(names: list[str]) -> Mapping[str, Any]:
    fact = {
        "type": "object",
        "properties": {
            "need": {"type": "string", "maxLength": 160},
            "tool": {"type": "string", "enum": [*names, _NO_TOOL]},
        },
        "required": ["need", "tool"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"facts": {"type": "array", "maxItems": _MOST_FACTS, "items": fact}},
        "required": ["facts"],
        "additionalProperties": False,
    }


def _read_plan(text: str, names: list[str]) -> tuple[PlanStep, ...] | None:
    try:
        facts: list[dict[str, str]] = json.loads(text)["facts"]
        steps = [PlanStep(str(fact["need"]), str(fact["tool"])) for fact in facts]
    except (ValueError, KeyError, TypeError):
        return None
    unique = dict.fromkeys(steps)
    return tuple(step if step.tool in names else PlanStep(step.need) for step in unique)


def _known(found: Sequence[tuple[PlanStep, ToolResult]]) -> str:
    return f"Known already:\n{_fact_lines(found)}\n" if found else ""


def _fact_lines(found: Sequence[tuple[PlanStep, ToolResult]]) -> str:
    return "\n".join(
        f"- {step.need}: {'' if result.ok else 'not found: '}"
        f"{capped(result.text.strip(), _FACT_CHARS)}"
        for step, result in found
    )


def _in_context(state: RunState) -> str:
    """The task; with what was said before, if the task continues a conversation."""
    said = [
        f"{'User' if isinstance(entry, UserMessage) else 'Assistant'}: {entry.text}"
        for entry in _history(state)
        if isinstance(entry, UserMessage | ModelTurn) and entry.text
    ]
    if not said:
        return state.task
    before = capped("\n".join(said), _FACT_CHARS)
    return f"Said before:\n{before}\n\nThe task now: {state.task}"


def _first_call(turn: ModelTurn) -> ModelTurn:
    if len(turn.tool_calls) == 1:
        return turn
    return ModelTurn(
        text=turn.text, tool_calls=turn.tool_calls[:1], finish=turn.finish, usage=turn.usage
    )


def _last_result(state: RunState) -> ToolResult:
    return next(e for e in reversed(state.transcript) if isinstance(e, ToolResult))
