"""What code is given: by which names, how much of it, and what is refused."""

from pathlib import Path

import pytest

from agentkit.errors import ConfigurationError
from agentkit.sandbox import Interpreter, WorkerLimits, input_name
from agentkit.sandbox._inputs import MOST_INPUTS, name_inputs
from agentkit.sandbox._janitor import usage


def test_an_input_has_the_name_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "abc123").touch()
    link = tmp_path / "sales.csv"
    link.symlink_to(store / "abc123")
    monkeypatch.chdir(store)
    assert name_inputs([link]) == {"sales.csv": str(store / "abc123")}
    assert list(name_inputs(["../store/"])) == ["store"] == [input_name("../store/")]


def test_what_cannot_be_given_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for path, words in (
        (tmp_path / "nothing", "'.*nothing' of the code interpreter is not there"),
        (tmp_path / "one", "cannot be read"),
        ("a\0b", "cannot be read"),
        ("/", "has no name"),
        (".", "has no name"),
        ("../..", "has no name"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            name_inputs([path])


def test_very_many_inputs_are_refused_with_the_way_on(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(MOST_INPUTS + 1)]
    with pytest.raises(ConfigurationError, match="101 inputs; 100 at most") as caught:
        name_inputs(paths)
    assert caught.value.hint == "Give it one folder that holds them."


async def test_as_many_as_there_may_be_are_there(tmp_path: Path) -> None:
    folder = tmp_path / ("a long name " * 15)
    folder.mkdir()
    paths = [folder / f"{number}.csv" for number in range(MOST_INPUTS)]
    for path in paths:
        path.touch()
    interpreter = Interpreter(minimum="process", inputs=paths)
    try:
        assert (await interpreter.run("import os\nlen(os.listdir('inputs'))", 20)).value == "100"
    finally:
        await interpreter.aclose()


async def test_a_large_file_that_is_given_is_none_that_the_code_has_made(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    limits = WorkerLimits(folder_bytes=2 << 20)
    interpreter = Interpreter(limits, minimum="process", inputs=[tmp_path / "large"])
    try:
        outcome = await interpreter.run("import time\ntime.sleep(0.7)\n1", 20)
        assert (outcome.value, outcome.killed_by) == ("1", "")
    finally:
        await interpreter.aclose()


def test_usage_counts_all_but_what_is_mounted(tmp_path: Path) -> None:
    for name in ("inputs/given/a", "inputs/made", "own"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(8192))
    assert usage(str(tmp_path), 100)[1] == 5
    size, files = usage(str(tmp_path), 100, {str(tmp_path / "inputs" / "given")})
    assert (files, 2 * 8192 <= size < 3 * 8192 + 4 * 4096) == (3, True)
    assert usage(str(tmp_path / "gone"), 100) == (0, 0)


async def test_files_of_a_cell_are_no_modules_of_ours(interpreter: Interpreter) -> None:
    names = ("traceback", "textwrap", "linecache", "json", "struct", "threading")
    code = "".join(f"open('{name}.py', 'w').write('while True: pass')\n" for name in names)
    assert (await interpreter.run(code, 20)).error == ""
    outcome = await interpreter.run("1 / 0  # here", 20)
    assert "1 / 0  # here\n" in outcome.error
    assert outcome.error.endswith("ZeroDivisionError: division by zero")
    assert (await interpreter.run("2", 20)).value == "2"
