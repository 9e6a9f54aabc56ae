"""The observer that leaves one JSONL file for each run."""

import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from agentkit.events import (
    Event,
    NestedEvent,
    RetryScheduled,
    RunEnded,
    RunStarted,
    TextDelta,
    TextReplaced,
    ThinkingDelta,
)
from agentkit.trace._files import TraceFiles
from agentkit.trace._record import Entry, Joined, LineMaker
from agentkit.trace._redact import Redactor, secrets_in

_LOG = logging.getLogger("agentkit.trace")
_LINGER_SECONDS = 0.05  # lines of many steps and many runs share one trip to a thread
_WRITE_SECONDS = 5.0  # a disk that takes longer is treated as one that hangs
_MOST_WAITING = 200_000  # lines; beyond it the oldest are dropped, or a hung disk eats the memory


@dataclass(slots=True)
class _Pieces:
    """The deltas of one step of one run."""

    step: int
    thinking: list[str] = field(default_factory=list[str])
    thinking_at: float = 0.0
    text: list[str] = field(default_factory=list[str])
    text_at: float = 0.0


def _discards(event: Event) -> bool:
    """Tell whether what has been streamed of the step's text is thrown away."""
    return isinstance(event, TextReplaced) or (
        isinstance(event, RetryScheduled) and event.discard_text
    )


class TraceWriter:
    """Writes the events of every run to `<folder>/<time>-<run id>.jsonl`.

    `observe` only takes note; one task brings the notes to disk, many lines at a time, in a
    thread. A folder that cannot be written, or a disk that is full, gives one warning.
    """

    def __init__(self, folder: Path, redact: Redactor) -> None:
        self._folder = folder
        self._files = TraceFiles(folder)
        self._lines = LineMaker(redact)
        self._pieces: dict[str, _Pieces] = {}
        self._waiting: deque[tuple[str, float, Entry]] = deque(maxlen=_MOST_WAITING)
        self._wake = anyio.Event()
        self._awake = False
        self._writing = anyio.Lock()
        self._warned = False

    def observe(self, run_id: str, event: Event) -> None:
        """Take note of an event; pieces of thinking and text wait for the rest of their step."""
        if isinstance(event, (TextDelta, ThinkingDelta)):
            self._keep(run_id, event)
            return
        if isinstance(event, NestedEvent) and not isinstance(event.event, RunStarted):
            return  # that run has a trace of its own
        if run_id in self._pieces:
            self._join(run_id, discarded=_discards(event))
        self._waiting.append((run_id, time.time(), event))
        if not self._awake:
            self._awake = True
            self._wake.set()

    async def flush(self) -> None:
        """Bring everything noted so far to disk; waits for a slow disk, but not for ever."""
        with anyio.move_on_after(_WRITE_SECONDS, shield=True) as scope:
            async with self._writing:
                if self._waiting:
                    # `abandon`: a thread stuck in a dead network disk must not hold the program.
                    await run_sync(self._write, self._take(), abandon_on_cancel=True)
        if scope.cancelled_caught:
            self._warn(f"writing to {self._folder} takes longer than {_WRITE_SECONDS:g} s")

    async def serve(self) -> None:
        """Bring notes to disk until cancelled."""
        while True:
            await self._wake.wait()
            await anyio.sleep(_LINGER_SECONDS)
            self._wake = anyio.Event()
            self._awake = False
            await self.flush()

    async def aclose(self) -> None:
        """Write what is left, pieces of unfinished steps too."""
        for run_id in tuple(self._pieces):
            self._join(run_id, discarded=False)
        await self.flush()

    def _keep(self, run_id: str, event: TextDelta | ThinkingDelta) -> None:
        pieces = self._pieces.get(run_id)
        if pieces is None or pieces.step != event.step:
            if pieces is not None:
                self._join(run_id, discarded=False)
            pieces = self._pieces[run_id] = _Pieces(event.step)
        if isinstance(event, TextDelta):
            pieces.text_at = pieces.text_at or time.time()
            pieces.text.append(event.text)
        else:
            pieces.thinking_at = pieces.thinking_at or time.time()
            pieces.thinking.append(event.text)

    def _join(self, run_id: str, *, discarded: bool) -> None:
        pieces = self._pieces.pop(run_id)
        if pieces.thinking:
            joined = Joined("thinking", pieces.step, "".join(pieces.thinking), discarded)
            self._waiting.append((run_id, pieces.thinking_at, joined))
        if pieces.text:
            joined = Joined("text", pieces.step, "".join(pieces.text), discarded)
            self._waiting.append((run_id, pieces.text_at, joined))

    def _take(self) -> list[tuple[str, float, Entry]]:
        if len(self._waiting) == _MOST_WAITING:
            self._warn("the disk does not keep up, and lines were dropped")
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def _write(self, entries: list[tuple[str, float, Entry]]) -> None:
        """Format and write; runs in a thread."""
        runs: dict[str, list[str]] = {}
        began: dict[str, float] = {}
        for run_id, at, entry in entries:
            lines = runs.get(run_id)
            if lines is None:
                lines = runs[run_id] = []
                began[run_id] = at
            lines.append(self._lines.line(at, entry))
        for run_id, lines in runs.items():
            try:
                self._files.append(run_id, began[run_id], "\n".join(lines))
            except OSError as error:
                where = error.filename or self._folder
                self._warn(f"{where} cannot be written ({error.strerror or error})")
        for run_id, _, entry in entries:
            if isinstance(entry, RunEnded):
                self._files.forget(run_id)

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning("Traces are incomplete: %s. Runs go on without them.", reason)


@asynccontextmanager
async def open_trace(folder: Path, *, secrets: Iterable[str] = ()) -> AsyncGenerator[TraceWriter]:
    """Open a writer of traces under `folder`; everything is on disk when the block ends.

    Nothing is created before the first event. Values in `secrets`, and those of variables whose
    name says that they are secret, never reach the disk.
    """
    writer = TraceWriter(folder, Redactor((*secrets, *secrets_in())))
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.serve)
        try:
            yield writer
        except BaseException as error:
            failure = error
        await writer.aclose()
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure  # as itself: the caller need not know that there is a group in here
