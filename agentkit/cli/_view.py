"""What a person sees of a run on stderr: bare lines where it is no terminal."""

from typing import TYPE_CHECKING, Protocol, Self

from agentkit.cli._terminal import is_plain, note
from agentkit.events import (
    ApprovalGiven,
    CallFinished,
    CallProgressed,
    CallStarted,
    Event,
    HandedOver,
    NestedEvent,
    NoticeGiven,
    PlanMade,
    RetryScheduled,
    RunTainted,
    StepStarted,
    ThinkingDelta,
)
from agentkit.trace.words import call_arguments, printable, shortened

if TYPE_CHECKING:
    from agentkit.engine import Progress

LINE = 200
"""Characters of arguments and results in a line."""


class View(Protocol):
    """Shows a run, and what comes before it."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        ...

    def progress(self, progress: "Progress") -> None:
        """Show how far the engine is."""
        ...

    def event(self, event: Event) -> None:
        """Show an event."""
        ...

    def note(self, text: str) -> None:
        """Show a line."""
        ...

    def stop(self) -> None:
        """Take away what moves, so that an answer can be printed."""
        ...

    def summary(self, text: str) -> None:
        """Show what a run took."""
        ...


class QuietView:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def progress(self, progress: "Progress") -> None:
        """Show nothing."""

    def event(self, event: Event) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Have nothing to take away."""

    def summary(self, text: str) -> None:
        """Show nothing."""


class PlainView(QuietView):
    """Shows a line for each thing that happens, without colour or movement."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._thinking: list[str] = []
        self._phase = ("", "")
        self._tenth = -1

    def __exit__(self, *_: object) -> None:
        self.stop()

    def progress(self, progress: "Progress") -> None:
        """Write a line for each phase and stage, and for each tenth of a download."""
        done, total = progress.done, progress.total
        tenth = 10 * done // total if done is not None and total else -1
        phase = (progress.phase, progress.stage)
        if (phase, tenth) == (self._phase, self._tenth):
            return
        if tenth < 0 and phase == self._phase:
            return
        self._phase, self._tenth = phase, tenth
        share = f" {megabytes(done or 0)} of {megabytes(total)}" if total and tenth >= 0 else ""
        note(f"{progress.phase}: {progress.detail}{share}")

    def event(self, event: Event) -> None:
        """Write the line of an event; pieces of an answer have none."""
        if isinstance(event, ThinkingDelta):
            self._thinking.append(event.text)
            return
        self._end_thinking()
        line = line_of(event, LINE * 50 if self._verbose else LINE)
        if line:
            note(line)

    def note(self, text: str) -> None:
        """Write a line."""
        note(text)

    def stop(self) -> None:
        """Write what is left of the thinking."""
        self._end_thinking()

    def summary(self, text: str) -> None:
        """Write a line."""
        note(text)

    def _end_thinking(self) -> None:
        if self._thinking:
            thought = "".join(self._thinking)
            self._thinking.clear()
            note(f"thinking: {thought.strip() if self._verbose else shortened(thought, LINE)}")


def line_of(event: Event, most: int) -> str | None:  # noqa: PLR0911 - one line for each kind
    """Return the line of an event, if it is worth one."""
    match event:
        case PlanMade():
            steps = "; ".join(f"{n}. {step.need}" for n, step in enumerate(event.steps, 1))
            return f"plan{f' (revision {event.revision})' if event.revision else ''}: {steps}"
        case StepStarted():
            return f"step {event.step}: {event.phase}"
        case CallStarted():
            return f"{_level(event)}call: {event.name}({shortened(call_arguments(event.arguments), most)})"
        case CallProgressed():
            return f"progress: {event.name} {share_of(event)}"
        case CallFinished():
            mark = "ok" if event.ok else "error"
            return (
                f"{_level(event)}result: {event.name} {mark} {event.seconds:.1f} s: "
                f"{shortened(event.text, most)}"
            )
        case RetryScheduled():
            return f"retry: attempt {event.attempt} in {event.delay_seconds:.1f} s: {event.reason}"
        case NoticeGiven():
            return f"note: {event.text}"
        case _:
            return _line_of_rare(event, most)


def _level(event: CallStarted | CallFinished) -> str:
    return "  " if event.within else ""  # made by another tool, not by the model


def _line_of_rare(event: Event, most: int) -> str | None:
    match event:
        case ApprovalGiven():
            return f"{'approved' if event.approved else 'refused'}: {event.name}"
        case RunTainted():
            return f"untrusted: the run has read {event.source}"
        case HandedOver():
            return f"handed over: {event.before} to {event.after}"
        case NestedEvent():
            inner = line_of(event.event, most)
            return None if inner is None else f"{event.agent} | {inner}"
        case _:
            return None


def share_of(event: CallProgressed) -> str:
    """Return how far a call is, in words.

    >>> share_of(CallProgressed(step=1, call_id="a", name="t", done=2, total=8, text="reading"))
    '2 of 8: reading'
    """
    figures = f"{event.done:g}" if event.total is None else f"{event.done:g} of {event.total:g}"
    return f"{figures}: {printable(event.text)}" if event.text else figures


def megabytes(count: float) -> str:
    """Return bytes in words.

    >>> megabytes(1_117_320_576), megabytes(12_000)
    ('1.12 GB', '0.0 MB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def view_for(*, quiet: bool, verbose: bool) -> View:
    """Return the view that fits stderr."""
    if quiet:
        return QuietView()
    if is_plain():
        return PlainView(verbose=verbose)
    from agentkit.cli._live import LiveView

    return LiveView(verbose=verbose)
