"""A fake model server beside the test, and a way to run a file of `examples/` against it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from anyio.from_thread import start_blocking_portal

from agentkit.testing import FakeSGLang

EXAMPLES = Path(__file__).parents[2] / "examples"

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

    def run(name: str, *arguments: str, seconds: float = 280) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
        )

    return run
