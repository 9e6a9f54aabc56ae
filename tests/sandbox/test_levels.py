"""Levels of isolation: found out by trying, never lowered in silence, and told."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import anyio
import pytest
import pytest_asyncio

from agentkit.errors import ConfigurationError, SandboxUnavailableError, ToolError
from agentkit.sandbox import (
    LEVELS,
    Interpreter,
    Level,
    Spares,
    WorkerLimits,
    _probe,
    probe,
)
from tests.sandbox.hostile import DAEMON
from tests.sandbox.test_hostile_code import wait_ended
from tests.sandbox.test_vm import gvisor


@pytest_asyncio.fixture(params=LEVELS)
async def held(request: pytest.FixtureRequest, place: Path) -> AsyncGenerator[Interpreter]:
    """An interpreter at each level that this machine offers."""
    level: Level = request.param
    if why := (await probe((level,))).reasons.get(level):
        pytest.skip(f"level {level} does not hold here: {why}")
    opened = Interpreter(isolation=level)
    yield opened
    await opened.aclose()


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing was found out before."""
    monkeypatch.setattr(_probe, "_known", {})
    monkeypatch.setattr(_probe, "user_cache_path", lambda _name: tmp_path / "cache")  # pyright: ignore[reportUnknownLambdaType,reportUnknownArgumentType]


async def test_a_session_says_its_level_and_what_that_does_not_hold(held: Interpreter) -> None:
    await held.run("1", 20)
    report = held.report
    assert report is not None
    assert report.level in LEVELS
    assert any("kernel" in gap for gap in report.not_enforced)
    assert any("network" in gap for gap in report.not_enforced) == (report.level == "process")


@pytest.mark.usefixtures("nothing_known", "place")
async def test_without_bubblewrap_the_next_level_is_taken_and_the_reason_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_probe, "find_bubblewrap", lambda: "")
    found = await probe()
    assert found.reasons["namespaced"] == "bubblewrap is not installed"
    assert found.highest("process") in {"confined", "process"}


@pytest.mark.usefixtures("nothing_known", "place")
async def test_a_bubblewrap_that_cannot_start_is_told_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    broken.chmod(0o755)
    monkeypatch.setattr(_probe, "find_bubblewrap", lambda: str(broken))
    interpreter = Interpreter(isolation="namespaced")
    with pytest.raises(SandboxUnavailableError, match="setting up uid map: Permission denied"):
        await interpreter.run("1", 20)
    await interpreter.aclose()


@pytest.mark.usefixtures("nothing_known", "place")
async def test_code_that_gets_out_of_a_level_is_why_the_level_does_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed")
    monkeypatch.setattr(_probe, "_ATTEMPTS", "['reads files outside its folder']")
    found = await probe(("namespaced",))
    assert "reads files outside its folder" in found.reasons["namespaced"]
    with pytest.raises(SandboxUnavailableError) as caught:
        await Interpreter(minimum="confined").run("1", 20)
    assert "does not hold on this machine" in str(caught.value)
    assert "Install bubblewrap" in caught.value.hint
    assert "AGENTKIT_CODE_MINIMUM=process" in caught.value.hint


@pytest.mark.usefixtures("nothing_known", "place")
async def test_what_holds_is_known_to_the_next_process_and_what_does_not_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_probe, "find_bubblewrap", lambda: "")
    level = (await probe()).highest("process")
    kept = (tmp_path / "cache" / "sandbox.json").read_text(encoding="utf-8")
    assert f'"{level}": ""' in kept
    assert "namespaced" not in kept
    monkeypatch.setattr(_probe, "_known", {})

    async def never(*_: object) -> str:
        raise AssertionError("it was tried once more")

    monkeypatch.setattr(_probe, "why_not", never)
    assert level is not None
    assert (await probe((level,))).highest("process") == level


async def test_inputs_are_there_and_cannot_be_changed(held: Interpreter, tmp_path: Path) -> None:
    level = held._isolation
    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n", encoding="utf-8")
    interpreter = Interpreter(isolation=level, inputs=[data])
    try:
        assert (
            await interpreter.run("open('inputs/data.csv').read()", 20)
        ).value == r"'a,b\n1,2\n'"
        if level != "process":
            outcome = await interpreter.run("open('inputs/data.csv', 'a').write('x')", 20)
            assert "Error" in outcome.error
        assert data.read_text(encoding="utf-8") == "a,b\n1,2\n"
    finally:
        await interpreter.aclose()


async def test_what_sessions_import_is_compiled_when_a_level_is_tried(
    nothing_known: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    shutil.copytree(_probe._CODE, code, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(_probe, "_CODE", code)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    await probe(("process",))
    names = {path.name.partition(".")[0] for path in (code / "__pycache__").iterdir()}
    assert {"_janitor", "_worker", "_tool_stubs", "_confine"} <= names


@pytest.fixture(name="many")
def many_files(tmp_path: Path) -> Path:
    """A folder that holds more than `FEW` allows."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        (folder / str(number)).write_bytes(bytes(60_000))
    return folder


FEW = WorkerLimits(folder_files=50, folder_bytes=1 << 20)
LOOK_AT_MANY = "import os, time\ntime.sleep(0.7)\nlen(os.listdir('inputs/many'))"


async def test_inputs_do_not_count_as_what_the_code_has_made(held: Interpreter, many: Path) -> None:
    interpreter = Interpreter(FEW, isolation=held._isolation, inputs=[many])
    try:
        outcome = await interpreter.run(LOOK_AT_MANY, 20)
        assert (outcome.value, outcome.killed_by) == ("60", "")
        full = "for n in range(80): open(f'{n}', 'w').close()\ntime.sleep(20)"
        assert (await interpreter.run(full, 20)).killed_by == "disk"
    finally:
        await interpreter.aclose()


@gvisor
async def test_inputs_of_a_container_do_not_count_as_what_the_code_has_made(many: Path) -> None:
    interpreter = Interpreter(FEW, isolation="vm", inputs=[many])
    try:
        outcome = await interpreter.run(LOOK_AT_MANY, 20)
        assert (outcome.value, outcome.killed_by) == ("60", "")
    finally:
        await interpreter.aclose()


async def test_two_inputs_of_one_name_and_one_that_is_missing_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for place in (tmp_path / "x", tmp_path / "a" / "x"):
        place.touch()
    with pytest.raises(ConfigurationError, match="Two inputs"):
        await Interpreter(inputs=[tmp_path / "x", tmp_path / "a" / "x"]).run("1", 20)
    with pytest.raises(ConfigurationError, match="not there"):
        await Interpreter(inputs=[tmp_path / "missing"]).run("1", 20)


async def test_figures_are_saved_and_files_are_named_and_read(held: Interpreter) -> None:
    pytest.importorskip("matplotlib")
    outcome = await held.run(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()\n"
        "open('table.csv', 'w').write('a,b')",
        60,
    )
    assert [file.name for file in outcome.files] == ["plot-1-1.png", "table.csv"]
    assert "non-interactive" not in outcome.stderr
    assert (await held.read_file("plot-1-1.png")).startswith(b"\x89PNG\r\n")
    assert (await held.run("1", 20)).files == ()
    with pytest.raises(ToolError, match="too large"):
        await held.read_file("table.csv", 2)


async def test_nobody_else_is_in_a_namespace_and_all_of_it_ends_with_it(place: Path) -> None:
    if (await probe(("namespaced",))).reasons.get("namespaced"):
        pytest.skip("level namespaced does not hold here")
    interpreter = Interpreter(isolation="namespaced")
    assert (await interpreter.run("import os; (os.getppid(), os.getpid() < 10)", 20)).value == (
        "(1, True)"
    )
    await interpreter.aclose()


async def test_nothing_survives_a_host_that_is_killed_at_any_level(
    held: Interpreter, place: Path, tmp_path: Path, processes_in: Callable[[Path], set[int]]
) -> None:
    host = tmp_path / "host.py"
    host.write_text(
        "import anyio, tempfile\nfrom agentkit.sandbox import Interpreter\n"
        f"tempfile.tempdir = {str(place)!r}\n"
        "async def main():\n"
        f"    interpreter = Interpreter(isolation={held._isolation!r})\n"
        f"    print((await interpreter.run({DAEMON!r}, 60)).error or 'up', flush=True)\n"
        "    await interpreter.run('while True: pass', 600)\n"
        "anyio.run(main)\n",
        encoding="utf-8",
    )
    async with await anyio.open_process(
        [sys.executable, str(host)], stdin=subprocess.DEVNULL, stderr=None
    ) as process:
        assert process.stdout is not None
        assert (await process.stdout.receive()).startswith(b"up")
        left = processes_in(place)
        assert len(left) >= 3  # the janitor, the worker and the daemon
        process.kill()
    with anyio.fail_after(20):
        for pid in left:
            await wait_ended(pid)
    assert processes_in(place) == set()


async def test_a_spare_is_taken_once_and_another_is_started(place: Path) -> None:
    async with Spares.open(modules=("json",)) as spares:
        pids: list[str] = []
        for _ in range(3):
            interpreter = Interpreter(isolation="process", minimum="process", spares=spares)
            outcome = await interpreter.run("import os; os.getpid(), 'x' in globals()", 20)
            await interpreter.run("x = 1", 20)
            pids.append(outcome.value or "")
            await interpreter.aclose()
            with anyio.fail_after(20):
                while spares._spare is None:  # noqa: ASYNC110 - it offers no event
                    await anyio.sleep(0.01)
        assert len(set(pids)) == 3
        assert all("False" in pid for pid in pids)
        other = Interpreter(WorkerLimits(open_files=64), isolation="process", spares=spares)
        await other.run("1", 20)
        await other.aclose()


async def test_a_spare_that_cannot_start_is_no_trouble_of_who_asks(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.sandbox._spares.Session.start", _fails)
    async with Spares.open() as spares:
        interpreter = Interpreter(isolation="process", spares=spares)
        assert (await interpreter.run("6 * 7", 20)).value == "42"
        await interpreter.aclose()


async def _fails(*_: object) -> None:
    raise ToolError("no room")


PLAIN = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
PYTHON = "/usr/bin/python3"


@pytest.fixture(name="surroundings")
def surroundings_of_a_plain_user() -> Iterator[dict[str, str]]:
    """The environment in which another user can run these tests, where there is one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    packages = Path(sys.prefix) / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    ours = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(prefix="agentkit-plain-", dir="/tmp") as shared:
        Path(shared).chmod(0o777)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": shared,
            "TMPDIR": shared,
            "PYTHONPATH": os.pathsep.join(map(str, (ours, ours / "tools", packages))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MONTY_BIN": str(Path(sys.prefix) / "bin" / "monty"),
        }
        needs = f"import sys, agentkit.sandbox, pytest; sys.exit(sys.version_info[1] != {sys.version_info[1]})"
        try:
            subprocess.run(
                [*PLAIN, PYTHON, "-c", needs],
                env=environment,
                cwd="/",
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a plain user cannot use this checkout: {error}")
        yield environment


@pytest.mark.timeout(300)
async def test_all_of_it_holds_for_a_plain_user_as_well(surroundings: dict[str, str]) -> None:
    done = await anyio.run_process(
        [
            *(*PLAIN, PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60"),
            *("--basetemp", f"{surroundings['TMPDIR']}/t"),
            str(Path(__file__).with_name("test_hostile_programs.py")),
        ],
        env=surroundings,
        cwd=Path(__file__).parents[2],
        check=False,
        stderr=subprocess.STDOUT,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said[-4000:]
    assert " passed" in said
