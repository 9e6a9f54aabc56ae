"""A trace as a tree for the terminal."""

from collections.abc import Sequence
from typing import cast

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from agentkit.trace._files import Record, outcome_of
from agentkit.trace.words import call_arguments, plural, printable, shortened, tokens

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
        return printable(text.strip()) if self._full else shortened(text, _SHORT)

    def _branch(self, record: Record) -> Tree:
        return self._steps.get(record.get("step", 0), self._tree)

    def _above(self, record: Record) -> Tree:
        """Return where a call belongs: below the call that has made it, or its step."""
        return self._calls.get(record.get("within", "")) or self._branch(record)

    def _on_plan(self, record: Record) -> None:
        revision = record.get("revision", 0)
        branch = self._tree.add(Text(f"plan, revision {revision}" if revision else "plan", "bold"))
        for number, step in enumerate(cast("list[Record]", record.get("steps", [])), 1):
            tool = f"  [{step['tool']}]" if step.get("tool") else ""
            branch.add(Text(printable(f"{number}. {step.get('need', '')}{tool}")))

    def _on_step(self, record: Record) -> None:
        phase = record.get("phase", "act")
        label = Text.assemble((f"step {record['step']}", "bold"), (f"  {phase}", "dim"))
        self._steps[record["step"]] = self._tree.add(label)

    def _on_thinking(self, record: Record) -> None:
        self._branch(record).add(_said("thinking", self._short(record["text"]), record, "dim"))

    def _on_text(self, record: Record) -> None:
        self._branch(record).add(_said("text", self._short(record["text"]), record, ""))

    def _on_replaced(self, record: Record) -> None:
        if record["text"]:
            self._on_text(record)

    def _on_call(self, record: Record) -> None:
        arguments = self._short(call_arguments(record.get("arguments", {})))
        label = Text.assemble((record["name"], "cyan"), f"({arguments})")
        self._calls[record["call_id"]] = self._above(record).add(label)

    def _on_result(self, record: Record) -> None:
        branch = self._calls.pop(record["call_id"], None)
        if branch is None:  # refused before it ran
            branch = self._above(record).add(Text(record["name"], "cyan"))
        mark = ("✓ ", "green") if record["ok"] else ("✗ ", "red")
        seconds = (f"  {record.get('seconds', 0.0):.2f} s", "dim")
        branch.add(Text.assemble(mark, self._short(record["text"]), seconds))

    def _on_retry(self, record: Record) -> None:
        text = f"attempt {record['attempt']} in {record['delay_seconds']:.1f} s: {printable(record['reason'])}"
        self._branch(record).add(Text.assemble(("retry ", "yellow"), text))

    def _on_notice(self, record: Record) -> None:
        self._branch(record).add(Text.assemble(("note ", "yellow"), printable(record["text"])))

    def _on_approval(self, record: Record) -> None:
        text = f"{record['name']}({self._short(call_arguments(record.get('arguments', {})))})"
        self._branch(record).add(Text.assemble(("approval wanted ", "yellow"), text))

    def _on_decision(self, record: Record) -> None:
        said = ("approved ", "green") if record["approved"] else ("refused ", "red")
        why = f": {printable(record['reason'])}" if record.get("reason") else ""
        self._branch(record).add(Text.assemble(said, f"{record['name']}{why}"))

    def _on_tainted(self, record: Record) -> None:
        text = f"the run has read {printable(record['source'])}"
        self._branch(record).add(Text.assemble(("untrusted ", "yellow"), text))

    def _on_handover(self, record: Record) -> None:
        text = printable(f"{record['before']} to {record['after']}")
        self._branch(record).add(Text.assemble(("handed over ", "magenta"), text))

    def _on_nested(self, record: Record) -> None:
        branch = self._calls.get(record["call_id"]) or self._branch(record)
        text = printable(f"{record['agent']}, run {record['run_id'][:8]}")
        branch.add(Text.assemble(("agent ", "magenta"), text))

    def _on_unwritten(self, record: Record) -> None:
        text = printable(f"{record.get('of', 'event')}: {record.get('problem', '')}")
        self._branch(record).add(Text.assemble(("not written ", "yellow"), text))

    def _on_usage(self, record: Record) -> None:
        text = f"{tokens(record['usage'])}, {record.get('seconds', 0.0):.1f} s"
        self._branch(record).add(Text(text, "dim"))


def _head(first: Record) -> Text:
    task = shortened(str(first.get("task", "")), _SHORT)
    offered = cast("list[str]", first.get("tools", []))
    about = f"\n{first.get('model', '?')} · {first.get('at', '')} · {plural(len(offered), 'tool')}"
    return Text.assemble((task or "(no task)", "bold"), (about, "dim"))


def _said(what: str, text: str, record: Record, style: str) -> Text:
    thrown = " (thrown away)" if record.get("discarded") else ""
    return Text.assemble((f"{what}{thrown}: ", "dim"), (text, style))


def _tail(first: Record, last: Record, records: Sequence[Record]) -> Text:
    outcome = outcome_of(first, last)
    label = (outcome, f"bold {_STYLES.get(outcome, '')}")
    if last["event"] != "end":
        return Text.assemble(label, f"  no end; the last event is of {last.get('at', '?')}")
    calls = sum(record["event"] == "result" for record in records)
    figures = f"  {plural(last['steps'], 'step')}, {plural(calls, 'call')}, {tokens(last['usage'])}"
    text = Text.assemble(label, f"{figures}, {last['seconds']:.1f} s")
    if last.get("error"):
        text.append(f"\n{printable(last['error'])}", "red")
    if last.get("text"):
        text.append(f"\n\n{printable(last['text'])}")
    return text
