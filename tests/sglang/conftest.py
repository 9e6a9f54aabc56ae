"""A model server that agentkit starts: a program that stands for SGLang, and SGLang itself.

The real one is used where AGENTKIT_TEST_SGLANG_PYTHON names an environment that has it and
AGENTKIT_TEST_SGLANG_MODEL the folder of the scripted model; `make test-sglang` sets both.
"""

import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from agentkit.engine import Endpoint, ServerProfile, find_server_profile, open_server
from agentkit.messages import ToolSpec
from agentkit.testing import FakeSGLang

collect_ignore_glob = ["programs/*", "stubs/*", "read_with_sglang.py"]

_PROGRAMS = Path(__file__).with_name("programs")
_STUBS = Path(__file__).with_name("stubs")
_GONE_SECONDS = 20.0


@dataclass(frozen=True)
class Installed:
    """A server that can be started, and a mark in the environment of all its processes."""

    profile: ServerProfile
    python: Path
    weights: Path
    mark: str
    is_real: bool
    groups: set[int] = field(default_factory=set[int])

    def with_environment(self, **more: str) -> "Installed":
        return self.with_server(environment={**self.profile.server.environment, **more})

    def with_server(self, **options: Any) -> "Installed":
        server = self.profile.server.model_copy(update=options)
        return replace(self, profile=self.profile.model_copy(update={"server": server}))

    def open(self, state_dir: Path, **options: Any) -> AbstractAsyncContextManager[Endpoint]:
        """Open the server as a runtime does."""
        return open_server(
            self.profile,
            python=self.python_itself(),
            weights=self.weights,
            state_dir=state_dir,
            **options,
        )

    def processes(self) -> dict[int, str]:
        """Return every process of the server that lives, the guard and the runner too."""
        living = dict(_living())
        marked = {pid for pid, (command, _) in living.items() if self._is_marked(pid, command)}
        # SGLang's children write their title over their environment: their group tells.
        self.groups.update(living[pid][1] for pid in marked if "-m sglang" in living[pid][0])
        return {
            pid: command
            for pid, (command, group) in living.items()
            if pid in marked or group in self.groups
        }

    def one(self, *words: str) -> int:
        """Return the process whose command line has all the words."""
        every = self.processes()
        found = [pid for pid, command in every.items() if all(word in command for word in words)]
        assert len(found) == 1, "\n".join(
            f"{pid} {command[-60:]}" for pid, command in every.items()
        )
        return found[0]

    def python_itself(self) -> Path:
        inside = self.python / "bin" / "python"
        return inside if inside.is_file() else self.python

    async def wait_for_processes(self, count: int) -> None:
        """Wait until that many live."""
        while len(await to_thread.run_sync(self.processes)) < count:  # noqa: ASYNC110 - /proc tells nobody
            await anyio.sleep(0.05)

    async def wait_until_gone(self) -> None:
        """Wait until nothing of the server is left, or fail with what is."""
        until = anyio.current_time() + _GONE_SECONDS
        while left := await to_thread.run_sync(self.processes):
            assert anyio.current_time() < until, f"left behind: {left}"
            await anyio.sleep(0.05)

    def _is_marked(self, pid: int, command: str) -> bool:
        if self.mark in command:  # the guard
            return True
        try:
            if "/run_server.py" in command:  # known by its parent only
                parent = _stat(Path(f"/proc/{pid}"))[1]
                return self.mark.encode() in Path(f"/proc/{parent}/cmdline").read_bytes()
            return self.mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False  # it ended meanwhile


def _living() -> Iterator[tuple[int, tuple[str, int]]]:
    """Yield each process but this one, with its command line and its group."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state, _, group = _stat(folder)
        except OSError:
            continue  # it ended meanwhile
        if state != "Z" and folder.name != str(os.getpid()):
            yield int(folder.name), (command, int(group))


def _stat(folder: Path) -> tuple[str, str, str]:
    state, parent, group, *_ = (
        (folder / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    )
    return state, parent, group


def real_python() -> Path | None:
    given = os.environ.get("AGENTKIT_TEST_SGLANG_PYTHON")
    return Path(given) if given else None


def real_model() -> Path | None:
    given = os.environ.get("AGENTKIT_TEST_SGLANG_MODEL")
    return Path(given) if given else None


def real_server() -> Installed:
    """Return the real SGLang, or skip the test."""
    python, model = real_python(), real_model()
    if python is None or model is None:
        pytest.skip("AGENTKIT_TEST_SGLANG_PYTHON and _MODEL name no SGLang: make test-sglang")
    mark = f"agentkit-test-{uuid4().hex}"
    installed = Installed(find_server_profile("qwen3-scripted"), python, model, mark, is_real=True)
    stubs = os.environ.get("AGENTKIT_TEST_SGLANG_STUBS", str(_STUBS))
    return installed.with_environment(AGENTKIT_MARK=mark, PYTHONPATH=stubs)


def fake_server() -> Installed:
    mark = f"agentkit-test-{uuid4().hex}"
    profile = find_server_profile("qwen3-scripted")
    installed = Installed(profile, Path(sys.executable), _PROGRAMS, mark, is_real=False)
    return installed.with_environment(AGENTKIT_MARK=mark, PYTHONPATH=str(_PROGRAMS))


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.sglang)])
def installed(request: pytest.FixtureRequest) -> Iterator[Installed]:
    server = fake_server() if request.param == "fake" else real_server()
    yield server
    until = time.monotonic() + _GONE_SECONDS
    while (left := server.processes()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left, f"left behind: {left}"


@pytest.fixture
def real_installed() -> Callable[[], Installed]:
    """Return what gives the real SGLang, or skips the test; nothing is started."""
    return real_server


@pytest.fixture
def fake() -> Iterator[Installed]:
    """The program that stands for SGLang, for what a real one does not do on request."""
    server = fake_server()
    yield server
    assert not server.processes()


@dataclass(frozen=True)
class Served:
    """A server that answers with the dialogues that both know by heart."""

    base_url: str
    api_key: str | None
    is_real: bool

    @property
    def url(self) -> str:
        return self.base_url.removesuffix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One real SGLang for the whole session: the one that runs already, or one of ours."""
    if url := os.environ.get("AGENTKIT_TEST_SGLANG_URL"):
        yield Served(url, None, is_real=True)
        return
    installed = real_server()
    with start_blocking_portal() as portal:
        opened = installed.open(tmp_path_factory.mktemp("real") / "state")
        with portal.wrap_async_context_manager(opened) as endpoint:
            yield Served(endpoint.base_url, endpoint.api_key, is_real=True)


@pytest.fixture(scope="session", autouse=True)
def real_before_all(request: pytest.FixtureRequest) -> None:
    """Start the one of the session before a test looks at what it has left behind."""
    wanted = any("real" in item.fixturenames or "server" in item.fixturenames
                 for item in request.session.items
                 if isinstance(item, pytest.Function) and item.get_closest_marker("sglang"))  # fmt: skip
    given = os.environ.get("AGENTKIT_TEST_SGLANG_URL") or (real_python() and real_model())
    if wanted and given:
        request.getfixturevalue("real")


@pytest.fixture
async def scripted() -> AsyncIterator[Served]:
    """The fake SGLang with its built-in dialogues."""
    async with FakeSGLang() as server:
        yield Served(server.base_url, None, is_real=False)


@pytest.fixture(params=["scripted", pytest.param("real", marks=pytest.mark.sglang)])
def server(request: pytest.FixtureRequest) -> Served:
    """Return the fake server, and then the real one."""
    return request.getfixturevalue(request.param)


def tool(name: str, description: str, parameter: str) -> ToolSpec:
    properties = {parameter: {"type": "string"}}
    parameters = {"type": "object", "properties": properties, "required": [parameter]}
    return ToolSpec(name, description, parameters)


@pytest.fixture
def tools() -> tuple[ToolSpec, ...]:
    """Return the tools in the words in which the scripted model has learnt its dialogues."""
    return (
        tool("get_current_time", "Get the current time in a time zone", "timezone"),
        tool("code_interpreter", "Run Python code", "code"),
        tool("fetch", "Fetch a URL", "url"),
    )


@dataclass
class Heard:
    """Remembers what was emitted."""

    pieces: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def __call__(self, kind: str, text: str, /) -> None:
        self.pieces.append((kind, text))

    def all(self, kind: str) -> str:
        return "".join(text for said, text in self.pieces if said == kind)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"
