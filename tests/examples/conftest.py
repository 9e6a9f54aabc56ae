"""A fake model server beside the test, and a way to run a file of `examples/` against it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from anyio.from_thread import start_blocking_portal
from platformdirs import user_cache_path

from agentkit.engine import find_profile
from agentkit.testing import FakeSGLang

EXAMPLES = Path(__file__).parents[2] / "examples"
CACHE = Path(os.environ.get("AGENTKIT_CACHE_DIR") or user_cache_path("agentkit"))

Serve: TypeAlias = Callable[..., FakeSGLang]
RunExample: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a fake model server that settings point to; a request without an answer fails."""
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal("asyncio"))

        def start(script: Any, **options: Any) -> FakeSGLang:
            server = FakeSGLang(script, **options)
            stack.enter_context(portal.wrap_async_context_manager(server))
            monkeypatch.setenv("AGENTKIT_BASE_URL", server.base_url)
            return server

        yield start


@pytest.fixture
def run_example(tmp_path: Path) -> RunExample:
    """Run an example as a person would, in a folder without settings and servers."""

    def run(name: str, *, seconds: float = 280) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name)],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
        )

    return run


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point settings to the real model, or skip where its weights are not here."""
    given = os.environ.get("AGENTKIT_TEST_WEIGHTS")
    path = Path(given) if given else CACHE / "weights" / find_profile(None).weights.file
    if not path.is_file():
        pytest.skip(f"no weights at {path}: agentkit models pull, or set AGENTKIT_TEST_WEIGHTS")
    monkeypatch.setenv("AGENTKIT_WEIGHTS", str(path))
    return path
