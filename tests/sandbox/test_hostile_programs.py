"""Every hostile program, at every level that this machine offers, is contained."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentkit.errors import ToolError
from agentkit.sandbox import LEVELS, Interpreter, Isolation, Level, probe
from tests.sandbox.gvisor import why_no_gvisor
from tests.sandbox.hostile import CANARY, COLUMNS, PROGRAMS, Case, Program, World, open_at
from tests.sandbox.hostile_monty import IN_MONTY
from tests.sandbox.page import GVISOR, PAGE, SEEN, WRITES, cells, fetch_row, note, page, read_page
from tests.tools.test_fetch_attacks import ATTACKS

ROWS = [(one, level) for one in PROGRAMS for level in LEVELS if one.holds_at(level)]
NUMBERS = [str(one.number) for one in PROGRAMS]
ENDS_CONTAINER = (9, 25)


@pytest.fixture(name="world")
def what_is_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_rsa").write_text(CANARY, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SECRET_TOKEN", CANARY)
    tcp = [socket.create_server(("127.0.0.1", 0))]
    if socket.has_ipv6:
        tcp.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    abstract, local = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0agentkit-test-{os.getpid()}-{tmp_path.name}")
    local_path = tmp_path / "socket"
    local.bind(str(local_path))
    for one in (abstract, local):
        one.listen()
    for one in (*tcp, udp, abstract, local):
        one.setblocking(False)
    inherited = os.open(home / ".ssh" / "id_rsa", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    yield World(home, tcp, udp, abstract, local, local_path, inherited)
    os.close(inherited)
    for one in (*tcp, udp, abstract, local):
        one.close()


async def contain(
    one: Program, level: Isolation, world: World, shared: Interpreter | None = None
) -> None:
    """Run a program and hold it, and the page, to what holding it means."""
    case = Case(level, world, shared or open_at(level))
    case.own += [] if shared else [case.interpreter]
    attack = IN_MONTY.get(one.number, one.attack) if level == "monty" else one.attack
    try:
        seen = await attack(case)
        await case.works()
        assert world.heard() == []
    finally:
        for interpreter in case.own:
            await interpreter.aclose()
    report = case.interpreter.report
    if level == "vm" and (report is None or report.engine != GVISOR):
        return
    note(one, level, seen)
    if not WRITES:  # as it is made: a page from a part of the rows would lose the others
        stands = cells(read_page(), one).get(level)
        assert stands == f"held: {seen}", "make security writes docs/security.md anew"


@pytest.mark.parametrize(
    ("one", "level"), ROWS, ids=[f"{one.number}-{level}" for one, level in ROWS]
)
async def test_it_is_contained(one: Program, level: Level, place: Path, world: World) -> None:
    findings = await probe((level,))
    if why := findings.reasons.get(level, "it was not tried"):
        pytest.skip(f"level {level} does not hold here: {why}")
    await contain(one, level, world)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interpreter]:
    """One container for all programs that do not end it: its start takes longer than most."""
    if not any(map(shutil.which, ("runsc", "docker", "podman"))):
        pytest.skip("level vm is not here: neither runsc nor docker nor podman is installed")
    folder = tmp_path_factory.mktemp("container")
    shared = open_at("vm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        try:
            anyio.run(shared.run, "1", 60)
        except ToolError as error:
            if not why_no_gvisor():
                raise
            pytest.skip(f"level vm does not hold here: {error}")
    yield shared
    anyio.run(shared.aclose)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("one", PROGRAMS, ids=NUMBERS)
async def test_a_container_contains_it(
    one: Program, container: Interpreter, place: Path, world: World
) -> None:
    await contain(one, "vm", world, None if one.number in ENDS_CONTAINER else container)
    # The next one begins with a new process.
    assert (await container.run("import os; os._exit(0)", 20)).killed_by == "exit 0"


@pytest.mark.usefixtures("monty_runtime")
@pytest.mark.parametrize("one", PROGRAMS, ids=NUMBERS)
async def test_monty_contains_it(one: Program, place: Path, world: World) -> None:
    await contain(one, "monty", world)


def test_every_program_has_its_number() -> None:
    assert [one.number for one in PROGRAMS] == list(range(1, 33))


def test_the_page_has_every_row() -> None:
    """The last test here: where the page is to be written, all that can run has run by now."""
    if WRITES:
        PAGE.write_text(page(SEEN, read_page()), encoding="utf-8")
    rows = [line for line in read_page().splitlines() if line.startswith("| ")]
    for one in PROGRAMS:
        assert sum(row.startswith(f"| {one.number} | {one.name} |") for row in rows) == 1
        stands = cells(read_page(), one)
        assert list(stands) == list(COLUMNS)
        for column in COLUMNS:
            assert stands[column].startswith("held: " if one.holds_at(column) else "not held")
    for attack in ATTACKS:
        assert fetch_row(attack) in rows, "make security writes docs/security.md anew"
