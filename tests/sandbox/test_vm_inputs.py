"""What code in a container is shown of this machine as its inputs, and what cannot be shown."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentkit.errors import ConfigurationError, ToolError
from agentkit.sandbox import Interpreter
from agentkit.sandbox._inputs import MOST_INPUTS
from agentkit.sandbox._vm import VmInterpreter
from agentkit.sandbox._vm_inputs import check_open_files
from tests.sandbox.test_vm import gvisor

LOOK = """\
import os
from pathlib import Path
def entries(folder):
    return sorted((e.name, e.is_file(), e.is_dir(), e.is_symlink()) for e in os.scandir(folder))
walked = sorted((top, sorted(names), sorted(files)) for top, names, files in os.walk('inputs'))
seen = sorted(str(p) for p in Path('inputs').rglob('*') if p.is_file())
entries('inputs'), walked, seen
"""
ADD = """\
import os
from pathlib import Path
inputs, failed = Path('inputs'), 0
for add in (
    lambda: (inputs / 'new').touch(),
    lambda: (inputs / 'new').mkdir(),
    lambda: os.symlink('/session', 'inputs/new'),
    lambda: os.link('inputs/file', 'inputs/new'),
    lambda: os.rename('inputs/file', 'inputs/new'),
    lambda: os.remove('inputs/file'),
    lambda: os.rmdir('inputs/folder'),
    lambda: open('inputs/file', 'a'),
    lambda: (inputs / 'folder' / 'new').touch(),
    lambda: os.chmod('inputs', 0o777),
    lambda: os.rename('inputs', 'elsewhere'),
):
    try:
        add()
    except OSError:
        failed += 1
failed, sorted(os.listdir('inputs'))
"""


@pytest.fixture(name="shown")
def inputs_of_both_kinds(tmp_path: Path) -> list[Path]:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("text", encoding="utf-8")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "note").touch()
    return [file, folder]


@gvisor
async def test_a_file_looks_like_a_file_and_a_folder_like_a_folder(
    place: Path, shown: list[Path]
) -> None:
    inside = Interpreter(isolation="vm", inputs=shown)
    try:
        outcome = await inside.run(LOOK, 20)
        assert (outcome.error, outcome.files) == ("", ())
        entries = [("file", True, False, False), ("folder", False, True, False)]
        walked: list[tuple[str, list[str], list[str]]] = [
            ("inputs", ["folder"], ["file"]),
            ("inputs/folder", ["deep"], []),
            ("inputs/folder/deep", [], ["note"]),
        ]
        seen = ["inputs/file", "inputs/folder/deep/note"]
        assert outcome.value == repr((entries, walked, seen))
    finally:
        await inside.aclose()


@gvisor
async def test_nothing_is_added_to_inputs_and_nothing_taken_away(
    place: Path, shown: list[Path]
) -> None:
    inside = Interpreter(isolation="vm", inputs=shown)
    try:
        assert (await inside.run(ADD, 20)).value == "(11, ['file', 'folder'])"
    finally:
        await inside.aclose()
    assert shown[0].read_text(encoding="utf-8") == "text"


@gvisor
async def test_as_many_inputs_as_are_allowed_are_shown(place: Path, tmp_path: Path) -> None:
    many = [tmp_path / str(number) for number in range(MOST_INPUTS)]
    for path in many:
        path.write_text(path.name, encoding="utf-8")
    inside = Interpreter(isolation="vm", inputs=many)
    try:
        code = (
            "import os\nall(open(f'inputs/{name}').read() == name for name in os.listdir('inputs'))"
        )
        assert (await inside.run(f"{code}, len(os.listdir('inputs'))", 20)).value == "(True, 100)"
    finally:
        await inside.aclose()


def test_fewer_inputs_are_shown_where_few_files_may_be_open() -> None:
    inputs = {str(number): f"/home/me/{number}" for number in range(80)}
    check_open_files(inputs, 0)
    check_open_files(inputs, 1_700)
    with pytest.raises(ToolError, match=r"cannot show 80 inputs .* 1024 files open: give one fold"):
        check_open_files(inputs, 1_024)


def _no_utf8(folder: Path) -> Path:
    path = folder / os.fsdecode(b"caf\xe9.csv")
    path.touch()
    return path


def _in_no_utf8(folder: Path) -> Path:
    inner = folder / os.fsdecode(b"caf\xe9")
    inner.mkdir()
    (inner / "file").touch()
    return inner / "file"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_no_utf8, r"caf\\udce9\.csv' cannot be shown .* its path is not UTF-8"),
        (_in_no_utf8, r"caf\\udce9/file' cannot be shown .* its path is not UTF-8"),
        (_pipe, "pipe' cannot be shown .* it is neither a file nor a folder"),
        (Path("/dev/null"), "'/dev/null' cannot .* neither a file nor a folder"),
        (Path("/proc/version"), "'/proc/version' cannot be .* made by the kernel"),
        (Path("/proc"), "'/proc' cannot be .* made by the kernel"),
    ],
)
async def test_an_input_that_no_container_can_show_is_refused(
    make: Path | Callable[[Path], Path], why: str, tmp_path: Path
) -> None:
    path = make if isinstance(make, Path) else make(tmp_path)
    inside = Interpreter(isolation="vm", inputs=[path])
    with pytest.raises(ConfigurationError, match=why) as caught:
        await inside.run("1", 20)
    assert caught.value.hint
    await inside.aclose()


async def test_an_input_that_has_gone_is_told() -> None:
    vm = VmInterpreter(inputs={"x": "/nowhere/x"})
    with pytest.raises(ConfigurationError, match=r"'/nowhere/x' cannot be .* No such file"):
        await vm.run("1", 20)
    await vm.aclose()
