"""A trace as a tree for the terminal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from agentkit.trace._files import Record, outcome_of

_SHORT = 160  # characters of thinking, arguments and results
_STYLES = {
    "done": "green",
    "running": "cyan",
    "limit": "yellow",
    "deadline": "yellow",
    "loop": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "interrupted": "red",
}


def trace_tree(records: Sequence[Record], *, full: bool = False) -> RenderableType:
    """Return a trace as a tree: plan, steps, thinking, calls, tokens, retries, end.

    `full` leaves nothing shortened.
    """
    return _Reader(full=full).read(records)


class _Reader:
    """Builds the tree line by line."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._calls: dict[str, Tree] = {}
        self._steps: dict[int, Tree] = {}

    def read(self, records: Sequence[Record]) -> RenderableType:
        first, last = records[0], records[-1]
        self._tree = Tree(_head(first), guide_style="dim")
        for record in records:
            reader = getattr(self, f"_on_{record['event']}", None)
            if reader is not None:  # a newer agentkit may write what this one does not know
                reader(record)
        return Group(self._tree, _tail(first, last, records))

    def _short(self, text: str) -> str:
        if self._full:
            return text.strip()
        line = " ".join(text.split())
        return line if len(line) <= _SHORT else f"{line[:_SHORT]}… ({len(text)} characters)"

    def _branch(self, record: Record) -> Tree:
        return self._steps.get(record.get("step", 0), self._tree)

    def _on_plan(self, record: Record) -> None:
        revision = record.get("revision", 0)
        branch = self._tree.add(Text(f"plan, revision {revision}" if revision else "plan", "bold"))
        for number, step in enumerate(cast("list[Record]", record.get("steps", [])), 1):
            tool = f"  [{step['tool']}]" if step.get("tool") else ""
            branch.add(Text(f"{number}. {step.get('need', '')}{tool}"))

    def _on_step(self, record: Record) -> None:
        phase = record.get("phase", "act")
        label = Text.assemble((f"step {record['step']}", "bold"), (f"  {phase}", "dim"))
        self._steps[record["step"]] = self._tree.add(label)

    def _on_thinking(self, record: Record) -> None:
        self._branch(record).add(_said("thinking", self._short(record["text"]), record, "dim"))

    def _on_text(self, record: Record) -> None:
        self._branch(record).add(_said("text", self._short(record["text"]), record, ""))

    def _on_call(self, record: Record) -> None:
        arguments = self._short(call_arguments(record.get("arguments", {})))
        label = Text.assemble((record["name"], "cyan"), f"({arguments})")
        self._calls[record["call_id"]] = self._branch(record).add(label)

    def _on_result(self, record: Record) -> None:
        branch = self._calls.pop(record["call_id"], None)
        if branch is None:  # refused before it ran
            branch = self._branch(record).add(Text(record["name"], "cyan"))
        mark = ("✓ ", "green") if record["ok"] else ("✗ ", "red")
        seconds = (f"  {record.get('seconds', 0.0):.2f} s", "dim")
        branch.add(Text.assemble(mark, self._short(record["text"]), seconds))

    def _on_retry(self, record: Record) -> None:
        text = f"attempt {record['attempt']} in {record['delay_seconds']:.1f} s: {record['reason']}"
        self._branch(record).add(Text.assemble(("retry ", "yellow"), text))

    def _on_notice(self, record: Record) -> None:
        self._branch(record).add(Text.assemble(("note ", "yellow"), record["text"]))

    def _on_usage(self, record: Record) -> None:
        text = f"{tokens(record['usage'])}, {record.get('seconds', 0.0):.1f} s"
        self._branch(record).add(Text(text, "dim"))


def call_arguments(arguments: Mapping[str, Any]) -> str:
    """Return the arguments of a call as one writes them in Python.

    >>> call_arguments({"zone": "Asia/Tokyo", "days": [1, 2]})
    'zone="Asia/Tokyo", days=[1, 2]'
    """
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}"
        for name, value in arguments.items()
    )


def tokens(usage: Mapping[str, int]) -> str:
    """Return the tokens of a request in words.

    >>> tokens({"prompt_tokens": 1200, "completion_tokens": 40, "cached_tokens": 900})
    '1,200 tokens in (75% cached), 40 out'
    """
    prompt, cached = usage.get("prompt_tokens", 0), usage.get("cached_tokens", 0)
    thought = usage.get("reasoning_tokens", 0)
    share = f" ({100 * cached // prompt}% cached)" if prompt and cached else ""
    reasoning = f" ({thought:,} thinking)" if thought else ""
    return f"{prompt:,} tokens in{share}, {usage.get('completion_tokens', 0):,} out{reasoning}"


def _head(first: Record) -> Text:
    task = " ".join(str(first.get("task", "")).split())
    offered = cast("list[str]", first.get("tools", []))
    number = f"{len(offered)} tool{'' if len(offered) == 1 else 's'}"
    about = f"\n{first.get('model', '?')} · {first.get('at', '')} · {number}"
    return Text.assemble((task or "(no task)", "bold"), (about, "dim"))


def _said(what: str, text: str, record: Record, style: str) -> Text:
    thrown = " (thrown away by a retry)" if record.get("discarded") else ""
    return Text.assemble((f"{what}{thrown}: ", "dim"), (text, style))


def _tail(first: Record, last: Record, records: Sequence[Record]) -> Text:
    outcome = outcome_of(first, last)
    label = (outcome, f"bold {_STYLES.get(outcome, '')}")
    if last["event"] != "end":
        return Text.assemble(label, f"  no end; the last event is of {last.get('at', '?')}")
    calls = sum(record["event"] == "result" for record in records)
    figures = f"  {last['steps']} steps, {calls} calls, {tokens(last['usage'])}"
    text = Text.assemble(label, f"{figures}, {last['seconds']:.1f} s")
    if last.get("error"):
        text.append(f"\n{last['error']}", "red")
    if last.get("text"):
        text.append(f"\n\n{last['text']}")
    return text
