"""Every hostile program, at every level that this machine offers, is contained."""

import os
import socket
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from agentkit.sandbox import LEVELS, Interpreter, Level, WorkerLimits, probe
from tests.sandbox.hostile import CANARY, PROGRAMS, Case, Program, World
from tests.sandbox.page import PAGE, WRITES, code_rows, fetch_row, note, page
from tests.tools.test_fetch_attacks import ATTACKS

ROWS = [(one, level) for one in PROGRAMS for level in LEVELS if one.holds_at(level)]


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


@pytest_asyncio.fixture
async def case(request: pytest.FixtureRequest, place: Path, world: World) -> AsyncGenerator[Case]:
    level: Level = request.param
    findings = await probe((level,))
    if why := findings.reasons.get(level, "it was not tried"):
        pytest.skip(f"level {level} does not hold here: {why}")

    def opened(limits: WorkerLimits) -> Interpreter:
        return Interpreter(limits, isolation=level, minimum=level)

    found = Case(level, world, opened(WorkerLimits()), opened)
    first = found.interpreter
    yield found
    for interpreter in (first, *found.extra):
        await interpreter.aclose()


@pytest.mark.parametrize(
    ("one", "case"),
    ROWS,
    indirect=["case"],
    ids=[f"{one.number}-{level}" for one, level in ROWS],
)
async def test_it_is_contained(one: Program, case: Case) -> None:
    seen = await one.attack(case)
    await case.works()
    note(one.number, one.name, case.level, seen)
    if not WRITES:  # as it is made: a page from a part of the rows would lose the others
        row = next(row for row in read_page() if row.startswith(f"| {one.number} | {one.name} |"))
        assert f" held: {seen} |" in row, "make security writes docs/security.md anew"


def read_page() -> list[str]:
    return PAGE.read_text(encoding="utf-8").splitlines()


def test_every_program_has_its_number() -> None:
    assert [one.number for one in PROGRAMS] == list(range(1, 33))


def test_the_page_has_every_row() -> None:
    """The last test here: where the page is to be written, all rows are there by now."""
    if WRITES and len(code_rows()) == len(PROGRAMS):
        PAGE.write_text(page(), encoding="utf-8")
    rows = [line for line in read_page() if line.startswith("| ")]
    for one in PROGRAMS:
        assert sum(row.startswith(f"| {one.number} | {one.name} |") for row in rows) == 1
    for attack in ATTACKS:
        assert fetch_row(attack) in rows, "make security writes docs/security.md anew"
