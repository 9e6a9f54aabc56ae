"""Interpreters in a temporary folder of the test's own, and a search for what they leave."""

import os
import socket
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from agentkit.sandbox import Interpreter, WorkerLimits
from tests.sandbox.confined import Room, make_room
from tests.sandbox.gvisor import why_no_gvisor


def find_processes(folder: Path) -> set[int]:
    """Return every process that stands in the folder or was started for it."""
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue  # ended meanwhile, or a zombie
        if ("_janitor" in command and str(folder) in command) or place.startswith(str(folder)):
            found.add(int(entry.name))
    return found


@pytest.fixture
def processes_in() -> Callable[[Path], set[int]]:
    """The search for what an interpreter has started."""
    return find_processes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where interpreters make their folders; empty and without processes after the test."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert find_processes(folder) == set()
    assert list(folder.iterdir()) == []


def plain(limits: WorkerLimits | None = None) -> Interpreter:
    """Return an interpreter at the weakest level."""
    return Interpreter(limits, isolation="process", minimum="process")


@pytest_asyncio.fixture
async def interpreter(place: Path) -> AsyncGenerator[Interpreter]:
    """An interpreter at the weakest level that is closed after the test."""
    opened = plain()
    yield opened
    await opened.aclose()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """A secret in the environment of the host."""
    monkeypatch.setenv("SECRET_TOKEN", "canary-7301")
    assert "SECRET_TOKEN" in os.environ
    return "canary-7301"


@pytest.fixture(params=["same", "dropped", "plain"])
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    """A room for each of the users; it is gone after the test."""
    user = str(request.param)
    if user != "same" and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if user == "plain" and not Path("/usr/bin/python3").exists():
        pytest.skip("there is no Python that another user could start")
    with make_room(user) as made:
        yield made


@pytest.fixture
def own_room() -> Iterator[Room]:
    """A room for the user of the tests, where the user makes no difference."""
    with make_room("same") as made:
        yield made


@pytest.fixture(scope="module")
def listening() -> Iterator[dict[str, object]]:
    """Servers of the host, by what a row calls them."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        socket.create_server(("127.0.0.1", 0), backlog=500) as tcp,
        socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=500) as tcp6,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        Path(folder).chmod(0o755)
        listener = f"{folder}/listener"
        abstract.bind(f"\0agentkit-{os.getpid()}")
        named.bind(listener)
        Path(listener).chmod(0o777)
        abstract.listen(500)
        named.listen(500)
        yield {
            "port": tcp.getsockname()[1],
            "port6": tcp6.getsockname()[1],
            "abstract": f"\0agentkit-{os.getpid()}",
            "listener": listener,
            "inotify": "ctypes.CDLL(None).inotify_init()",
            "cores": os.cpu_count(),
        }


@pytest.fixture(scope="module")
def monty_runtime() -> None:
    """Start what Monty keeps until the process ends: threads and files of its own."""
    library = pytest.importorskip("pydantic_monty", reason="the extra 'monty' is not installed")
    with library.Monty(min_processes=1, max_processes=1) as pool, pool.checkout() as session:
        session.feed_run("1")


@pytest.fixture(scope="session")
def gvisor() -> None:
    """gVisor, where it runs."""
    if why := why_no_gvisor():
        pytest.skip(why)
