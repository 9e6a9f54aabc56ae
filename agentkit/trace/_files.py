"""The files of traces: where they are, how they are written, found and read."""

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from agentkit.errors import InvalidTaskError
from agentkit.messages import Stop

Record: TypeAlias = dict[str, Any]
"""One line of a trace."""

Outcome: TypeAlias = Stop | Literal["running", "interrupted"]
"""How a run ended; "interrupted" is one whose process went away before it could say so."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_TAIL = 65_536  # bytes read from the end of a file to find its last line


@dataclass(slots=True)
class _Open:
    path: str
    torn: bool = False


class TraceFiles:
    """Appends lines to the file of each run; used from one thread at a time.

    Files are opened for each batch: a thousand runs side by side would need more descriptors
    than a process has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, _Open] = {}
        self._made = False
        self._moment = (0, "")

    def append(self, run_id: str, started: float, text: str) -> None:
        """Append whole lines to the file of a run.

        Raises:
            OSError: the folder or the file cannot be written, or not to the end.
        """
        target = self._open.get(run_id)
        if target is None:
            target = self._open[run_id] = _Open(f"{self.folder}/{self._file_name(run_id, started)}")
        data = f"{text}\n".encode(errors="backslashreplace")
        file = self._descriptor(target.path)
        try:
            _write_all(file, b"\n" + data if target.torn else data)
            target.torn = False
        except OSError:
            target.torn = True  # the next line must not be glued to half a line
            raise
        finally:
            os.close(file)

    def forget(self, run_id: str) -> None:
        """Keep nothing of a run that has ended."""
        self._open.pop(run_id, None)

    def _file_name(self, run_id: str, started: float) -> str:
        second = int(started)
        if second != self._moment[0]:
            moment = datetime.fromtimestamp(second, UTC)
            self._moment = (second, f"{moment:%Y%m%d-%H%M%S}")
        return f"{self._moment[1]}-{_UNSAFE.sub('_', run_id)}.jsonl"

    def _descriptor(self, path: str) -> int:
        if not self._made:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._made = True
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except FileNotFoundError:  # someone tidied up: make the folder again for the next batch
            self._made = False
            raise


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """One run, as a list of runs shows it."""

    path: Path
    run_id: str
    started: str
    task: str
    model: str
    outcome: Outcome
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


def list_traces(folder: Path, *, most: int | None = None) -> tuple[TraceSummary, ...]:
    """Return the runs that left a trace in `folder`, the latest first, at most `most`."""
    paths = sorted(folder.glob("*.jsonl"), key=lambda path: path.name, reverse=True)
    return tuple(filter(None, (_summary(path) for path in paths[:most])))


def find_trace(folder: Path, name: str = "last") -> Path:
    """Return the file of a run: `name` is "last", a run id or its beginning, or a path.

    Raises:
        InvalidTaskError: there is no such trace, or more than one.
    """
    if name.endswith(".jsonl") and Path(name).is_file():
        return Path(name)
    paths = sorted(folder.glob("*.jsonl"), key=lambda path: path.name)
    if name == "last":
        if paths:
            return paths[-1]
        raise InvalidTaskError(f"No run has left a trace in {folder} yet.", hint="Run a task.")
    found = [path for path in paths if _run_id(path).startswith(name)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} traces begin with {name!r}" if found else f"No trace of run {name!r}"
    raise InvalidTaskError(f"{what} in {folder}.", hint="agentkit trace list shows what is there.")


def read_trace(path: Path) -> tuple[Record, ...]:
    """Return the lines of a trace; a line cut off by a crash is left out.

    Raises:
        InvalidTaskError: the file cannot be read, or no line of it belongs to a trace.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidTaskError(f"Trace {path} cannot be read: {error.strerror}.") from error
    records = tuple(filter(None, (_record(line) for line in text.splitlines())))
    if not records:
        raise InvalidTaskError(f"{path} holds no event of a run.")
    return records


def outcome_of(first: Record, last: Record) -> Outcome:
    """Return how the run of a trace ended, from its first and its last line."""
    if last.get("event") == "end":
        return cast("Stop", last.get("stop", "failed"))
    return "running" if _alive(first.get("pid")) else "interrupted"


def _alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's process
        return True
    return True


def _run_id(path: Path) -> str:
    return path.stem.split("-", 2)[-1]


def _record(line: str) -> Record | None:
    try:
        value: object = json.loads(line)
    except ValueError:
        return None
    is_event = isinstance(value, dict) and "event" in value
    return cast("Record", value) if is_event else None


def _summary(path: Path) -> TraceSummary | None:
    try:
        with path.open("rb") as file:
            first = _record(file.readline().decode(errors="replace")) or {}
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read().decode(errors="replace").strip().rpartition("\n")[2]
    except OSError:  # gone, or not ours to read
        return None
    last = _record(tail) or {}
    ended: Record = last if last.get("event") == "end" else {}
    used = cast("Record", ended.get("usage") or {})
    return TraceSummary(
        path=path,
        run_id=str(first.get("run_id", _run_id(path))),
        started=str(first.get("at", "")),
        task=str(first.get("task", "")),
        model=str(first.get("model", "")),
        outcome=outcome_of(first, last),
        steps=ended.get("steps", 0),
        tokens=used.get("prompt_tokens", 0) + used.get("completion_tokens", 0),
        seconds=ended.get("seconds", 0.0),
    )
