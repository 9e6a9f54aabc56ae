"""What a session gives back, and what it remembers."""

import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
import trio

import agentkit
from agentkit.errors import ToolError
from agentkit.sandbox import Interpreter
from tests.sandbox.conftest import plain


async def test_value_of_the_last_expression_is_returned(interpreter: Interpreter) -> None:
    outcome = await interpreter.run("a = 20\na * 2 + 2", 20)
    assert (outcome.value, outcome.name, outcome.error) == ("42", "", "")


async def test_value_of_a_last_assignment_is_returned_with_its_name(
    interpreter: Interpreter,
) -> None:
    for code in ("answer = 42", "answer: int = 42", "answer += 0"):
        outcome = await interpreter.run(code, 20)
        assert (outcome.value, outcome.name) == ("42", "answer")


async def test_code_that_ends_otherwise_has_no_value(interpreter: Interpreter) -> None:
    for code in (
        "",
        "# nothing",
        "x, y = 1, 2",
        "x: int",
        "for i in []: pass",
        "None",
        "import os",
    ):
        assert (await interpreter.run(code, 20)).value is None


async def test_code_is_compiled_as_in_a_file_of_its_own(interpreter: Interpreter) -> None:
    outcome = await interpreter.run("def area(r: float): ...\narea.__annotations__['r']", 20)
    assert outcome.value == "<class 'float'>"


@pytest.mark.parametrize("cells", [0, 1], ids=["the first", "a later one"])
async def test_a_cell_sees_its_own_lines_where_it_shows_an_error(
    interpreter: Interpreter, cells: int
) -> None:
    for _ in range(cells):
        await interpreter.run("1 / 1", 20)
    shown = await interpreter.run(
        "import traceback\ntry:\n    1 / 0  # nothing\nexcept Exception:\n"
        "    traceback.print_exc()\nraise ValueError('left')",
        20,
    )
    assert "1 / 0  # nothing" in shown.stderr
    assert shown.error.endswith("raise ValueError('left')\nValueError: left")


async def test_variables_imports_and_functions_are_kept(interpreter: Interpreter) -> None:
    await interpreter.run("import math\ndef area(r):\n    return math.pi * r**2\nr = 2", 20)
    assert (await interpreter.run("round(area(r), 3)", 20)).value == "12.566"


async def test_output_is_captured_from_print_from_the_files_and_from_children(
    interpreter: Interpreter,
) -> None:
    outcome = await interpreter.run(
        "import os, sys, subprocess\nprint('one')\nos.write(1, b'two\\n')\n"
        "subprocess.run(['echo', 'three'])\nprint('four', file=sys.stderr)\n"
        "sys.stdout.write('no newline')\nNone",
        20,
    )
    assert outcome.stdout == "one\ntwo\nthree\nno newline"
    assert outcome.stderr == "four\n"


async def test_output_of_one_cell_is_not_found_in_the_next(interpreter: Interpreter) -> None:
    await interpreter.run("print('x' * 50_000)", 20)
    assert (await interpreter.run("print('y')", 20)).stdout == "y\n"


async def test_an_error_shows_the_lines_of_the_cell_and_nothing_else(
    interpreter: Interpreter,
) -> None:
    await interpreter.run("def f(n):\n    return 1 / n", 20)
    outcome = await interpreter.run("import json\nf(0)", 20)
    assert "ZeroDivisionError: division by zero" in outcome.error
    assert "f(0)" in outcome.error
    assert "return 1 / n" in outcome.error
    assert "_worker" not in outcome.error
    library = await interpreter.run("json.loads('{')", 20)
    assert "JSONDecodeError" in library.error
    assert "decoder.py" not in library.error


async def test_a_syntax_error_points_at_the_place(interpreter: Interpreter) -> None:
    outcome = await interpreter.run("x = 1\nif x print(x)", 20)
    assert "line 2" in outcome.error
    assert "SyntaxError" in outcome.error


async def test_an_error_keeps_what_was_printed_and_the_variables(interpreter: Interpreter) -> None:
    outcome = await interpreter.run("kept = 5\nprint('before')\nraise ValueError('no')", 20)
    assert outcome.stdout == "before\n"
    assert outcome.error.endswith("ValueError: no")
    assert not outcome.restarted
    assert (await interpreter.run("kept", 20)).value == "5"


async def test_long_output_keeps_its_head_and_its_tail(interpreter: Interpreter) -> None:
    outcome = await interpreter.run("print('start'); print('-' * 3_000_000); print('end')", 20)
    assert outcome.stdout.startswith("start\n")
    assert outcome.stdout.endswith("end\n")
    assert "bytes left out" in outcome.stdout
    assert len(outcome.stdout) < 13_000


async def test_a_long_value_is_shortened(interpreter: Interpreter) -> None:
    outcome = await interpreter.run("'a' * 1_000_000", 20)
    assert outcome.value is not None
    assert "characters left out" in outcome.value
    assert len(outcome.value) < 9_000


async def test_control_sequences_do_not_reach_the_reader(interpreter: Interpreter) -> None:
    outcome = await interpreter.run(
        r"print('\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b]52;c;Zm9v\x1b\\ \u202eabc\x00')"
        "\n'\\x1b[2J' if False else chr(27) + chr(0x202e)",
        20,
    )
    assert outcome.stdout == "red  abc\n"
    assert outcome.value == "'\\x1b\\u202e'"


async def test_binary_output_and_lone_surrogates_become_valid_text(
    interpreter: Interpreter,
) -> None:
    outcome = await interpreter.run(
        "import os; os.write(1, b'\\xff\\xfe\\n'); print('\\ud800')", 20
    )
    assert outcome.stdout.encode("utf-8")
    assert outcome.stdout == "\ufffd\ufffd\n\\ud800\n"
    assert (await interpreter.run("class R:\n    def __repr__(s): return '\\ud800'\nR()", 20)).value


async def test_exit_is_not_the_end_of_the_session(interpreter: Interpreter) -> None:
    await interpreter.run("kept = 1", 20)
    for code in ("exit()", "quit()", "import sys; sys.exit(0)"):
        outcome = await interpreter.run(code, 20)
        assert (outcome.error, outcome.killed_by) == ("", "")
    assert (await interpreter.run("sys.exit('no data')", 20)).error == "SystemExit: no data"
    assert (await interpreter.run("kept", 20)).value == "1"


async def test_input_has_nothing_to_read(interpreter: Interpreter) -> None:
    assert "EOFError" in (await interpreter.run("input('name? ')", 20)).error


async def test_code_finds_an_empty_folder_and_no_secret(
    interpreter: Interpreter, secret: str, place: Path
) -> None:
    outcome = await interpreter.run(
        "import os, tempfile\nprint(dict(os.environ))\n"
        "print(open('/proc/self/environ').read())\n"
        "(os.listdir(), os.getcwd() == os.environ['HOME'] == tempfile.gettempdir(), os.getcwd())",
        20,
    )
    assert secret not in outcome.stdout
    assert outcome.value is not None
    assert outcome.value.startswith(f"([], True, '{place}/")


async def test_code_inherits_no_file_of_the_host(interpreter: Interpreter) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        outcome = await interpreter.run(
            "import os\n"
            "sorted(int(fd) for fd in os.listdir('/proc/self/fd') if int(fd) < 200)[:-1]",
            20,
        )
    assert outcome.value == "[0, 1, 2]"  # the last one was the listing itself


async def test_the_channel_is_closed_in_the_programs_that_code_starts(
    interpreter: Interpreter,
) -> None:
    outcome = await interpreter.run(
        "import subprocess\n"
        "subprocess.run(['ls', '/proc/self/fd'], capture_output=True, close_fds=False).stdout",
        20,
    )
    assert outcome.value == "b'0\\n1\\n2\\n3\\n'"


async def test_installed_packages_can_be_imported(interpreter: Interpreter) -> None:
    assert (await interpreter.run("import anyio; anyio.__name__", 20)).value == "'anyio'"


async def test_sessions_know_nothing_of_each_other(interpreter: Interpreter, place: Path) -> None:
    other = Interpreter()
    try:
        await interpreter.run("x = 1", 20)
        assert "NameError" in (await other.run("x", 20)).error
    finally:
        await other.aclose()


async def test_cells_of_several_tasks_run_one_after_the_other(interpreter: Interpreter) -> None:
    await interpreter.run("log = []", 20)
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(interpreter.run, f"log += [{number}]; log += [{number}]", 20)
    pairs = (await interpreter.run("all(a == b for a, b in zip(log[::2], log[1::2]))", 20)).value
    assert pairs == "True"


async def test_closing_twice_or_unopened_is_harmless_and_final(place: Path) -> None:
    interpreter = Interpreter()
    await interpreter.aclose()
    await interpreter.aclose()
    with pytest.raises(ToolError, match="closed"):
        await interpreter.run("1", 20)


@pytest.mark.parametrize("after", [0.0, 0.001, 0.01, 0.04])
async def test_closing_while_it_starts_ends_it(place: Path, after: float) -> None:
    interpreter = Interpreter()
    ends: list[str] = []

    async def run() -> None:
        try:
            ends.append((await interpreter.run("import time\ntime.sleep(50)", 60)).killed_by)
        except ToolError as error:
            ends.append(str(error))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(after)
            await interpreter.aclose()
    assert ends in (["host"], ["The code interpreter is closed."])


def test_it_runs_for_who_has_found_agentkit_by_a_crooked_path(place: Path) -> None:
    root = Path(agentkit.__file__).parents[1]
    code = """if 1:
        import sys
        sys.path.insert(0, sys.argv[1])
        import anyio
        from agentkit.sandbox import Interpreter
        async def main():
            interpreter = Interpreter(minimum="process")
            print((await interpreter.run("6 * 7", 20)).value)
            await interpreter.aclose()
        anyio.run(main)
    """
    crooked = root / "tests" / ".."
    done = subprocess.run(
        [sys.executable, "-c", code, str(crooked)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("42\n", "")


async def test_a_session_that_cannot_start_says_what_to_check(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "missing"))
    interpreter = plain()
    with pytest.raises(ToolError, match="cannot be started") as caught:
        await interpreter.run("1", 20)
    assert "missing" in caught.value.hint
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    assert (await interpreter.run("1", 20)).value == "1"
    await interpreter.aclose()


def test_it_runs_on_trio_as_well(place: Path) -> None:
    async def session() -> tuple[str | None, bool, str | None]:
        interpreter = Interpreter()
        first = await interpreter.run("x = 6", 20)
        looped = await interpreter.run("while True: pass", 0.2)
        last = await interpreter.run("x * 7", 20)
        await interpreter.aclose()
        return first.value, looped.timed_out, last.value

    assert trio.run(session) == ("6", True, "42")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Hold so many files open that the next descriptors have four digits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1_500:
        pytest.skip(f"a process may open {hard} files here, too few")
    if soft != resource.RLIM_INFINITY and soft < 1_500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_500, hard))
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1_100):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield


@pytest.mark.usefixtures("many_files")
async def test_a_host_with_many_open_files_has_an_interpreter_too(
    interpreter: Interpreter,
) -> None:
    assert (await interpreter.run("6 * 7", 20)).value == "42"
    assert (await interpreter.run("_ = 1 + 1", 20)).error == ""
