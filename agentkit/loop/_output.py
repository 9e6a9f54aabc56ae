"""An answer that has to be of a type: held to its schema, checked, and mended by the model."""

import json
import re

from agentkit.loop._plan import ask, step_deadline
from agentkit.loop._state import Output, RunState
from agentkit.messages import ModelTurn, SystemMessage

_FENCED = re.compile(r"\A```\w*\n(.*)\n```\Z", re.DOTALL)
_ASK = "Give the answer as one JSON object of this schema, and nothing else:\n{schema}"
_MEND = "Your JSON does not fit: {problem}\nIt was: {output}\n" + _ASK
_SHOWN = 2_000


async def conform(state: RunState, output: Output) -> None:
    """Make the answer of a run one of its type: as it is, or by asking for it under the schema.

    Raises:
        InvalidOutputError: the model has been told often enough what is wrong with it.
    """
    problem, text = "", state.answer
    if text.strip() and not (problem := _take(state, output, text)):
        return
    schema = json.dumps(dict(output.schema), ensure_ascii=False, separators=(",", ":"))
    question = _ASK.format(schema=schema)
    while True:
        with step_deadline(state):
            turn = await ask(
                state,
                "answer",
                aside=SystemMessage(question),
                choice="none",
                schema=output.schema,
                thinking=False,
            )
        if not (problem := _take(state, output, turn.text)):
            state.transcript.append(ModelTurn(text=turn.text))
            return
        state.correct(f"The answer does not fit its type: {problem}", turn.text)
        question = _MEND.format(problem=problem, output=turn.text[:_SHOWN], schema=schema)


def _take(state: RunState, output: Output, text: str) -> str:
    """Keep the value that a text stands for; return what is wrong with it, "" if nothing."""
    found = _FENCED.match(text.strip())
    plain = found[1] if found else text
    try:
        state.output_value = output.parse(plain)
    except (ValueError, RecursionError) as error:
        return str(error)
    state.answer = plain.strip()
    return ""
