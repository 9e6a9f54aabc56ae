"""What code in a container is shown of this machine as its inputs."""

from pathlib import Path

import pytest

from agentkit.sandbox import Interpreter
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
