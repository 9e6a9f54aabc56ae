"""A container that answers what no container of ours would: nothing of it is believed."""

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agentkit.errors import ToolError
from agentkit.sandbox import _vm_files
from agentkit.sandbox._vm import VmInterpreter

LIAR = """\
#!{python} -IS
import base64, json, os, struct, sys, time
def exactly(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data
def take():
    return json.loads(exactly(struct.unpack(">I", exactly(4))[0]))
def write(data):
    while data:
        data = data[os.write(1, data) :]
def give(**frame):
    body = json.dumps(frame).encode()
    write(struct.pack(">I", len(body)) + body)
if sys.argv[1] != "run":
    print("27.0")
    sys.exit()
take()
give(ready=True)
while frame := take():
    if "code" in frame:
        give(id=frame["id"], value="1", files={files})
    elif "read" in frame:
        {lie}
"""
"""A docker that runs nothing: it says what the test wants it to say."""

Open = Callable[..., VmInterpreter]


@pytest.fixture
def liar(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens an interpreter whose container lies about files, or when it is asked for one."""

    def opened(files: str = "[]", lie: str = "pass") -> VmInterpreter:
        program = tmp_path / "docker"
        program.write_text(
            LIAR.format(python=sys.executable, files=files, lie=lie), encoding="utf-8"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return VmInterpreter(backend="docker")

    return opened


@pytest.mark.parametrize(
    "files",
    [
        "[[str(n), 1, 1] for n in range(100_000)]",
        "[[str(n), 1, 1] for n in range(201)]",
        "[['../../etc/passwd', 1, 1]]",
        "[['/etc/passwd', 1, 1]]",
        "[['a/b', 1, 1]]",
        "[['..', 1, 1]]",
        "[['.hidden', 1, 1]]",
        "[['', 1, 1]]",
        "[['x' * 256, 1, 1]]",
        "[['\\u65e5' * 86, 1, 1]]",
        "[[1, 1, 1]]",
        "[['a', -1, 1]]",
        "[['a', True, 1]]",
        "[['a', 1.5, 1]]",
        "[['a', '1', 1]]",
        "[['a', 1 << 70, 1]]",
        "[['a', 1, None]]",
        "[['a', 1]]",
        "[['a', 1, 1, 1]]",
        "['abc']",
        "[None]",
        "{'a': [1, 1]}",
        "'abc'",
        "None",
        "7",
    ],
)
async def test_a_listing_that_is_none_ends_the_container(liar: Open, files: str) -> None:
    vm = liar(files)
    outcome = await vm.run("1", 20)
    assert (outcome.killed_by, outcome.restarted) == ("protocol", True)
    assert (outcome.value, outcome.files) == (None, ())
    await vm.aclose()


async def test_names_that_cannot_be_shown_are_left_out(liar: Open) -> None:
    names = ["a\nb", "\x1b[2J", "\u202egnp.exe", "\ud800", "\0", "fine.png"]
    vm = liar(f"[[name, 5, 1] for name in {names!r}]")
    outcome = await vm.run("1", 20)
    assert [(file.name, file.size) for file in outcome.files] == [("fine.png", 5)]
    await vm.aclose()


@pytest.mark.parametrize("reason", ["memory", "disk"])
async def test_files_that_go_with_a_full_container_are_not_told(liar: Open, reason: str) -> None:
    vm = liar(f"[['a', 1, 1]], killed_by={reason!r}")
    for _ in range(2):  # each in a container of its own
        outcome = await vm.run("1", 20)
        assert (outcome.killed_by, outcome.restarted, outcome.files) == (reason, True, ())
        with pytest.raises(ToolError, match="not running"):
            await vm.read_file("a", 100)
    await vm.aclose()


@pytest.mark.parametrize(
    "lie",
    [
        "give(read=0, data=base64.b64encode(bytes(102)).decode())",  # more than was asked for
        "give(read=0, data='A' * 10_000_000)",
        "write(b'\\xff' * 1000)",
        "write(struct.pack('>I', 3) + b'[1]')",
        "give(read=1, data='AAAA')",  # another piece, or another file
        "give(read=None, data='AAAA')",
        "give(read=[0], data='AAAA')",
        "give(id=1, data='AAAA')",
        "give(data='AAAA')",
        "give(read=0)",
        "give(read=0, data='AAAA', more=1)",
        "give(read=0, data='AAAA', error='both')",
        "give(read=0, data=None)",
        "give(read=0, data=7)",
        "give(read=0, data=['AAAA'])",
        "give(read=0, data='not base64!')",
        "give(read=0, data='AAA')",
        "give(read=0, data='AA==AA==')",
        "give(read=0, data='\\u65e5')",
        "give(read=0, data='\\ud800')",
        "give(read=0, error=7)",
        "give(read=0, irregular='yes')",
        "give(read=0, path='/etc/passwd')",
        "give(id=1, call=1, name='fetch', arguments={})",
        "os._exit(0)",
    ],
)
async def test_a_piece_that_is_none_ends_the_container_and_the_next_cell_says_so(
    liar: Open, lie: str
) -> None:
    vm = liar("[['a', 100, 1]]", lie)
    await vm.run("1", 20)
    with pytest.raises(ToolError, match=r"'a' cannot be read: .* did not answer as it should"):
        await vm.read_file("a", 100)
    outcome = await vm.run("1", 20)
    assert (outcome.restarted, outcome.killed_by, len(outcome.files)) == (True, "", 1)
    await vm.aclose()


@pytest.mark.parametrize(
    "lie",
    [
        "pass",
        "write(struct.pack('>I', 1000) + b'{')",
        "os.close(1)\n        os.open('/dev/null', 1)",
    ],
)
async def test_a_piece_that_does_not_come_is_not_waited_for(
    liar: Open, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_vm_files, "PIECE_SECONDS", 0.2)
    vm = liar(lie=lie)
    await vm.run("1", 20)
    with anyio.fail_after(4), pytest.raises(ToolError, match="did not answer as it should"):
        await vm.read_file("a", 100)
    assert (await vm.run("1", 20)).restarted
    await vm.aclose()


async def test_a_file_that_comes_drop_by_drop_has_an_end(
    liar: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_vm_files, "PIECE_BYTES", 3)
    monkeypatch.setattr(_vm_files, "READ_SECONDS", 0.5)
    vm = liar(lie="time.sleep(0.1); give(read=frame['start'], data='AAAA')")
    await vm.run("1", 20)
    with anyio.fail_after(4), pytest.raises(ToolError, match="did not answer as it should"):
        await vm.read_file("a", 1_000)
    await vm.aclose()


async def test_a_file_without_an_end_is_too_large(liar: Open) -> None:
    full = "give(read=frame['start'], data=base64.b64encode(bytes(frame['most'])).decode())"
    vm = liar(lie=full)
    await vm.run("1", 20)
    with pytest.raises(ToolError, match="'a' is too large: more than 1000000 bytes"):
        await vm.read_file("a", 1_000_000)
    assert not (await vm.run("1", 20)).restarted
    await vm.aclose()


async def test_reasons_from_in_there_are_cut_and_cleaned(liar: Open) -> None:
    vm = liar(lie="give(read=0, error='\\x1b[2Jno\\u202e' + 'x' * 10_000)")
    await vm.run("1", 20)
    with pytest.raises(ToolError, match="'a' cannot be read from the interpreter's") as caught:
        await vm.read_file("a", 100)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    await vm.aclose()


async def test_a_reader_who_is_cancelled_leaves_no_answer_for_the_next_cell(liar: Open) -> None:
    vm = liar(lie="time.sleep(0.3); give(read=frame['start'], data='')")
    await vm.run("1", 20)
    with anyio.move_on_after(0.1) as scope:
        await vm.read_file("a", 100)
    assert scope.cancelled_caught
    outcome = await vm.run("1", 20)
    assert (outcome.value, outcome.restarted) == ("1", False)
    assert await vm.read_file("a", 100) == b""
    await vm.aclose()


async def test_closing_ends_a_read_that_is_under_way(liar: Open) -> None:
    vm = liar()
    await vm.run("1", 20)
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(ToolError, match="did not answer"):
                await vm.read_file("a", 100)

        tasks.start_soon(read)
        await anyio.sleep(0.1)
        with anyio.fail_after(2):
            await vm.aclose()
