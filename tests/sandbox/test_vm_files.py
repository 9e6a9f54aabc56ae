"""What code in a container finds, and what it leaves behind for its owner."""

import random
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
import pytest_asyncio
import trio

from agentkit.errors import ConfigurationError, ToolError
from agentkit.messages import JsonObject, ToolSpec
from agentkit.sandbox import HostTools, Interpreter
from tests.sandbox.test_vm import gvisor


@pytest_asyncio.fixture
async def inside(place: Path) -> AsyncGenerator[Interpreter]:
    """An interpreter in a container that leaves nothing behind."""
    opened = Interpreter(isolation="vm")
    yield opened
    await opened.aclose()


def names_of(files: tuple[object, ...]) -> list[str]:
    return [str(getattr(file, "name", "")) for file in files]


@gvisor
async def test_inputs_are_there_whoever_may_read_them_and_cannot_be_changed(
    place: Path, tmp_path: Path
) -> None:
    table, folder = tmp_path / "a table, of 'mine'.csv", tmp_path / "folder"
    table.write_text("a,b\n1,2\n", encoding="utf-8")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "note").write_text("inner", encoding="utf-8")
    open_to_all = tmp_path / "open"
    open_to_all.write_text("all", encoding="utf-8")
    for path, mode in ((table, 0o600), (folder, 0o700), (open_to_all, 0o666)):
        path.chmod(mode)
    interpreter = Interpreter(isolation="vm", inputs=[table, str(folder), open_to_all])
    try:
        seen = await interpreter.run("import os\nsorted(os.listdir('inputs'))", 20)
        assert seen.value == repr(sorted([table.name, "folder", "open"]))
        assert seen.files == ()
        text = await interpreter.run(f"open('inputs/' + {table.name!r}).read()", 20)
        assert text.value == r"'a,b\n1,2\n'"
        assert (await interpreter.run("open('inputs/folder/deep/note').read()", 20)).value == (
            "'inner'"
        )
        assert await interpreter.read_file("inputs/open") == b"all"
        for code in (
            "open('inputs/open', 'a')",
            "os.truncate('inputs/open', 0)",
            "os.chmod('inputs/open', 0o777)",
            "open('inputs/folder/made', 'w')",
            "open('inputs/made', 'w')",
            "os.unlink('inputs/open')",
            "os.rename('inputs', 'mine')",
            "import shutil\nshutil.rmtree('inputs')",
        ):
            assert "Error" in (await interpreter.run(code, 20)).error, code
        assert interpreter.report is not None
        assert any("inputs, read-only" in phrase for phrase in interpreter.report.enforced)
        assert "permissions to read what is shown" in interpreter.report.not_enforced
    finally:
        await interpreter.aclose()
    assert table.read_text(encoding="utf-8") == "a,b\n1,2\n"
    assert (folder / "deep" / "note").read_text(encoding="utf-8") == "inner"
    assert (open_to_all.read_text(encoding="utf-8"), len(list(folder.iterdir()))) == ("all", 1)


async def test_what_a_container_cannot_have_is_said_before_one_is_started(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "x", tmp_path / "a" / "x"):
        path.touch()
    two = [tmp_path / "x", tmp_path / "a" / "x"]
    for interpreter, words in (
        (Interpreter(isolation="vm", inputs=two), "Two inputs"),
        (Interpreter(isolation="vm", inputs=[tmp_path / "missing"]), "not there"),
        (Interpreter(isolation="vm", network=True), "no network at isolation 'vm'"),
        (Interpreter(isolation="monty", inputs=[tmp_path / "x"]), "pure computation"),
        (Interpreter(isolation="monty", network=True), "pure computation"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            await interpreter.run("1", 20)
        await interpreter.aclose()


@gvisor
async def test_files_that_are_new_or_changed_are_told_and_read_whole(inside: Interpreter) -> None:
    first = await inside.run(
        "import random\nwith open('many', 'wb') as f: f.write(random.Random(7).randbytes(700_001))\n"
        "with open('a b.txt', 'w') as f: f.write('one')\nopen('empty', 'w').close()",
        20,
    )
    assert [(file.name, file.size) for file in first.files] == [
        ("a b.txt", 3),
        ("empty", 0),
        ("many", 700_001),
    ]
    many = random.Random(7).randbytes(700_001)
    assert await inside.read_file("many", 700_001) == many
    assert await inside.read_file("empty") == b""
    with pytest.raises(ToolError, match="'many' is too large: more than 700000 bytes"):
        await inside.read_file("many", 700_000)
    assert (await inside.run("1", 20)).files == ()
    changed = await inside.run("with open('a b.txt', 'a') as f: f.write(', two')", 20)
    assert names_of(changed.files) == ["a b.txt"]
    assert await inside.read_file("a b.txt") == b"one, two"
    await inside.run("import os\nos.mkdir('d')\nopen('d/e', 'w').write('deep')", 20)
    assert await inside.read_file("d/e") == b"deep"


@gvisor
async def test_figures_are_saved_in_a_container_too(inside: Interpreter) -> None:
    pytest.importorskip("matplotlib")
    outcome = await inside.run(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()", 60
    )
    assert (names_of(outcome.files), outcome.error) == (["plot-1-1.png"], "")
    assert "writable" not in outcome.stderr
    assert "non-interactive" not in outcome.stderr
    assert (await inside.read_file("plot-1-1.png")).startswith(b"\x89PNG\r\n")


@gvisor
async def test_what_is_no_file_of_its_own_is_neither_told_nor_read(inside: Interpreter) -> None:
    outcome = await inside.run(
        "import os, socket\n"
        "open('real', 'w').close(); open('.hidden', 'w').close(); os.mkdir('folder')\n"
        "for name in ('new\\nline', '\\x1b[2J', 'over\\u202eride', '\\udcff'):\n"
        "    open(name, 'w').close()\n"
        "os.symlink('/etc/passwd', 'passwd'); os.symlink('/session', 'folder/out')\n"
        "os.symlink('real', 'alias'); os.mkfifo('fifo')\n"
        "open('two', 'w').close(); os.link('two', 'names')\n"
        "socket.socket(socket.AF_UNIX).bind('socket')",
        20,
    )
    assert outcome.error == ""
    assert names_of(outcome.files) == ["real"]
    cannot, irregular = "cannot be read from the interpreter's folder", "no regular file of its own"
    for name, words in (
        ("passwd", cannot),
        ("alias", cannot),
        ("folder/out/real", cannot),
        ("fifo", irregular),
        ("two", irregular),
        ("folder", irregular),
        ("socket", cannot),
        ("missing", cannot),
        ("../etc/passwd", cannot),
        ("/proc/self/environ", cannot),
        ("a\0b", cannot),
        ("", cannot),
    ):
        with anyio.fail_after(5):
            with pytest.raises(ToolError, match=words):
                await inside.read_file(name)
    assert await inside.read_file("real") == b""
    assert not (await inside.run("1", 20)).restarted


@gvisor
async def test_of_very_many_files_two_hundred_are_told(inside: Interpreter) -> None:
    outcome = await inside.run("for n in range(2_000): open('日' * 80 + str(n), 'w').close()", 30)
    assert len(outcome.files) == 200
    assert (await inside.run("1 + 1", 20)).value == "2"


@gvisor
async def test_files_outlive_a_cell_that_is_stopped_or_killed(inside: Interpreter) -> None:
    stopped = await inside.run("open('a', 'w').write('1')\nwhile True: pass", 1)
    assert (stopped.timed_out, names_of(stopped.files)) == (True, ["a"])
    killed = await inside.run("open('b', 'w').write('2')\nimport os\nos._exit(3)", 20)
    assert (killed.killed_by, names_of(killed.files)) == ("exit 3", ["b"])
    assert await inside.read_file("a") == b"1"


@gvisor
async def test_files_are_gone_with_their_container(inside: Interpreter) -> None:
    with pytest.raises(ToolError, match="not running"):
        await inside.read_file("a")
    await inside.run("open('a', 'w').write('1')", 20)
    gone = await inside.run("import os, time\nos.kill(1, 9)\ntime.sleep(20)", 20)
    assert (gone.killed_by, gone.files) == ("exit", ())
    with pytest.raises(ToolError, match="not running"):
        await inside.read_file("a")
    again = await inside.run("open('a', 'w').write('1')", 20)
    assert names_of(again.files) == ["a"]


@gvisor
async def test_a_file_is_read_while_threads_of_the_code_change_it(inside: Interpreter) -> None:
    code = (
        "import os, threading\n"
        "def swap():\n"
        "    while True:\n"
        "        for make in (lambda: os.symlink('/proc/1/environ', 't'), lambda: os.mkfifo('t'),\n"
        "                     lambda: open('t', 'w').write('text')):\n"
        "            make(); os.replace('t', 'target')\n"
        "threading.Thread(target=swap, daemon=True).start()"
    )
    await inside.run(code, 20)
    read: set[bytes] = set()
    for _ in range(50):
        with anyio.fail_after(5), suppress(ToolError):
            read.add(await inside.read_file("target"))
    assert read <= {b"text", b""}
    assert (await inside.run("1 + 1", 20)).value == "2"


@gvisor
@pytest.mark.parametrize(
    "frame",
    [
        "{'id': 1, 'files': [['x' * 9, 1, 1]] * 100_000}",
        "{'read': 0, 'data': ''}",
        "{'id': 1, 'call': 'x', 'name': '', 'arguments': {}}",
        "{'id': 1, 'call': 1, 'name': 'x', 'arguments': {}}",
    ],
)
async def test_code_that_speaks_for_its_keeper_is_ended(inside: Interpreter, frame: str) -> None:
    code = (
        f"import json, os, struct, time\nbody = json.dumps({frame}).encode()\n"
        "os.write(200, struct.pack('>I', len(body)) + body)\ntime.sleep(20)"
    )
    outcome = await inside.run(code, 20)
    assert (outcome.killed_by, outcome.files) == ("protocol", ())
    assert (await inside.run("1 + 1", 20)).value == "2"


@gvisor
async def test_what_code_adds_to_its_answer_is_not_handed_on(inside: Interpreter) -> None:
    code = (
        "import json, os, struct, time\nopen('real', 'w').close()\n"
        "body = json.dumps({'id': 1, 'value': 'v', 'files': [['/etc/passwd', 1, 1]]}).encode()\n"
        "os.write(200, struct.pack('>I', len(body)) + body)\ntime.sleep(0.3)"
    )
    outcome = await inside.run(code, 20)
    assert (outcome.value, names_of(outcome.files)) == ("v", ["real"])


@gvisor
def test_files_are_read_and_tools_called_on_trio_too(place: Path) -> None:
    async def answer(name: str, arguments: JsonObject) -> str:
        return f"{name} {arguments['n']}"

    async def main() -> None:
        inside = Interpreter(isolation="vm")
        tools = HostTools(specs=(ToolSpec("tell", "", {"properties": {"n": {}}}),), call=answer)
        code = "with open('a', 'w') as f: f.write(tell(n=7))"
        assert names_of((await inside.run(code, 20, tools)).files) == ["a"]
        assert await inside.read_file("a") == b"tell 7"
        await inside.aclose()

    trio.run(main)
