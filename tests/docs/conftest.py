"""A fake model server beside the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest
from anyio.from_thread import start_blocking_portal

from agentkit.testing import FakeSGLang

Serve: TypeAlias = Callable[..., FakeSGLang]


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
