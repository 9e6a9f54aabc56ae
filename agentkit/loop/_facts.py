"""Planned runs of a small model: the loop decides what it cannot.

A model of one or two billion parameters picks the right call for one fact, but does not know when
it is done, nor how to leave a tool alone. So it is asked three small questions instead: which facts
the task needs, then one call for each fact with only that fact's tool in sight, and at last an
answer from the collected results, where no call is possible.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from agentkit.events import PlanMade
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
from agentkit.toolkit import capped

Source: TypeAlias = Literal["tools", "memory", "nobody"]

_MOST_FACTS = 5
_TRIES = 2
_TOOL_CHARS = 160  # of a description in the plan; the call itself is asked with all of it
_FACT_CHARS = 4000  # of one result; a small model on a CPU takes half a second for a line of it

_PLAN_PROMPT = """\
You plan how a task gets its answer. You do not solve it. Reply with JSON only.
"answer_from" is one of:
- "tools": what is true now or today, what stands on a page, and everything to compute, count, \
convert, sort or change. Then "calls" lists one call for each thing to find out, with the names, \
numbers and addresses of the task.
- "memory": common knowledge, words, translations, small talk.
- "nobody": private facts that neither a tool nor you can know.
Tools:
{tools}"""

# The tools of the examples are not those of the run: they teach the form, not the choice. "nobody"
# stands beside "tools", not among the tools: as the name of a tool it drew half of all calls.
_EXAMPLES: tuple[tuple[str, Source, tuple[PlanStep, ...]], ...] = (
    (
        "What is the weather in Oslo and in Rome?",
        "tools",
        (PlanStep("weather in Oslo", "weather"), PlanStep("weather in Rome", "weather")),
    ),
    ("Who wrote Hamlet?", "memory", ()),
    ("How many kilograms are 5 pounds?", "tools", (PlanStep("5 pounds in kilograms", "program"),)),
    ("How loud is it in my garden?", "nobody", ()),
    (
        "How heavy are 8 of the boxes on http://shop.example/box?",
        "tools",
        (
            PlanStep("weight of one box on http://shop.example/box", "read_page"),
            PlanStep("8 times the weight of one box", "program"),
        ),
    ),
    ("Which weekday was 3 May 1999?", "tools", (PlanStep("weekday of 3 May 1999", "program"),)),
    ("What is the plural of 'mouse'?", "memory", ()),
)

_FACT_PROMPT = """\
Task: {task}
{known}Make one call of {tool} that finds out: {need}"""

_AGAIN = "That call failed. Make a different call of {tool} that avoids this error."

_ANSWER_PROMPTS: Mapping[Source, str] = {
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


async def gather_facts(state: RunState) -> str:
    """Plan the facts, get each, answer from them; return the answer.

    Raises:
        Stopped: a limit was reached, or the run goes in circles.
        AgentkitError: the model could not be asked, or gave nothing usable.
    """
    planned = await _plan_facts(state)
    if planned is None:
        state.notice("The plan could not be read; going on without one.")
        return await pursue(state)
    source, state.plan = planned
    state.emit(PlanMade(step=state.steps, steps=state.plan))
    found: list[tuple[PlanStep, ToolResult]] = []
    for step in state.plan:
        found.append((step, await _get_fact(state, step, found)))
    return await _answer(state, source, found)


async def _plan_facts(state: RunState) -> tuple[Source, tuple[PlanStep, ...]] | None:
    messages: list[Message] = [
        SystemMessage(_PLAN_PROMPT.format(tools=_tool_lines(state.registry.specs)))
    ]
    for task, source, steps in _EXAMPLES:
        messages += [UserMessage(task), ModelTurn(text=_write_plan(source, steps))]
    names = [spec.name for spec in state.registry.specs]
    with step_deadline(state):
        turn = await ask(
            state,
            "plan",
            messages=[*messages, UserMessage(_in_context(state))],
            tools=(),
            # An address in the task is there to be read: no other answer is offered.
            schema=_plan_schema(names, tools_only="://" in state.task),
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
    messages: list[Message] = [*_instructions(state), UserMessage(prompt)]
    result = ToolResult(call_id="", name=step.tool, text="No call was made.", ok=False)
    for _ in range(_TRIES):
        with step_deadline(state):
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
        messages += [one, result, UserMessage(_AGAIN.format(tool=step.tool))]
    return result


async def _answer(
    state: RunState, source: Source, found: Sequence[tuple[PlanStep, ToolResult]]
) -> str:
    prompt = _ANSWER_PROMPTS[source].format(task=_in_context(state), facts=_fact_lines(found))
    messages: list[Message] = [*_instructions(state), UserMessage(prompt)]
    while True:
        with step_deadline(state):
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


def _instructions(state: RunState) -> list[Message]:
    return [entry for entry in _history(state) if isinstance(entry, SystemMessage)]


def _tool_lines(specs: tuple[ToolSpec, ...]) -> str:
    return "\n".join(f"- {spec.name}: {_shortened(spec.description)}" for spec in specs)


def _shortened(text: str) -> str:
    return " ".join(text.split())[:_TOOL_CHARS]


def _plan_schema(names: list[str], *, tools_only: bool) -> Mapping[str, Any]:
    call = {
        "tool": {"type": "string", "enum": names},
        "question": {"type": "string", "maxLength": 160},
    }
    calls = {
        "type": "array",
        "minItems": 1,
        "maxItems": _MOST_FACTS,
        "items": _object(call),
    }
    with_tools = _object({"answer_from": {"const": "tools"}, "calls": calls})
    if tools_only:
        return with_tools
    return {"anyOf": [with_tools, _object({"answer_from": {"enum": ["memory", "nobody"]}})]}


def _object(properties: Mapping[str, Any]) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _write_plan(source: Source, steps: Sequence[PlanStep]) -> str:
    plan: JsonObject = {"answer_from": source}
    if source == "tools":
        plan["calls"] = [{"tool": step.tool, "question": step.need} for step in steps]
    return json.dumps(plan)


def _read_plan(text: str, names: list[str]) -> tuple[Source, tuple[PlanStep, ...]] | None:
    try:
        plan = json.loads(text)
        source, calls = plan["answer_from"], plan.get("calls", [])
        steps = [PlanStep(str(call["question"]), str(call["tool"])) for call in calls]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    known = tuple(step for step in dict.fromkeys(steps) if step.tool in names)
    if source not in _ANSWER_PROMPTS or (source == "tools" and not known):
        return None
    return source, known


def _known(found: Sequence[tuple[PlanStep, ToolResult]]) -> str:
    known = [(step, result) for step, result in found if result.ok]  # an error would be copied
    return f"Known already:\n{_fact_lines(known)}\n" if known else ""


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
