import errno
import json
import logging
import os
import shutil
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit.events import (
    CallFinished,
    CallStarted,
    Event,
    NoticeGiven,
    RunEnded,
    RunStarted,
    StepStarted,
    TextDelta,
    ThinkingDelta,
    as_record,
)
from agentkit.messages import Usage
from agentkit.trace import TraceWriter, open_trace, read_trace
from agentkit.trace._files import TraceFiles

Read = Callable[[], tuple[dict[str, Any], ...]]


def _started(run_id: str = "r1", task: str = "a task") -> RunStarted:
    return RunStarted(run_id=run_id, task=task, model="m", tools=())


def _ended(run_id: str = "r1") -> RunEnded:
    return RunEnded(run_id=run_id, stop="done", text="x", steps=1, usage=Usage(), seconds=0.1)


def _write(folder: Path, *events: Event, run_id: str = "r1") -> None:
    async def write(trace: TraceWriter) -> None:
        for event in events:
            trace.observe(run_id, event)

    _with_trace(folder, write)


def _with_trace(
    folder: Path, use: Callable[[TraceWriter], Awaitable[None]], secrets: tuple[str, ...] = ()
) -> None:
    async def main() -> None:
        async with open_trace(folder, secrets=secrets) as trace:
            await use(trace)

    anyio.run(main)


def test_a_line_is_the_record_of_its_event_and_the_time(
    folder: Path, read: Read, whole_run: tuple[Event, ...]
) -> None:
    _write(folder, *whole_run)
    plain = [event for event in whole_run if event.kind not in {"thinking", "text"}]
    lines = [dict(line) for line in read() if line["event"] not in {"thinking", "text"}]
    for line in lines:
        assert line.pop("at").endswith("Z")
        line.pop("pid", None)
    assert lines == [json.loads(json.dumps(as_record(event))) for event in plain]


def test_the_pieces_of_a_step_are_put_together(
    folder: Path, read: Read, whole_run: tuple[Event, ...]
) -> None:
    _write(folder, *whole_run)
    said = [
        (line["event"], line["step"], line["text"], line.get("discarded", False))
        for line in read()
        if line["event"] in {"thinking", "text"}
    ]
    assert said == [
        ("thinking", 1, "Let me look.", True),
        ("thinking", 1, "Look again.", False),
        ("text", 1, "I look it up.", False),
        ("text", 2, "It is 14:05.", False),
    ]


def test_file_and_folder_are_for_the_owner_alone(folder: Path) -> None:
    _write(folder, _started(), _ended())
    (path,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    day, clock, rest = path.name.split("-", 2)
    assert (len(day), len(clock), rest) == (8, 6, "r1.jsonl")


def test_nothing_is_made_before_the_first_event(folder: Path) -> None:
    _write(folder)
    assert not folder.exists()


def test_each_of_many_runs_has_its_file(folder: Path) -> None:
    async def many(trace: TraceWriter) -> None:
        names = [f"run{number}" for number in range(200)]
        for name in names:
            trace.observe(name, _started(name))
        for name in names:
            trace.observe(name, StepStarted(step=1))
        await trace.flush()
        for name in names:
            trace.observe(name, _ended(name))

    _with_trace(folder, many)
    paths = sorted(folder.iterdir())
    assert len(paths) == 200
    kinds = {tuple(line["event"] for line in read_trace(path)) for path in paths}
    assert kinds == {("run", "step", "end")}


def test_a_run_reaches_the_disk_while_the_writer_is_open(folder: Path) -> None:
    written = threading.Event()
    real = TraceFiles.append

    def append(files: TraceFiles, run_id: str, started: float, text: str) -> None:
        real(files, run_id, started, text)
        written.set()

    async def one(trace: TraceWriter) -> None:
        trace.observe("r1", _started())
        assert await to_thread.run_sync(written.wait, 10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TraceFiles, "append", append)
        _with_trace(folder, one)


def test_an_error_inside_the_block_arrives_as_itself_and_the_trace_is_kept(
    folder: Path, read: Read
) -> None:
    async def fail(trace: TraceWriter) -> None:
        trace.observe("r1", _started())
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        _with_trace(folder, fail)
    assert [line["event"] for line in read()] == ["run"]


def test_a_cancelled_block_keeps_the_pieces_of_the_unfinished_step(
    folder: Path, read: Read
) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with open_trace(folder) as trace:
                trace.observe("r1", _started())
                trace.observe("r1", ThinkingDelta(1, "half a tho"))
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    anyio.run(main)
    assert [line["event"] for line in read()] == ["run", "thinking"]


def test_a_folder_that_cannot_be_written_gives_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def two(trace: TraceWriter) -> None:
        for name in ("a", "b"):
            trace.observe(name, _started(name))
            await trace.flush()

    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING, "agentkit.trace"):
        _with_trace(tmp_path / "file" / "traces", two)
    (record,) = [one for one in caplog.records if one.name.startswith("agentkit")]
    assert "cannot be written" in record.getMessage()


def test_a_full_disk_gives_one_warning_and_the_next_line_is_whole(
    folder: Path, read: Read, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    room = [40]

    def scarce(file: int, data: bytes) -> int:
        if room and room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if room:
            written = real(file, data[: room[0]])
            room[0] -= written
            return written
        return real(file, data)

    async def fill(trace: TraceWriter) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("agentkit.trace._files.os.write", scarce)
            trace.observe("r1", _started())
            await trace.flush()
            room.clear()
            trace.observe("r1", NoticeGiven(step=1, text="there is room again"))
            await trace.flush()

    _with_trace(folder, fill)
    (record,) = [one for one in caplog.records if one.name.startswith("agentkit")]
    assert "No space left" in record.getMessage()
    assert [line["event"] for line in read()] == ["notice"]


def test_a_folder_removed_meanwhile_is_made_again(folder: Path) -> None:
    async def tidied(trace: TraceWriter) -> None:
        trace.observe("a", _started("a"))
        await trace.flush()
        await to_thread.run_sync(shutil.rmtree, folder)
        trace.observe("b", _started("b"))
        await trace.flush()
        trace.observe("c", _started("c"))

    _with_trace(folder, tidied)
    assert [path.name.endswith("-c.jsonl") for path in folder.iterdir()] == [True]


def test_what_json_has_not_is_written_as_text(folder: Path, read: Read) -> None:
    arguments: dict[str, Any] = {"path": Path("x"), "half": "\ud83d", "one": object}
    _write(
        folder,
        CallStarted(step=1, call_id="c", name="t", arguments=arguments),
        TextDelta(1, "half \udc80"),
        CallFinished(step=1, call_id="c", name="t", text="\ud83d", ok=True),
    )
    call, text, result = read()
    assert call["arguments"]["path"] == "x"
    assert text["text"] == "half \udc80"
    assert result["text"] == "\ud83d"


def test_a_run_id_cannot_leave_the_folder(folder: Path) -> None:
    _write(folder, _started("../../x"), run_id="../../x")
    (path,) = folder.iterdir()
    assert path.parent == folder


def test_secrets_never_reach_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", 'hunter"2\\hunter')
    url = "https://ada:enigma99@example.org/x"

    async def tell(trace: TraceWriter) -> None:
        trace.observe("r1", _started(task='say hunter"2\\hunter and from the settings'))
        trace.observe("r1", TextDelta(1, "the key is sk-abcd"))
        trace.observe("r1", TextDelta(1, "efgh12345678 as you know"))
        arguments = {"url": url, "headers": {"Authorization": "Basic YWRhOmVuaWdtYQ=="}}
        trace.observe("r1", CallStarted(step=1, call_id="c", name="t", arguments=arguments))
        nested = json.dumps({"echo": 'hunter"2\\hunter', "auth": "Bearer abc.DEF-123456"})
        trace.observe(
            "r1", CallFinished(step=1, call_id="c", name="t", text=nested, ok=True, seconds=0.1)
        )

    _with_trace(folder, tell, secrets=("from the settings",))
    (path,) = folder.iterdir()
    written = path.read_text(encoding="utf-8")
    for secret in ("hunter", "from the settings", "efgh1234", "enigma", "YWRhOmV", "abc.DEF"):
        assert secret not in written
    assert len(read_trace(path)) == len(written.splitlines())
    assert "as you know" in written
    assert "example.org/x" in written


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


class _Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words for it")


@pytest.mark.parametrize("levels", [300, 700, 5000])
def test_arguments_without_bottom_are_cut_off_where_they_are_too_deep(
    folder: Path, read: Read, levels: int
) -> None:
    arguments = {"value": _nested(levels), "user": "ada"}
    _write(folder, CallStarted(step=1, call_id="c", name="t", arguments=arguments), _ended())
    call, end = read()
    assert (call["event"], call["arguments"]["user"]) == ("call", "ada")
    assert "nested too deeply" in json.dumps(call["arguments"])
    assert end["event"] == "end"


def test_a_line_that_cannot_be_made_says_so_and_the_runs_go_on(folder: Path) -> None:
    async def tell(trace: TraceWriter) -> None:
        arguments = {"value": _Unspeakable()}
        trace.observe("r1", CallStarted(step=3, call_id="c", name="t", arguments=arguments))
        trace.observe("r2", _started("r2"))
        await trace.flush()
        trace.observe("r1", _ended())

    _with_trace(folder, tell)
    first, second = sorted(folder.iterdir(), key=lambda path: path.stem[-2:])
    said, end = read_trace(first)
    assert (said["event"], said["of"], said["step"]) == ("unwritten", "call", 3)
    assert "no words for it" in said["problem"]
    assert end["event"] == "end"
    assert read_trace(second)[0]["task"] == "a task"
