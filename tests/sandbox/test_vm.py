"""Sessions in gVisor, for real where it is installed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
import pytest_asyncio
import trio

from agentkit.errors import ToolError
from agentkit.sandbox import Outcome, WorkerLimits, _vm_backends
from agentkit.sandbox._vm import VmInterpreter
from tests.sandbox.hostile import IN_FILES, IN_PIPES

gvisor = pytest.mark.usefixtures("gvisor")


@pytest_asyncio.fixture
async def vm() -> AsyncGenerator[VmInterpreter]:
    opened = VmInterpreter(backend="runsc")
    yield opened
    await opened.aclose()


@gvisor
async def test_values_output_and_errors_are_those_of_every_level(vm: VmInterpreter) -> None:
    outcome = await vm.run(
        "import os, sys\nprint('one')\nos.write(1, b'two\\n')\nx = 41\nx + 1", 20
    )
    assert (outcome.stdout, outcome.value, outcome.restarted) == ("one\ntwo\n", "42", False)
    assert (await vm.run("print('e', file=sys.stderr)", 20)).stderr == "e\n"
    assert (await vm.run("y = x", 20)).name == "y"
    error = (await vm.run("def f():\n    return 1 / 0\nf()", 20)).error
    assert "return 1 / 0" in error
    assert error.endswith("ZeroDivisionError: division by zero")
    assert "_vm_worker" not in error


@gvisor
async def test_installed_packages_can_be_imported(vm: VmInterpreter) -> None:
    pytest.importorskip("numpy", reason="the extra 'code' is not installed")
    outcome = await vm.run("import numpy\nint(numpy.arange(4).sum())", 30)
    assert (outcome.value, outcome.error) == ("6", "")


@gvisor
async def test_nothing_of_the_machine_is_within_reach(
    vm: VmInterpreter, secret: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(secret, encoding="utf-8")
    path = str(tmp_path / "secret")
    for code, kind in (
        (f"open({path!r}).read()", "FileNotFoundError"),
        ("open('/etc/passwd').read()", "FileNotFoundError"),
        ("open('/made', 'w')", "PermissionError"),
        ("import sys\nopen(sys.base_prefix + '/made', 'w')", "PermissionError"),
        ("import os\nos.environ['SECRET_TOKEN']", "KeyError"),
        (f"os.kill({os.getpid()}, 0)", "ProcessLookupError"),
        (
            "import socket\nsocket.create_connection(('169.254.169.254', 80), 1)",
            "OSError",
        ),
        ("socket.getaddrinfo('example.com', 80)", "gaierror"),
    ):
        assert kind in (await vm.run(code, 20)).error
    seen = await vm.run("os.getuid(), sorted(os.listdir('/session')), dict(os.environ)", 20)
    assert seen.value is not None
    assert seen.value.startswith("(65534, [], {")
    assert secret not in seen.value


@gvisor
async def test_no_listener_of_the_machine_hears_of_it(vm: VmInterpreter) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
        assert "ConnectionRefusedError" in (await vm.run(code, 20)).error


@gvisor
async def test_a_cell_that_does_not_end_is_interrupted_and_variables_stay(
    vm: VmInterpreter,
) -> None:
    await vm.run("x = 41", 20)
    for code in ("while True: pass", "import time\ntime.sleep(60)"):
        outcome = await vm.run(f"print('begun')\n{code}", 0.5)
        assert (outcome.timed_out, outcome.restarted, outcome.killed_by) == (True, False, "")
        assert outcome.stdout == "begun\n"
    assert (await vm.run("x + 1", 20)).value == "42"


@gvisor
@pytest.mark.parametrize(
    "code",
    [
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "sum(range(10**11))",
    ],
)
async def test_a_cell_that_cannot_be_interrupted_is_killed_and_its_output_kept(
    code: str, vm: VmInterpreter
) -> None:
    await vm.run("x = 41", 20)
    outcome = await vm.run(f"print('begun')\n{code}", 0.5)
    assert (outcome.timed_out, outcome.restarted, outcome.killed_by) == (True, True, "time")
    assert outcome.stdout == "begun\n"
    after = await vm.run("x", 20)
    assert "NameError" in after.error
    assert not after.restarted


@gvisor
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nos._exit(3)", "exit 3"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os\nos.write(200, b'\\xff' * 64)\nimport time\ntime.sleep(20)", "protocol"),
        ("import os\nos.kill(1, 9)\nimport time\ntime.sleep(20)", "exit"),
        (
            "import os, time\nfor _ in range(300):\n    if not os.fork(): time.sleep(60)\ntime.sleep(60)",
            "processes",
        ),
    ],
)
async def test_what_ends_the_interpreter_is_named_and_the_next_cell_runs(
    code: str, reason: str, vm: VmInterpreter
) -> None:
    outcome = await vm.run(code, 20)
    assert (outcome.killed_by, outcome.restarted, outcome.timed_out) == (reason, True, False)
    assert (await vm.run("1 + 1", 20)).value == "2"


@gvisor
async def test_memory_is_limited_for_each_process_and_for_all_together() -> None:
    vm = VmInterpreter(WorkerLimits(memory_bytes=256 << 20), backend="runsc")
    try:
        assert "MemoryError" in (await vm.run("b = bytearray(1 << 30)", 20)).error
        outcome = await vm.run(
            "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n"
            "        b = bytearray(b'x') * (150 << 20)\n        time.sleep(60)\ntime.sleep(60)",
            30,
        )
        assert outcome.killed_by == "memory"
        assert (await vm.run("1 + 1", 20)).value == "2"
    finally:
        await vm.aclose()


@gvisor
@pytest.mark.parametrize("code", [IN_FILES, IN_PIPES], ids=["files", "pipes"])
async def test_memory_that_no_process_holds_counts_and_does_not_stay(code: str) -> None:
    vm = VmInterpreter(WorkerLimits(memory_bytes=256 << 20, file_bytes=8 << 20), backend="runsc")
    try:
        outcome = await vm.run(f"{code}\nimport time\ntime.sleep(60)", 30)
        assert (outcome.killed_by, outcome.restarted) == ("memory", True)
        assert (await vm.run("1 + 1", 20)).value == "2"
    finally:
        await vm.aclose()


@gvisor
async def test_too_many_files_end_the_cell() -> None:
    vm = VmInterpreter(WorkerLimits(folder_files=500), backend="runsc")
    try:
        await vm.run("for n in range(400): open(str(n), 'w').close()", 20)
        fill = "import os, time\nfor n in range(200): os.mkdir(f'/tmp/{n}')\ntime.sleep(60)"
        full = await vm.run(fill, 30)
        assert (full.killed_by, full.files) == ("disk", ())
        left = "import os\nos.listdir(), [name for name in os.listdir('/tmp') if name.isdigit()]"
        assert (await vm.run(left, 20)).value == "([], [])"  # what is mounted there stays
    finally:
        await vm.aclose()


@gvisor
async def test_what_a_cell_has_left_running_is_held_between_cells() -> None:
    vm = VmInterpreter(WorkerLimits(memory_bytes=256 << 20), backend="runsc")
    try:
        forks = (
            "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        time.sleep(0.3)\n"
            "        held = bytearray(b'x') * (150 << 20)\n        time.sleep(60)"
        )
        assert not (await vm.run(forks, 20)).killed_by
        await anyio.sleep(2)  # nobody asks it anything meanwhile
        outcome = await vm.run("1 + 1", 20)
        assert (outcome.value, outcome.killed_by, outcome.restarted) == ("2", "", True)
    finally:
        await vm.aclose()


@gvisor
async def test_its_folder_is_writable_and_limited() -> None:
    vm = VmInterpreter(WorkerLimits(file_bytes=8 << 20), backend="runsc")
    try:
        outcome = await vm.run("open('a', 'w').write('hello')\nopen('/session/a').read()", 20)
        assert outcome.value == "'hello'"
        fill = (
            "for n in range(10):\n    with open(f'f{n}', 'wb') as f:\n"
            "        f.write(b'x' * (4 << 20))"
        )
        assert "No space left" in (await vm.run(fill, 20)).error
        assert (
            "File too large"
            in (await vm.run("open('/tmp/b', 'wb').write(bytes(9 << 20))", 20)).error
        )
    finally:
        await vm.aclose()


@gvisor
async def test_a_flood_of_output_is_cut_and_ends_the_cell() -> None:
    vm = VmInterpreter(WorkerLimits(output_bytes=1 << 20), backend="runsc")
    try:
        outcome = await vm.run("x = 1\nwhile True: print('x' * 1000)", 20)
        assert outcome.error == "Stopped: it printed more than 1048576 bytes."
        assert len(outcome.stdout) < 13_000
        assert "bytes left out" in outcome.stdout
        assert (await vm.run("x", 20)).value == "1"
    finally:
        await vm.aclose()


@gvisor
async def test_a_child_that_dies_between_two_cells_is_told_by_the_next(vm: VmInterpreter) -> None:
    await vm.run("import os, threading\nthreading.Timer(0.1, os._exit, [3]).start()\nx = 1", 20)
    await anyio.sleep(0.5)
    outcome = await vm.run("1 + 1", 20)
    assert (outcome.value, outcome.restarted, outcome.killed_by) == ("2", True, "")
    assert not (await vm.run("1", 20)).restarted


@gvisor
async def test_a_cancelled_cell_is_interrupted_and_the_session_goes_on(vm: VmInterpreter) -> None:
    await vm.run("x = 41", 20)
    with anyio.move_on_after(0.3) as scope:
        await vm.run("while True: pass", 20)
    assert scope.cancelled_caught
    assert (await vm.run("x + 1", 20)).value == "42"


@gvisor
async def test_a_cell_without_any_time_is_stopped_however_long_it_is(vm: VmInterpreter) -> None:
    await vm.run("x = 41", 20)
    long = f"text = {'y' * 500_000!r}\nwhile True: pass"
    outcome = await vm.run(long, 0)
    assert (outcome.timed_out, outcome.restarted) == (True, False)
    assert (await vm.run("x + 1", 20)).value == "42"


@gvisor
async def test_closing_ends_a_running_cell_and_may_be_done_twice() -> None:
    vm = VmInterpreter(backend="runsc")
    await vm.run("x = 1", 20)
    outcomes: list[Outcome] = []
    async with anyio.create_task_group() as tasks:

        async def close() -> None:
            await anyio.sleep(0.2)
            await vm.aclose()

        tasks.start_soon(close)
        outcomes.append(await vm.run("while True: pass", 20))
    assert (outcomes[0].killed_by, outcomes[0].restarted) == ("host", True)
    await vm.aclose()
    with pytest.raises(ToolError, match="closed"):
        await vm.run("1", 20)


@gvisor
@pytest.mark.parametrize("moment", [0, 0.002, 0.01, 0.05, 0.1, 0.2, 0.4])
async def test_closing_is_soon_done_however_early_it_comes(place: Path, moment: float) -> None:
    vm = VmInterpreter(backend="runsc")
    ended: list[str] = []

    async def run() -> None:
        try:
            ended.append((await vm.run("while True: pass", 20)).killed_by)
        except ToolError as error:
            ended.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(moment)
        with anyio.fail_after(5):
            await vm.aclose()
    assert ended in (["The code interpreter is closed."], ["host"])
    while _processes_of(place):  # noqa: ASYNC110 - what was killed may be about to go
        await anyio.sleep(0.05)


@gvisor
def test_it_runs_under_trio() -> None:
    async def main() -> None:
        vm = VmInterpreter(backend="runsc")
        assert (await vm.run("1 + 1", 20)).value == "2"
        assert (await vm.run("while True: pass", 0.3)).timed_out
        await vm.aclose()

    trio.run(main)


@gvisor
def test_a_killed_host_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    program = tmp_path / "host.py"
    program.write_text(
        "import anyio\nfrom agentkit.sandbox._vm import VmInterpreter\n"
        "async def main():\n"
        "    vm = VmInterpreter(backend='runsc')\n"
        "    await vm.run('1', 20)\n"
        "    print('busy', flush=True)\n"
        "    await vm.run('import os\\nif not os.fork():\\n    os.setsid()\\nwhile True: pass', 600)\n"
        "anyio.run(main)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, env=environment
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"busy\n"
        assert _processes_of(place)
        host.send_signal(signal.SIGKILL)
    while _processes_of(place) or any(place.iterdir()):  # bounded by the limit of each test
        time.sleep(0.05)


@gvisor
async def test_the_report_names_the_engine_once_it_has_started(vm: VmInterpreter) -> None:
    assert vm.isolation.engine == "runsc"
    await vm.run("1", 20)
    report = vm.isolation
    assert report.level == "vm"
    assert report.engine.startswith("gVisor ")
    assert "no network" in report.enforced
    assert any("rights of the user" in phrase for phrase in report.not_enforced)


def _processes_of(place: Path) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # ended meanwhile
        if f"{place}/agentkit-vm-" in command:
            found.append(int(entry.name))
    return found


@gvisor
async def test_packages_that_lie_below_tmp_are_none_that_the_code_has_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="with a space ", dir="/tmp") as folder:
        await anyio.Path(folder).chmod(0o755)
        for number in range(600):
            await anyio.Path(folder, str(number)).touch()
        monkeypatch.setattr(_vm_backends, "package_paths", lambda: (folder,))
        vm = VmInterpreter(WorkerLimits(folder_files=500), backend="runsc")
        try:
            seen = f"import os, time\ntime.sleep(0.8)\nlen(os.listdir({folder!r}))"
            outcome = await vm.run(seen, 20)
            assert (outcome.value, outcome.killed_by) == ("600", "")
        finally:
            await vm.aclose()
