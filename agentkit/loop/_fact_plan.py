"""The plan of a small model: where the answer comes from, and which facts the tools must find.

The question stands before the tool, so that the model chooses the tool for a question it has just
written: with the tool first, it took the first name that sounded like the task.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, Literal, TypeAlias

from agentkit.messages import (
    JsonObject,
    Message,
    ModelTurn,
    PlanExample,
    PlanStep,
    SystemMessage,
    ToolSpec,
    UserMessage,
)

Source: TypeAlias = Literal["tools", "memory", "nobody"]
FactPlan: TypeAlias = tuple[Source, tuple[PlanStep, ...]]
_Shown: TypeAlias = tuple[str, Source, tuple[PlanStep, ...]]

_MOST_FACTS = 5
_MOST_EXAMPLES = 7
_TOOL_CHARS = 160  # of a description; the call itself is asked with all of it

_PROMPT = """\
You plan how a task gets its answer. You do not solve it. Reply with JSON only.
"answer_from" is one of:
- "tools": what is true now or today, what stands on a page, and everything to compute, count, \
convert, sort or change. Then "calls" lists one call for each thing to find out, with the names, \
numbers and addresses of the task.
- "memory": common knowledge, words, translations, small talk.
- "nobody": private facts that neither a tool nor you can know.
Tools:
{tools}"""

# Tools without examples of their own: these teach the form, not the choice.
_FOREIGN = (
    PlanExample(
        "What is the weather in Oslo and in Rome?",
        (PlanStep("weather in Oslo", "weather"), PlanStep("weather in Rome", "weather")),
    ),
    PlanExample("How many kilograms are 5 pounds?", (PlanStep("5 pounds in kg", "program"),)),
    PlanExample(
        "How heavy are 8 of the boxes on http://shop.example/box?",
        (
            PlanStep("weight of one box on http://shop.example/box", "read_page"),
            PlanStep("8 times the weight of one box", "program"),
        ),
    ),
)

# "nobody" stands beside "tools", not among the tools: as the name of a tool it drew half of all calls.
_TOOLLESS: tuple[tuple[str, Source], ...] = (
    ("Who wrote Hamlet?", "memory"),
    ("How loud is it in my garden?", "nobody"),
    ("What is the plural of 'mouse'?", "memory"),
)

_REVISE = """\
That did not work: {tool} could not find out: {need}
{error}
Reply with one call of another tool that can, or with "nobody"."""
_MISSING = """\
Found so far:
{facts}
The answer has {figures}, and no result says so. Reply with one call of a tool that computes it from \
what was found, or finds it out."""


def plan_messages(specs: Sequence[ToolSpec], task: str) -> list[Message]:
    """Return the question for a plan. All but its last message depends on the tools alone."""
    lines = "\n".join(f"- {spec.name}: {_shortened(spec.description)}" for spec in specs)
    messages: list[Message] = [SystemMessage(_PROMPT.format(tools=lines))]
    for asked, source, steps in _shown(specs):
        messages += [UserMessage(asked), ModelTurn(text=_written(source, steps))]
    return [*messages, UserMessage(task)]


def revision_messages(
    specs: Sequence[ToolSpec], task: str, plan: Sequence[PlanStep], failed: PlanStep, error: str
) -> list[Message]:
    """Return the question for another way to one fact."""
    asked = _REVISE.format(tool=failed.tool, need=failed.need, error=error)
    return _after_plan(specs, task, plan, asked)


def missing_messages(
    specs: Sequence[ToolSpec], task: str, plan: Sequence[PlanStep], facts: str, figures: str
) -> list[Message]:
    """Return the question for a fact that the plan has left out."""
    return _after_plan(specs, task, plan, _MISSING.format(facts=facts, figures=figures))


def _after_plan(
    specs: Sequence[ToolSpec], task: str, plan: Sequence[PlanStep], asked: str
) -> list[Message]:
    """Return a question that goes on from the plan; the plan's own question begins it."""
    written = ModelTurn(text=_written("tools", plan))
    return [*plan_messages(specs, task), written, UserMessage(asked)]


def plan_schema(names: Sequence[str], *, tools_only: bool, most: int = _MOST_FACTS) -> JsonObject:
    """Return the schema of a plan of at most `most` facts; `tools_only` leaves no other source."""
    call: JsonObject = {
        "question": {"type": "string", "maxLength": 160},
        "tool": {"type": "string", "enum": list(names)},
    }
    calls: JsonObject = {
        "type": "array",
        "minItems": 1,
        "maxItems": most,
        "items": _object(call),
    }
    with_tools = _object({"answer_from": {"const": "tools"}, "calls": calls})
    if tools_only:
        return with_tools
    return {"anyOf": [with_tools, _object({"answer_from": {"enum": ["memory", "nobody"]}})]}


def read_plan(text: str, names: Sequence[str]) -> FactPlan | None:
    """Return the plan that a model wrote, `None` where it is none.

    >>> read_plan('{"answer_from": "tools", "calls": [{"question": "now", "tool": "clock"}]}', ["clock"])
    ('tools', (PlanStep(need='now', tool='clock'),))
    """
    try:
        plan = json.loads(text)
        source, calls = plan["answer_from"], plan.get("calls", [])
        steps = [PlanStep(str(call["question"]), str(call["tool"])) for call in calls]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    known = tuple(step for step in dict.fromkeys(steps) if step.tool in names)
    if source not in ("tools", "memory", "nobody") or (source == "tools" and not known):
        return None
    return source, known


def _shown(specs: Sequence[ToolSpec]) -> list[_Shown]:
    """Return what is shown: plans with the tools, and between them tasks that need none."""
    plans = _examples_of(specs)
    shown: list[_Shown] = []
    share = -(-len(plans) // len(_TOOLLESS))
    for n, (asked, source) in enumerate(_TOOLLESS):
        part = plans[n * share : (n + 1) * share]
        shown.extend((example.task, "tools", example.steps) for example in part)
        shown.append((asked, source, ()))
    return shown


def _examples_of(specs: Sequence[ToolSpec]) -> Sequence[PlanExample]:
    """Return examples whose tools are all there: the first of each tool, then the second."""
    names = {spec.name for spec in specs}
    in_turn = chain.from_iterable(zip_longest(*(spec.examples for spec in specs)))
    known = [e for e in in_turn if e is not None and names.issuperset(s.tool for s in e.steps)]
    return known[:_MOST_EXAMPLES] or _FOREIGN


def _shortened(text: str) -> str:
    return " ".join(text.split())[:_TOOL_CHARS]


def _written(source: Source, steps: Sequence[PlanStep]) -> str:
    plan: JsonObject = {"answer_from": source}
    if source == "tools":
        plan["calls"] = [{"question": step.need, "tool": step.tool} for step in steps]
    return json.dumps(plan)


def _object(properties: Mapping[str, Any]) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
