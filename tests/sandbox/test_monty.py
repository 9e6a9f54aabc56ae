"""A session of Monty: what it returns, keeps, lacks, and what no cell can take from the host."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
import pytest_asyncio
import trio

from agentkit.errors import ToolError
from agentkit.sandbox import HostTools, Interpreter, Outcome, WorkerLimits
from agentkit.sandbox._monty import MontyInterpreter

pytestmark = pytest.mark.usefixtures("monty_runtime")


@pytest_asyncio.fixture
async def monty() -> AsyncGenerator[MontyInterpreter]:
    opened = MontyInterpreter()
    yield opened
    await opened.aclose()


async def test_value_of_the_last_expression_is_returned(monty: MontyInterpreter) -> None:
    for code, value in (
        ("a = 20\na * 2 + 2", "42"),
        ("(1 +\n 2) * 3  # a comment", "9"),
        ("x = 1; 'é' * x", "'é'"),
        ("import collections\r\ncollections.Counter('abca')", "Counter({'a': 2, 'b': 1, 'c': 1})"),
        ("class P:\n    def __repr__(self):\n        return 'P!'\nP()", "P!"),
        ("(y := 4)", "4"),
    ):
        outcome = await monty.run(code, 20)
        assert (outcome.value, outcome.name, outcome.error) == (value, "", "")
    assert (await monty.run("_ + 1", 20)).value == "5"


async def test_value_of_a_last_assignment_is_returned_with_its_name(
    monty: MontyInterpreter,
) -> None:
    for code in ("answer = 42", "answer: int = 42", "answer += 0"):
        outcome = await monty.run(code, 20)
        assert (outcome.value, outcome.name) == ("42", "answer")


async def test_code_that_ends_otherwise_has_no_value(monty: MontyInterpreter) -> None:
    for code in ("", "# nothing", "x, y = 1, 2", "for i in []: pass", "None", "import math"):
        outcome = await monty.run(code, 20)
        assert (outcome.value, outcome.error) == (None, "")


async def test_a_long_value_is_shortened_before_it_reaches_the_host(
    monty: MontyInterpreter,
) -> None:
    value = (await monty.run("repr = len = None\n'x' * 100_000", 20)).value
    assert value is not None
    assert len(value) < 8_400
    assert "92002 characters left out" in value


async def test_variables_imports_and_functions_are_kept(monty: MontyInterpreter) -> None:
    await monty.run("import math\ndef area(r):\n    return math.pi * r**2\nr = 2", 20)
    assert (await monty.run("round(area(r), 3)", 20)).value == "12.566"


async def test_both_outputs_are_captured_without_control_sequences(
    monty: MontyInterpreter,
) -> None:
    outcome = await monty.run(
        "import sys\nprint('\\x1b[31mone')\nprint('two', end='')\nprint('x', file=sys.stderr)", 20
    )
    assert (outcome.stdout, outcome.stderr, outcome.value) == ("one\ntwo", "x\n", None)
    assert (await monty.run("1", 20)).stdout == ""


async def test_a_flood_of_output_ends_the_cell_and_nothing_else() -> None:
    monty = MontyInterpreter(WorkerLimits(output_bytes=1 << 20))
    try:
        await monty.run("kept = 7", 20)
        outcome = await monty.run(
            "while True:\n    try:\n        print('x' * 1000)\n    except Exception:\n        pass",
            20,
        )
        assert outcome.error == (
            "Stopped: it printed more than 1048576 bytes.\n"
            "Variables are as they were before this cell."
        )
        assert len(outcome.stdout) < 13_000
        assert (await monty.run("kept", 20)).value == "7"
    finally:
        await monty.aclose()


async def test_an_error_shows_the_lines_of_the_cell_and_nothing_else(
    monty: MontyInterpreter,
) -> None:
    await monty.run("def f(n):\n    return 1 / n", 20)
    outcome = await monty.run("x = 0\nf(x)", 20)
    assert outcome.error == (
        '  File "cell", line 2, in <module>\n    f(x)\n'
        '  File "cell", line 2, in f\n    return 1 / n\n'
        "ZeroDivisionError: division by zero"
    )
    showing = await monty.run("class R:\n    def __repr__(self):\n        return missing\nR()", 20)
    assert showing.error == (
        '  File "cell", line 3, in __repr__\n    return missing\n'
        "NameError: name 'missing' is not defined"
    )
    assert "SyntaxError" in (await monty.run("x = (", 20)).error
    deep = (await monty.run("def g(n):\n    return g(n + 1)\ng(0)", 20)).error
    assert "RecursionError" in deep
    assert len(deep) < 1_000


@pytest.mark.parametrize(
    "code",
    [
        "def g():\n    yield 1",
        "import numpy",
        "import statistics",
        "x = 1\ndel x",
        "class A: pass\nclass B(A): pass",
    ],
)
async def test_what_is_missing_is_said_with_another_way(code: str, monty: MontyInterpreter) -> None:
    error = (await monty.run(code, 20)).error
    assert "This engine (Monty) runs a part of Python" in error
    assert "The other engines run all of it." in error


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "import pathlib\npathlib.Path('/etc/passwd').read_text()",
        "import pathlib\npathlib.Path('/').iterdir()",
        "open('made', 'w')",
        "import os\nos.environ['PATH']",
        "import os\nos.getenv('PATH')",
        "import os\nos.system('id')",
        "import socket",
        "import subprocess",
        "import ctypes",
        "__import__('os')",
        "().__class__.__bases__",
        "input()",
    ],
)
async def test_nothing_of_the_machine_is_within_reach(code: str, monty: MontyInterpreter) -> None:
    outcome = await monty.run(code, 20)
    assert outcome.error
    assert outcome.value is None
    assert (await monty.run("1 + 1", 20)).value == "2"


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "sum(range(10**11))",
        "import time\nwhile True: time.sleep(3600)",
        "class R:\n    def __repr__(self):\n        while True: pass\nR()",
    ],
)
async def test_a_cell_that_does_not_end_is_stopped_and_variables_stay(
    code: str, monty: MontyInterpreter
) -> None:
    await monty.run("x = 41\nimport math", 20)
    outcome = await monty.run(f"x = 0\nprint('begun')\n{code}", 0.3)
    assert outcome.timed_out
    assert (outcome.restarted, outcome.killed_by) == (False, "")
    assert outcome.stderr == "Variables are as they were before this cell."
    assert (await monty.run("math.floor(x) + 1", 20)).value == "42"


async def test_the_worker_ends_a_long_cell_by_itself_where_nobody_stops_it() -> None:
    monty = MontyInterpreter(longest_seconds=0.2)
    try:
        await monty.run("x = 41", 20)
        outcome = await monty.run("while True: pass", 20)
        assert (outcome.timed_out, outcome.restarted) == (True, False)
        assert (await monty.run("x + 1", 20)).value == "42"
    finally:
        await monty.aclose()


@pytest.mark.parametrize("code", ["[0] * 10**10", "10**10**9", "'x' * 10**12"])
async def test_what_is_too_large_is_refused_at_once(code: str, monty: MontyInterpreter) -> None:
    await monty.run("x = 41", 20)
    assert "MemoryError" in (await monty.run(code, 20)).error
    assert (await monty.run("x + 1", 20)).value == "42"


async def test_a_memory_that_is_filled_is_left_and_variables_stay() -> None:
    monty = MontyInterpreter(WorkerLimits(memory_bytes=16 << 20))
    try:
        await monty.run("x = 41", 20)
        outcome = await monty.run("l = []\nwhile True: l.append('x' * 1000)", 20)
        assert "MemoryError" in outcome.error
        assert "Variables are as they were before this cell." in outcome.error
        assert (await monty.run("x + 1", 20)).value == "42"
    finally:
        await monty.aclose()


async def test_a_state_too_large_to_copy_is_lost_with_its_process_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, monty: MontyInterpreter
) -> None:
    monkeypatch.setattr("agentkit.sandbox._monty_worker.SAVED_BYTES", 100_000)
    await monty.run("big = list(range(100_000))", 20)
    outcome = await monty.run("while True: pass", 0.3)
    assert (outcome.timed_out, outcome.restarted, outcome.killed_by) == (True, True, "time")
    after = await monty.run("big", 20)
    assert "NameError" in after.error
    assert not after.restarted
    assert (await monty.run("small = 1", 20)).value == "1"


async def test_a_process_that_dies_in_a_cell_is_replaced_and_variables_stay(
    monty: MontyInterpreter,
) -> None:
    await monty.run("x = 41", 20)
    (worker,) = _workers()
    outcomes: list[Outcome] = []
    async with anyio.create_task_group() as tasks:

        async def kill_when_busy() -> None:
            while monty._cell is None or not monty._cell.stdout.total:  # noqa: ASYNC110 - another process sets no event
                await anyio.sleep(0.01)
            os.kill(worker, signal.SIGKILL)

        tasks.start_soon(kill_when_busy)
        outcomes.append(await monty.run("print('begun')\nwhile True: pass", 20))
    (outcome,) = outcomes
    assert "crashed the interpreter" in outcome.error
    assert not outcome.timed_out
    assert (await monty.run("x + 1", 20)).value == "42"


async def test_a_process_that_died_between_two_cells_is_told(monty: MontyInterpreter) -> None:
    await monty.run("x = 41", 20)
    (worker,) = _workers()
    os.kill(worker, signal.SIGKILL)
    outcome = await monty.run("1 + 1", 20)
    assert (outcome.value, outcome.restarted) == ("2", True)


async def test_cells_of_several_tasks_run_one_after_the_other(monty: MontyInterpreter) -> None:
    await monty.run("n = 0", 20)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(monty.run, "m = n\nn = m + 1", 20)
    assert (await monty.run("n", 20)).value == "10"


async def test_a_cancelled_cell_ends_its_process_and_leaves_the_session_usable(
    monty: MontyInterpreter,
) -> None:
    await monty.run("x = 41", 20)
    with anyio.move_on_after(0.2) as scope:
        await monty.run("while True: pass", 20)
    assert scope.cancelled_caught
    assert (await monty.run("x + 1", 20)).value == "42"


async def test_closing_ends_a_running_cell_and_may_be_done_twice() -> None:
    monty = MontyInterpreter()
    await monty.run("x = 1", 20)
    outcomes: list[Outcome] = []
    async with anyio.create_task_group() as tasks:

        async def close() -> None:
            await anyio.sleep(0.1)
            await monty.aclose()

        tasks.start_soon(close)
        outcomes.append(await monty.run("while True: pass", 20))
    (outcome,) = outcomes
    assert (outcome.killed_by, outcome.restarted) == ("host", True)
    await monty.aclose()
    with pytest.raises(ToolError, match="closed"):
        await monty.run("1", 20)
    await MontyInterpreter().aclose()


def test_it_runs_under_trio() -> None:
    async def main() -> None:
        monty = MontyInterpreter()
        assert (await monty.run("1 + 1", 20)).value == "2"
        assert (await monty.run("while True: pass", 0.2)).timed_out
        await monty.aclose()

    trio.run(main)


def test_a_worker_whose_host_is_killed_in_a_cell_ends_by_itself(tmp_path: Path) -> None:
    program = tmp_path / "host.py"
    program.write_text(
        "import anyio\nfrom agentkit.sandbox._monty import MontyInterpreter\n"
        "async def main():\n"
        "    monty = MontyInterpreter(longest_seconds=2)\n"
        "    await monty.run('1', 20)\n"
        "    print(monty._worker._session.worker_pid, flush=True)\n"
        "    await monty.run('while True: pass', 20)\n"
        "anyio.run(main)\n",
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        worker = int(host.stdout.readline())
        host.kill()
    while _state(worker) not in ("", "Z"):
        time.sleep(0.05)


async def test_where_it_is_not_installed_the_error_says_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_monty", None)
    monty = MontyInterpreter()
    with pytest.raises(ToolError, match="cannot be started") as caught:
        await monty.run("1", 20)
    assert "qwen-agentkit[monty]" in caught.value.hint
    await monty.aclose()


async def test_what_holds_a_cell_is_reported_without_reading_the_disk_in_the_loop() -> None:
    interpreter = Interpreter(isolation="monty")
    try:
        assert (await interpreter.run("1 + 1", 20)).value == "2"
        assert interpreter.report is not None
        assert interpreter.report.engine.startswith("Monty 1.")
    finally:
        await interpreter.aclose()


def test_the_report_says_what_does_not_hold() -> None:
    report = MontyInterpreter(WorkerLimits(memory_bytes=64 << 20)).isolation
    assert report.level == "monty"
    assert report.engine.startswith("Monty 1.")
    assert "memory: 64 MiB" in report.enforced
    assert any("rights of the user" in phrase for phrase in report.not_enforced)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def _workers() -> list[int]:
    """Return the workers of this process."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, task.read_text(encoding="ascii").split()):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"monty" in command:
                found.append(pid)
    return found


async def test_pure_computation_has_no_tools_and_no_files() -> None:
    async def never(name: str, arguments: object) -> str:
        raise AssertionError(name)

    interpreter = Interpreter(isolation="monty")
    with pytest.raises(ToolError, match="cannot call tools at isolation 'monty': it is pure"):
        await interpreter.run("1", 20, HostTools(specs=(), call=never))
    assert (await interpreter.run("6 * 7", 20)).value == "42"
    with pytest.raises(ToolError, match="at isolation 'monty' there are no files"):
        await interpreter.read_file("a")
    await interpreter.aclose()
