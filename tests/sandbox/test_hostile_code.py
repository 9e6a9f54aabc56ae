"""Code that misbehaves: a bounded answer, a session that works afterwards, and nothing left.

At the weakest level, where nothing but the janitor holds it; `test_hostile_programs.py` has all.

Every test closes its interpreter, and the `place` fixture then looks for processes and files.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agentkit.sandbox import Interpreter, WorkerLimits
from tests.sandbox.conftest import plain

ProcessesIn = Callable[[Path], set[int]]


async def wait_ended(pid: int) -> None:
    """Wait for the end of any process, without asking again and again."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await anyio.wait_readable(fd)
    finally:
        os.close(fd)


async def works(interpreter: Interpreter) -> bool:
    return (await interpreter.run("6 * 7", 20)).value == "42"


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(600)",
        "import subprocess; subprocess.run(['sleep', '600'])",
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
        "class R:\n    def __repr__(self):\n        while True: pass\nR()",
    ],
)
async def test_a_cell_that_takes_too_long_is_interrupted_and_variables_are_kept(
    interpreter: Interpreter, code: str
) -> None:
    await interpreter.run("kept = 1", 20)
    outcome = await interpreter.run(f"print('begun', flush=True)\n{code}", 0.5)
    assert outcome.timed_out
    assert outcome.stdout == "begun\n"
    assert not outcome.restarted
    assert (await interpreter.run("kept", 20)).value == "1"


@pytest.mark.parametrize(
    "code",
    [
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "import time\nwhile True:\n    try:\n        time.sleep(600)\n    except BaseException: pass",
        "sum(range(10**11))",
    ],
)
async def test_a_cell_that_cannot_be_interrupted_is_killed(
    interpreter: Interpreter, code: str
) -> None:
    await interpreter.run("lost = 1", 20)
    outcome = await interpreter.run(code, 0.3)
    assert outcome.timed_out
    assert outcome.restarted
    assert outcome.killed_by == "time"
    assert "NameError" in (await interpreter.run("lost", 20)).error


@pytest.mark.parametrize(
    ("code", "killed_by"),
    [
        ("import os; os._exit(0)", "exit 0"),
        ("import os; os._exit(3)", "exit 3"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os, time; os.kill(os.getppid(), 9); time.sleep(600)", "janitor"),
        ("import os; os.close(200)", "exit 1"),
    ],
)
async def test_a_process_that_ends_under_a_cell_is_told_and_replaced(
    interpreter: Interpreter, code: str, killed_by: str
) -> None:
    outcome = await interpreter.run(f"print('last words', flush=True)\n{code}", 20)
    assert outcome.killed_by == killed_by
    assert outcome.restarted
    assert not outcome.timed_out
    assert outcome.stdout == "last words\n"
    assert await works(interpreter)


@pytest.mark.parametrize(
    "frame",
    [
        "b'\\xff\\xff\\xff\\xff'",  # a length that must not be believed
        "struct.pack('>I', 7) + b'nothing'",
        "struct.pack('>I', 2) + b'[]'",
        "struct.pack('>I', 200_000) + b'[' * 200_000",  # deeper than a parser can go
        "struct.pack('>I', 9) + b'{\"id\":99}'",
        "struct.pack('>I', 2) + b'{}'",
    ],
)
async def test_a_forged_frame_costs_the_session_and_nothing_else(
    interpreter: Interpreter, frame: str
) -> None:
    code = f"import os, struct, time\ndata = {frame}\n"
    code += "while data: data = data[os.write(200, data):]\ntime.sleep(600)"
    outcome = await interpreter.run(code, 20)
    assert outcome.killed_by == "protocol"
    assert await works(interpreter)


async def test_a_forged_answer_is_neither_believed_to_be_short_nor_clean(
    interpreter: Interpreter,
) -> None:
    code = (
        "import os, struct, json, time\n"
        "body = json.dumps({'id': 1, 'value': chr(27) + '[31m' + 'x' * 90_000, 'error': 5}).encode()\n"
        "os.write(200, struct.pack('>I', len(body)) + body); time.sleep(600)"
    )
    outcome = await interpreter.run(code, 20)
    assert outcome.value is not None
    assert set(outcome.value) == {"x"}
    assert len(outcome.value) < 9_000
    assert outcome.error == ""


async def test_a_forked_child_cannot_answer_in_the_name_of_its_parent(
    interpreter: Interpreter,
) -> None:
    outcome = await interpreter.run(
        "import os\npid = os.fork()\n'child' if pid == 0 else 'parent'", 20
    )
    assert outcome.value == "'parent'"
    assert await works(interpreter)


async def test_memory_is_limited(interpreter: Interpreter) -> None:
    outcome = await interpreter.run("bytearray(8 << 30)", 20)
    assert outcome.error.endswith("MemoryError")
    assert await works(interpreter)


async def test_memory_of_many_processes_is_limited_together(
    place: Path, processes_in: ProcessesIn
) -> None:
    interpreter = plain(WorkerLimits(memory_bytes=300 << 20))
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        hold = bytearray(100 << 20)\n"
        "        hold[::4096] = b'x' * len(hold[::4096])\n"
        "        time.sleep(600)\n"
        "time.sleep(600)"
    )
    outcome = await interpreter.run(code, 20)
    assert outcome.killed_by == "memory"
    assert processes_in(place) == set()
    assert await works(interpreter)
    await interpreter.aclose()


async def test_a_burst_of_processes_is_ended(place: Path) -> None:
    interpreter = plain(WorkerLimits(processes=20))
    code = "import os, time\nfor _ in range(200):\n    if os.fork() == 0: time.sleep(600)\ntime.sleep(600)"
    outcome = await interpreter.run(code, 20)
    assert outcome.killed_by == "processes"
    assert await works(interpreter)
    await interpreter.aclose()


async def test_a_file_cannot_grow_without_end(place: Path) -> None:
    interpreter = plain(WorkerLimits(file_bytes=1 << 20))
    outcome = await interpreter.run("open('big', 'wb').write(bytes(4 << 20))", 20)
    assert "File too large" in outcome.error
    await interpreter.aclose()


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.write(1, b'x' * 65536)",
        "while True: print('y' * 1000)",
        "import sys\nwhile True: sys.stderr.write('z' * 1000)",
    ],
)
async def test_a_flood_of_output_is_stopped(place: Path, code: str) -> None:
    interpreter = plain(WorkerLimits(output_bytes=4 << 20))
    outcome = await interpreter.run(code, 20)
    assert "printed more than 4194304 bytes" in outcome.error
    assert not outcome.timed_out
    assert len(outcome.stdout) + len(outcome.stderr) < 13_000
    assert await works(interpreter)
    await interpreter.aclose()


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.close(1); os.close(2); os.close(0)",
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import sys; sys.stdout = sys.stderr = None",
        "import builtins; builtins.compile = builtins.exec = builtins.repr = None",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "import sys; sys.setrecursionlimit(10)",
        "import os; os.chdir('/')",
        "import os; os.rmdir(os.getcwd())",
        "del __builtins__",
        "import sys; sys.modules.clear()",
    ],
)
async def test_a_cell_that_breaks_its_surroundings_does_not_break_the_tool(
    interpreter: Interpreter, code: str
) -> None:
    await interpreter.run(code, 20)
    outcome = await interpreter.run("print('still here')", 20)
    if outcome.stdout != "still here\n":  # broken beyond repair: then it must have been replaced
        assert outcome.killed_by
        outcome = await interpreter.run("print('still here')", 20)
    assert outcome.stdout == "still here\n"


async def test_an_exception_that_cannot_be_shown_is_named(interpreter: Interpreter) -> None:
    code = "class Odd(Exception):\n    def __str__(self): raise RuntimeError\nraise Odd"
    assert "Odd" in (await interpreter.run(code, 20)).error
    assert (
        "RuntimeError"
        in (
            await interpreter.run("class R:\n    def __repr__(s): raise RuntimeError\nR()", 20)
        ).error
    )


async def test_a_huge_integer_is_an_error_and_not_a_wait(interpreter: Interpreter) -> None:
    assert "digits" in (await interpreter.run("10 ** 1_000_000", 20)).error


DAEMON = (
    "import os, time\n"
    "r, w = os.pipe()\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.write(w, str(os.getpid()).encode())\n"
    "        time.sleep(600)\n"
    "    os._exit(0)\n"
    "int(os.read(r, 20))"
)


async def test_closing_finds_a_daemon_in_a_session_of_its_own(
    interpreter: Interpreter, place: Path, processes_in: ProcessesIn
) -> None:
    outcome = await interpreter.run(DAEMON, 20)
    assert int(outcome.value or 0) in processes_in(place)
    await interpreter.aclose()
    assert processes_in(place) == set()


async def test_a_daemon_that_keeps_the_output_open_does_not_hold_up_the_answer(
    interpreter: Interpreter,
) -> None:
    assert (await interpreter.run(DAEMON, 20)).value
    assert await works(interpreter)
    killed = await interpreter.run("os._exit(1)", 20)
    assert killed.killed_by == "exit 1"


async def test_files_that_cannot_be_written_are_removed_as_well(
    interpreter: Interpreter,
) -> None:
    code = (
        "import os\nos.makedirs('a/b/c'); open('a/b/f', 'w').close()\nos.symlink('/etc', 'a/link')\n"
        "os.chmod('a/b/f', 0); os.chmod('a/b', 0); os.chmod('a', 0o500)"
    )
    assert (await interpreter.run(code, 20)).error == ""
    await interpreter.aclose()


async def test_a_folder_deeper_than_python_can_follow_is_removed(
    interpreter: Interpreter,
) -> None:
    code = "import os\nfor _ in range(1200):\n    os.mkdir('d'); os.chdir('d')"
    assert (await interpreter.run(code, 20)).error == ""
    await interpreter.aclose()


async def test_a_cancelled_cell_is_interrupted_and_the_session_goes_on(
    interpreter: Interpreter,
) -> None:
    await interpreter.run("kept = 1", 20)
    with anyio.move_on_after(0.3) as scope:
        await interpreter.run("while True: pass", 600)
    assert scope.cancelled_caught
    assert (await interpreter.run("kept", 20)).value == "1"


@pytest.mark.parametrize("milliseconds", [0, 3, 10, 30, 60, 90])
async def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing(
    interpreter: Interpreter, milliseconds: int
) -> None:
    with anyio.move_on_after(milliseconds / 1000):
        await interpreter.run("1", 20)
    assert await works(interpreter)


async def test_a_start_that_is_cancelled_before_the_worker_is_known_leaves_nothing(
    interpreter: Interpreter, place: Path
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(interpreter.run, "1", 20)
        while not await anyio.to_thread.run_sync(lambda: list(place.iterdir())):
            pass  # the janitor makes the folder before it says who is there
        tasks.cancel_scope.cancel()


async def test_closing_from_another_task_ends_a_running_cell(place: Path) -> None:
    interpreter = plain()
    pid = (await interpreter.run("import os; os.getpid()", 20)).value
    ended: list[str] = []

    async def endless() -> None:
        ended.append((await interpreter.run("while True: pass", 600)).killed_by)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endless)
        await anyio.wait_all_tasks_blocked()
        await interpreter.aclose()
        await wait_ended(int(pid or 0))
    assert ended == ["host"]


async def test_a_process_that_dies_between_two_cells_is_replaced_and_told(
    interpreter: Interpreter,
) -> None:
    value = (await interpreter.run("import os; (os.getppid(), os.getpid())", 20)).value or ""
    janitor, worker = (int(number) for number in value.strip("()").split(","))
    os.kill(worker, signal.SIGKILL)
    await wait_ended(janitor)
    outcome = await interpreter.run("1 + 1", 20)
    assert (outcome.value, outcome.restarted, outcome.killed_by) == ("2", True, "")
