"""What every test is held to: no blocking call in the loop, and nothing left behind."""

import asyncio
import functools
import gc
import inspect
import os
import re
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from blockbuster import blockbuster_ctx
from platformdirs import user_cache_path
from trio.testing import MockClock

from agentkit.engine import Progress, find_profile

_CACHE = Path(os.environ.get("AGENTKIT_CACHE_DIR") or user_cache_path("agentkit"))


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """Fail a test whose code blocks the event loop."""
    with blockbuster_ctx(["agentkit", "agentkit_tools"]):
        yield


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests away from the settings, traces and caches of the person who runs them."""
    folder = tmp_path_factory.mktemp("home")
    for variable in [name for name in os.environ if name.startswith("AGENTKIT_")]:
        if not variable.startswith("AGENTKIT_TEST_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("AGENTKIT_STATE_DIR", str(folder / "state"))
    monkeypatch.setenv("AGENTKIT_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Let an async test end with a look at what it has left in its loop."""
    yield
    test = getattr(item, "obj", None)
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(test):
        item.obj = _without_tasks_left(test)


def _without_tasks_left(test: Callable[..., Coroutine[Any, Any, None]]) -> Any:
    @functools.wraps(test)
    async def looked_at(**arguments: Any) -> None:
        before = asyncio.all_tasks()
        await test(**arguments)
        for _ in range(40):  # a server's handler may see a moment later that its client has gone
            if not _tasks_since(before):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"left behind: {sorted(map(str, _tasks_since(before)))}")

    return looked_at


def _tasks_since(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the tasks that are new, but for the one that ends anyio's processes with the loop."""
    new = asyncio.all_tasks() - before
    return {task for task in new if task.get_name() != "AnyIO process pool shutdown task"}


@pytest.fixture(autouse=True)
def nothing_left_behind(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test that leaves a thread, a child process, an open file or a temporary folder."""
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = _held()
    yield
    sockets = folder / f"agentkit-{os.getuid()}"  # of engines; it stays
    if sockets.is_dir() and not any(sockets.iterdir()):
        sockets.rmdir()
    temporary = [path.name for path in folder.iterdir()]
    assert not temporary, f"left behind in the temporary folder: {temporary}"
    left = _held() - before
    if left:  # what only the collector can close is closed now; anything else is a leak
        gc.collect()
        left = _held() - before
    for _ in range(20):  # a thread that waited for a process takes a moment to end
        if not left:
            break
        time.sleep(0.05)
        left = _held() - before
    assert not left, f"left behind: {sorted(left)}"


class Reported:
    """A progress callback that remembers, and lets a test wait for what comes."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []
        self._news = anyio.Event()

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        self._news.set()
        self._news = anyio.Event()

    @property
    def phases(self) -> list[str]:
        """The phases, each once in a row."""
        phases = [progress.phase for progress in self.seen]
        return [name for n, name in enumerate(phases) if n == 0 or phases[n - 1] != name]

    async def wait_for(self, wanted: Callable[[Progress], bool]) -> Progress:
        """Return the first progress, past or to come, that is wanted."""
        while True:
            for progress in self.seen:
                if wanted(progress):
                    return progress
            await self._news.wait()

    async def wait_for_count(self, wanted: Callable[[Progress], bool], count: int) -> None:
        """Wait until that many were wanted."""
        while sum(map(wanted, self.seen)) < count:
            await self._news.wait()


@pytest.fixture
def reported() -> Reported:
    return Reported()


@pytest.fixture
def weights() -> Path:
    """Return the weights of the default model; skip a test where they are not at hand."""
    given = os.environ.get("AGENTKIT_TEST_WEIGHTS")
    path = Path(given) if given else _CACHE / "weights" / find_profile(None).weights.file
    if not path.is_file():
        pytest.skip(f"no weights at {path}: agentkit models pull, or set AGENTKIT_TEST_WEIGHTS")
    return path


@pytest.fixture
def virtual_time() -> Callable[[Callable[[], Awaitable[object]]], object]:
    """Run a coroutine function where waiting takes no time."""

    def run(test: Callable[[], Awaitable[object]]) -> object:
        return trio.run(test, clock=MockClock(autojump_threshold=0))

    return run


def _held() -> set[str]:
    threads = {f"thread {t.name}" for t in threading.enumerate() if not _is_cached(t)}
    files: set[str] = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            files.add(f"file {entry.name}: {entry.readlink()}")
        except OSError:
            continue  # the folder's own descriptor
    shared = {path.name for path in Path("/dev/shm").glob("*")}
    mine = {f"shared memory {name}" for name in shared if not _is_of_another(name)}
    return threads | files | mine | _children()


def _is_of_another(name: str) -> bool:
    """Tell whether a name tells a process that runs, and that tests beside ours have started."""
    beside = "PYTEST_XDIST_WORKER" in os.environ
    return beside and any(_is_stranger(int(number)) for number in re.findall(r"\d{1,9}", name))


def _is_stranger(pid: int) -> bool:
    ancestors: list[int] = []
    while pid > 1 and pid not in ancestors:
        ancestors.append(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        pid = int(stat.rsplit(")", 1)[1].split()[1])
    return bool(ancestors) and os.getpid() not in ancestors


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in _read(task).split():
            try:
                state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1]
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended meanwhile
            found.add(f"process {pid} {state.split()[0]} {command}")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # the thread ended meanwhile
        return ""


def _is_cached(thread: threading.Thread) -> bool:
    """Whether a thread is one that trio keeps a few seconds for the next job."""
    return thread.name.startswith(("Trio thread", "trio.to_thread"))
