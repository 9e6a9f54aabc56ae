"""Which answer a request gets, and what it comes to on the wire."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, TypeAlias, cast

from agentkit.testing._prompt import PrefixCache, prompt_of, size_of, text_of
from agentkit.testing._qwen import END_THINK, THINK, Delta, Whole, read_stream, read_whole
from agentkit.testing._tokens import pieces
from agentkit.testing._wire import Spoken, bundle, usage_of
from agentkit.testing.answers import (
    Answer,
    AnyAnswer,
    Raw,
    arguments_text,
    fault_of,
    spoil,
    written,
)

Script: TypeAlias = AnyAnswer | Sequence[AnyAnswer] | Mapping[str, AnyAnswer | Sequence[AnyAnswer]]
"""One answer for every request, answers in turn, or answers by question and turn."""


class UnscriptedError(LookupError):
    """A request that no answer was written for."""


def load_dialogues() -> dict[str, dict[str, list[str]]]:
    """Read the built-in dialogues from disk: `thinking` and `no_thinking`, by question."""
    text = files("agentkit.testing").joinpath("dialogues.json").read_text(encoding="utf-8")
    return json.loads(text)


class Teller:
    """Finds the answer to a request."""

    def __init__(self, script: Script | None, dialogues: dict[str, dict[str, list[str]]]) -> None:
        self._script = script
        self._dialogues = dialogues
        self._given = 0

    def answer(self, body: Mapping[str, Any]) -> Answer | Raw:
        """Return the answer to a chat request.

        Raises:
            UnscriptedError: there is a script, and it does not know the request.
        """
        found = self._find(body)
        return Answer(text=found) if isinstance(found, str) else found

    def _find(self, body: Mapping[str, Any]) -> AnyAnswer:
        if self._script is None:
            return self._dialogue(body)
        if isinstance(self._script, str | Answer | Raw):
            return self._script
        if not isinstance(self._script, Mapping):
            self._given += 1
            if self._given > len(self._script):
                raise UnscriptedError(
                    f"The script has {len(self._script)} answers; this is request {self._given}."
                )
            return self._script[self._given - 1]
        question, turn = _question(body["messages"], self._script)
        if question is None:
            last = text_of(body["messages"][-1].get("content"))
            raise UnscriptedError(f"No answer is scripted for {last[:200]!r}.")
        found = self._script[question]
        turns = (found,) if isinstance(found, str | Answer | Raw) else found
        return turns[min(turn, len(turns) - 1)]

    def _dialogue(self, body: Mapping[str, Any]) -> AnyAnswer:
        tables = [self._dialogues["thinking"]]
        if not thinks(body):
            tables.insert(0, self._dialogues["no_thinking"])
        for table in tables:
            question, turn = _question(body["messages"], table)
            if question is None or (turn >= len(table[question]) and table is not tables[-1]):
                continue  # what follows a call is written down with its thinking only
            text = table[question][min(turn, len(table[question]) - 1)]
            return Raw(text if thinks(body) else text.rpartition(f"{END_THINK}\n\n")[2])
        return Answer(text="There is no scripted answer to this question.")


def _question(messages: Sequence[Mapping[str, Any]], known: Any) -> tuple[str | None, int]:
    """Return the last known question, and how many turns the model has taken since."""
    turns = 0
    for message in reversed(messages):
        if message["role"] == "assistant":
            turns += 1
        text = text_of(message.get("content")) if message["role"] == "user" else None
        if text is not None and text in known:
            return text, turns
    return None, 0


def thinks(body: Mapping[str, Any]) -> bool:
    """Tell whether a request leaves thinking on; only the JSON value false turns it off."""
    options = cast("dict[str, Any]", body.get("chat_template_kwargs") or {})
    if body.get("reasoning_effort") == "none":
        return False
    return options.get("enable_thinking") is not False


def tools_of(body: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the tools a request may call, None where there are none."""
    if body.get("tool_choice") == "none" or not body.get("tools"):
        return None
    return [tool["function"]["name"] for tool in body["tools"]]


def speak(
    answer: Answer | Raw,
    body: Mapping[str, Any],
    cache: PrefixCache,
    *,
    context_tokens: int,
    report: bool,
) -> Spoken:
    """Return what an answer comes to for a request."""
    tools, thinking, prompt = tools_of(body), thinks(body), prompt_of(body)
    room = context_tokens - size_of(prompt)
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or room
    if isinstance(answer, Answer):
        answer = spoil(answer) if thinking else replace(spoil(answer), thinking="")
        text = written(answer)
    else:
        text = answer.written
    cut = pieces(text)
    too_long = len(cut) > limit and answer.finish is None
    if too_long:
        answer = Raw("".join(cut[:limit]), finish="length", usage=answer.usage, fault=answer.fault)
        cut = cut[:limit]
    if isinstance(answer, Answer) and (tools is not None or not answer.calls):
        whole, deltas = _as_given(answer)
    else:
        chunks = _chunks(cut, answer.interval)
        raw = "".join(cut)
        whole = read_whole(raw, tools, thinking=thinking)
        deltas = read_stream(chunks, tools, thinking=thinking)
    finish = answer.finish or "stop"
    completion = len(cut) + (finish in {"stop", "tool_calls"})
    usage = usage_of(
        size_of(prompt),
        completion,
        _reasoning(cut, thinking=thinking, completion=completion),
        cache.known(prompt) if report else None,
    )
    return Spoken(whole, tuple(deltas), finish, _patched(usage, answer))


def _chunks(cut: list[str], interval: int) -> list[str]:
    return ["".join(cut[at : at + interval]) for at in range(0, len(cut), interval)]


def _as_given(answer: Answer) -> tuple[Whole, list[Delta]]:
    """Return an answer that reaches the client unread by any parser."""
    fault = fault_of(answer)
    thinking = f"\n{answer.thinking}\n" if answer.thinking else None
    text = f"\n\n{answer.text}" if thinking and answer.text else answer.text
    calls = tuple((name, arguments_text(arguments)) for name, arguments in answer.calls)
    deltas = [Delta("thinking", piece) for piece in pieces(thinking or "")]
    deltas += [Delta("text", piece) for piece in pieces(text)]
    if calls and not text and thinking:
        deltas.append(Delta("text", "\n\n"))
    for index, (name, arguments) in enumerate(calls):
        deltas.append(Delta("name", name, index))
        if fault is None or fault.kind != "lost_args":
            deltas += [Delta("arguments", piece, index) for piece in pieces(arguments)]
    whole = Whole(text.strip() if calls else text, thinking, calls)
    return whole, bundle(deltas, answer.interval)


def _reasoning(cut: list[str], *, thinking: bool, completion: int) -> int:
    if END_THINK in cut:
        return cut.index(END_THINK) + 1
    return completion if thinking or THINK in cut else 0


def _patched(usage: dict[str, Any], answer: Answer | Raw) -> dict[str, Any] | None:
    fault = fault_of(answer)
    if fault is not None and fault.kind == "no_usage":
        return None
    if fault is not None and fault.kind == "null_cached":
        usage["prompt_tokens_details"] = {"cached_tokens": None}
    return {**usage, **answer.usage}
