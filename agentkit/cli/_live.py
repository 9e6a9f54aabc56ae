"""What a person sees of a run on a terminal: lines that stay, and below them what is going on."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from agentkit.cli._view import line_of, megabytes, share_of
from agentkit.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    Event,
    NoticeGiven,
    PlanMade,
    RetryScheduled,
    RunEnded,
    StepStarted,
    TextDelta,
    TextReplaced,
    ThinkingDelta,
    UsageReported,
)
from agentkit.trace.words import call_arguments, printable, shortened

if TYPE_CHECKING:
    from agentkit.engine import Progress

_LINE = 160
_PREVIEW_LINES = 6  # of an answer that is being written
_PHASES = {
    "plan": "planning",
    "act": "asking",
    "answer": "answering",
    "check": "checking",
    "summary": "summing up",
}


@dataclass(slots=True)
class _Step:
    """The step that is going on."""

    number: int = 0
    phase: str = "act"
    began: float = field(default_factory=time.monotonic)
    thinking: list[str] = field(default_factory=list[str])
    thinking_began: float = 0.0
    text: list[str] = field(default_factory=list[str])
    pieces: int = 0


class LiveView:
    """Shows steps as they happen; everything that moves is gone when the run is over."""

    def __init__(self, *, verbose: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._verbose = verbose
        self._step: _Step | None = None
        self._calls: dict[str, tuple[CallStarted, float]] = {}
        self._progress: dict[str, str] = {}
        self._download: _Download | None = None
        self._waiting_since: float | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=self._console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            get_renderable=self._moving,
        )

    def __enter__(self) -> Self:
        self._waiting_since = time.monotonic()
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take away what moves, so that an answer can be printed."""
        self._step = None
        self._calls.clear()
        self._download = None
        self._waiting_since = None
        self._live.stop()

    def summary(self, text: str) -> None:
        """Show what a run took."""
        self._print(Text(printable(text), "dim"))

    def progress(self, progress: "Progress") -> None:
        """Show how far the engine is, with bytes and the time left."""
        last = self._download
        if last is None or last.phase != progress.phase:
            if last is not None:
                self._print(Text.assemble(("✓ ", "green"), (last.summary(), "dim")))
            self._download = last = _Download(progress.phase)
        last.advance(progress)
        if progress.phase == "ready":
            self._print(Text.assemble(("✓ ", "green"), (last.summary(), "dim")))
            self._download = None

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._print(Text(printable(text), "yellow"))

    def event(self, event: Event) -> None:
        """Show an event."""
        self._waiting_since = None
        match event:
            case ThinkingDelta() | TextDelta():
                self._piece(event)
            case StepStarted():
                self._end_step()
                self._step = _Step(event.step, event.phase)
            case CallStarted():
                self._end_thinking()
                self._calls[event.call_id] = (event, time.monotonic())
            case CallProgressed():
                self._progress[event.call_id] = share_of(event)
            case CallFinished():
                self._progress.pop(event.call_id, None)
                self._print(self._finished(event))
            case UsageReported():
                self._end_thinking()
            case RunEnded():
                self._end_thinking()
                self._step = None
            case _:
                self._remark(event)

    def _remark(self, event: Event) -> None:
        if isinstance(event, PlanMade):
            self._print(_plan(event))
        elif isinstance(event, RetryScheduled):
            wait = f"↻ attempt {event.attempt} in {event.delay_seconds:.1f} s: "
            self._print(Text(wait + printable(event.reason), "yellow"))
            if self._step is not None:
                self._step = _Step(self._step.number, self._step.phase)
        elif isinstance(event, TextReplaced) and self._step is not None:
            self._step.text = [event.text]
        elif isinstance(event, NoticeGiven):
            self._print(Text(f"• {printable(event.text)}", "yellow"))
        elif line := line_of(event, _LINE):
            self._print(Text(printable(line), "dim"))

    def _piece(self, event: ThinkingDelta | TextDelta) -> None:
        step = self._step = self._step or _Step(event.step)
        step.pieces += 1
        if isinstance(event, ThinkingDelta):
            step.thinking_began = step.thinking_began or time.monotonic()
            step.thinking.append(event.text)
        else:
            self._end_thinking()
            step.text.append(event.text)

    def _end_thinking(self) -> None:
        step = self._step
        if step is None or not step.thinking:
            return
        seconds = time.monotonic() - step.thinking_began
        line = Text(f"◆ thought for {seconds:.1f} s" if seconds >= 0.05 else "◆ thought", "magenta")
        if self._verbose:
            line.append(f"\n{printable(''.join(step.thinking).strip())}", "dim")
        step.thinking.clear()
        self._print(line)

    def _end_step(self) -> None:
        """Keep what the model said beside its calls."""
        said = "".join(self._step.text).strip() if self._step is not None else ""
        if said:
            line = Text(shortened(said, 1_000), "dim")
            line.truncate(self._console.width, overflow="ellipsis")
            self._print(line)

    def _finished(self, event: CallFinished) -> RenderableType:
        """Return the lines of a call: one, or two where the result does not fit beside it."""
        started = self._calls.pop(event.call_id, None)
        arguments = call_arguments(started[0].arguments) if started is not None else "…"
        most = 10_000 if self._verbose else 1_000
        called = Text.assemble(
            ("  ▸ " if event.within else "▸ ", "cyan"),
            (event.name, "bold cyan"),
            f"({shortened(arguments, most)})",
        )
        seconds = (f" {event.seconds:.1f} s ", "dim")
        mark = ("✓ ", "green") if event.ok else ("✗ ", "red")
        result = Text(shortened(event.text, most), "" if event.ok else "red")
        if called.cell_len + result.cell_len + 12 <= self._console.width:
            return Text.assemble(called, seconds, mark, result)
        if not self._verbose:
            called.truncate(max(20, self._console.width - 12), overflow="ellipsis")
            result.truncate(max(20, self._console.width - 4), overflow="ellipsis")
        return Group(Text.assemble(called, seconds, mark), Padding(result, (0, 0, 0, 4)))

    def _print(self, line: RenderableType) -> None:
        self._console.print(line)

    def _moving(self) -> RenderableType:
        if self._download is not None:
            return self._download.bar(self._spinner)
        now = time.monotonic()
        if self._waiting_since is not None:
            seconds = f"{now - self._waiting_since:.0f} s"
            return self._spinning(Text.assemble("getting ready… ", (seconds, "dim")))
        lines: list[RenderableType] = [
            self._spinning(
                Text.assemble(
                    (call.name, "bold cyan"),
                    f"({shortened(call_arguments(call.arguments), self._console.width // 2)})",
                    (f"  {now - began:.1f} s", "dim"),
                    (f"  {self._progress.get(call.call_id, '')}", "cyan"),
                )
            )
            for call, began in self._calls.values()
        ]
        if self._step is not None and not lines:
            lines.append(self._spinning(self._asking(self._step, now)))
            lines.extend(self._preview(self._step))
        return Group(*lines)

    def _spinning(self, text: Text) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        text.no_wrap, text.overflow = True, "ellipsis"
        row.add_row(self._spinner, text)
        return row

    def _asking(self, step: _Step, now: float) -> Text:
        seconds = now - step.began
        if step.thinking:
            tail = " ".join("".join(step.thinking[-60:]).split())
            room = max(10, self._console.width - 40)
            doing = Text.assemble(
                ("thinking… ", "magenta"),
                (f"{seconds:.1f} s  ", "dim"),
                (printable(tail)[-room:], "dim"),
            )
        else:
            name = _PHASES.get(step.phase, step.phase)
            doing = Text.assemble(f"{name}… ", (f"step {step.number}, {seconds:.1f} s", "dim"))
        if step.pieces > 8 and not step.thinking:
            doing.append(f", {step.pieces / max(seconds, 0.1):.0f} pieces/s", "dim")
        return doing

    def _preview(self, step: _Step) -> list[RenderableType]:
        if not step.text:
            return []
        lines = printable("".join(step.text)).splitlines()[-_PREVIEW_LINES:]
        return [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines]


class _Download:
    """One phase of getting an engine."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self._began = time.monotonic()
        self._first: int | None = None
        self._done: int | None = None
        self._total: int | None = None
        self._detail = ""

    def advance(self, progress: "Progress") -> None:
        """Take note of how far it is."""
        self._done, self._total = progress.done, progress.total
        if self._first is None:
            self._first = progress.done
        self._detail = progress.detail or self._detail

    def summary(self) -> str:
        """Return the line that stays."""
        size = f" {megabytes(self._done)}" if self._done else ""
        detail = self._detail if self.phase not in self._detail else ""
        seconds = time.monotonic() - self._began
        told = detail.endswith(" s")  # a detail that counts the seconds itself
        took = f"  {seconds:.1f} s" if seconds >= 0.05 and not told else ""
        return printable(f"{self.phase}{': ' + detail if detail else ''}{size}{took}")

    def bar(self, spinner: Spinner) -> RenderableType:
        """Return the line that moves."""
        row = Table.grid(padding=(0, 1))
        seconds = time.monotonic() - self._began
        label = Text(printable(f"{self.phase} {self._detail}"), no_wrap=True, overflow="ellipsis")
        if self._done is None or not self._total:
            row.add_row(spinner, label, Text(f"{seconds:.0f} s", "dim"))
            return row
        rate = (self._done - (self._first or 0)) / max(seconds, 0.1)
        left = (self._total - self._done) / rate if rate > 0 else 0.0
        figures = f"{megabytes(self._done)} of {megabytes(self._total)}"
        figures += f"  {megabytes(rate)}/s  {left // 60:.0f}:{left % 60:02.0f} left" if rate else ""
        bar = ProgressBar(total=self._total, completed=self._done, width=24)
        row.add_row(spinner, label, bar, Text(figures, "dim", no_wrap=True))
        return row


def _plan(event: PlanMade) -> RenderableType:
    title = f"◆ plan, revision {event.revision}" if event.revision else "◆ plan"
    lines = [Text(title, "bold magenta")]
    for number, step in enumerate(event.steps, 1):
        tool = (f"  {printable(step.tool)}", "cyan") if step.tool else ""
        lines.append(Text.assemble(f"  {number}. {printable(step.need)}", tool))
    return Group(*lines)
