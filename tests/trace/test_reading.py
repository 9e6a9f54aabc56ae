import io
import json
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from agentkit.errors import InvalidTaskError
from agentkit.events import Event
from agentkit.trace import find_trace, list_traces, open_trace, read_trace
from agentkit.trace.tree import trace_tree


def _write(folder: Path, events: tuple[Event, ...]) -> Path:
    async def write() -> None:
        async with open_trace(folder) as trace:
            for event in events:
                trace.observe("r1", event)

    anyio.run(write)
    (path,) = folder.iterdir()
    return path


def _shown(path: Path, *, full: bool = False) -> str:
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(trace_tree(read_trace(path), full=full))
    return console.export_text()


def _of_a_dead_process(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0]) | {"pid": 2**22 + 1}  # above the largest process id of Linux
    path.write_text("\n".join([json.dumps(first), *lines[1:]]), encoding="utf-8")


def test_the_tree_shows_all_that_happened(folder: Path, whole_run: tuple[Event, ...]) -> None:
    shown = _shown(_write(folder, whole_run))
    for piece in (
        "what time is it?",
        "1. the time  [clock]",
        "step 1  act",
        "thinking (thrown away): Let me look.",
        "retry attempt 2 in 0.5 s: 503 from the server",
        "1,200 tokens in (75% cached), 40 out, 1.5 s",
        'clock(zone="東京")',
        "✓ 14:05  0.25 s",
        "✗ No such tool",
        "note a call was mended",
        "│   │   ├── zones()\n│   │   │   └── ✓ 597",  # made by the clock itself
        "done  2 steps, 3 calls",
        "It is 14:05.",
    ):
        assert piece in shown


def test_a_run_without_an_end_is_interrupted_or_running(
    folder: Path, whole_run: tuple[Event, ...]
) -> None:
    path = _write(folder, whole_run[:5])
    assert [run.outcome for run in list_traces(folder)] == ["running"]
    _of_a_dead_process(path)
    assert [run.outcome for run in list_traces(folder)] == ["interrupted"]
    assert "interrupted  no end" in _shown(path)


def test_a_line_cut_off_by_a_crash_is_left_out(folder: Path, whole_run: tuple[Event, ...]) -> None:
    path = _write(folder, whole_run)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-30], encoding="utf-8")
    assert read_trace(path)[-1]["event"] == "text"
    _of_a_dead_process(path)
    assert list_traces(folder)[0].outcome == "interrupted"


def test_thinking_is_shortened_unless_all_is_asked_for(
    folder: Path, whole_run: tuple[Event, ...]
) -> None:
    path = _write(folder, whole_run)
    path.write_text(
        path.read_text(encoding="utf-8").replace("Look again.", "word " * 200), encoding="utf-8"
    )
    assert "(1000 characters)" in _shown(path)
    assert _shown(path, full=True).count("word") == 200


def test_a_trace_is_found_as_the_last_by_id_by_its_beginning_and_by_path(
    folder: Path, whole_run: tuple[Event, ...]
) -> None:
    path = _write(folder, whole_run)
    assert {find_trace(folder, name) for name in ("last", "r1", "r", str(path))} == {path}


@pytest.mark.parametrize("name", ["nothing", "x.jsonl"])
def test_a_trace_that_is_not_there_is_named(folder: Path, name: str) -> None:
    with pytest.raises(InvalidTaskError, match=f"No trace of run '{name}'"):
        find_trace(folder, name)


def test_there_is_no_last_trace_before_the_first_run(folder: Path) -> None:
    with pytest.raises(InvalidTaskError, match="No run has left a trace"):
        find_trace(folder, "last")


def test_a_beginning_that_fits_two_runs_is_refused(tmp_path: Path) -> None:
    for name in ("ab1", "ab2"):
        (tmp_path / f"20260101-000000-{name}.jsonl").touch()
    with pytest.raises(InvalidTaskError, match="2 traces begin with 'ab'"):
        find_trace(tmp_path, "ab")


def test_the_latest_run_is_listed_first_and_the_list_can_be_short(tmp_path: Path) -> None:
    for second in range(3):
        line = {"event": "run", "run_id": f"r{second}", "task": "t", "model": "m"}
        (tmp_path / f"20260101-00000{second}-r{second}.jsonl").write_text(
            json.dumps(line), encoding="utf-8"
        )
    assert [run.run_id for run in list_traces(tmp_path, most=2)] == ["r2", "r1"]
    assert list_traces(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("content", ["", "not json\n", '["a", "list"]\n'])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidTaskError, match="holds no event"):
        read_trace(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskError, match="cannot be read"):
        read_trace(tmp_path / "gone.jsonl")


def test_the_tree_shows_what_could_not_be_written(folder: Path) -> None:
    folder.mkdir(parents=True)
    line = {"event": "unwritten", "of": "call", "step": 1, "problem": "ValueError: no words"}
    (folder / "x.jsonl").write_text(json.dumps(line), encoding="utf-8")
    assert "not written call: ValueError: no words" in _shown(folder / "x.jsonl")
