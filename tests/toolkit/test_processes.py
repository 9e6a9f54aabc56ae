"""Functions in a process of their own: values, errors, deadlines, deaths."""

import os
import time
from pathlib import Path

import anyio
import pytest

from agentkit import tool
from agentkit.errors import ConfigurationError, OutcomeUnknownError, ToolError, ToolTimeoutError
from agentkit.resilience import deadline


@tool(runs_in="process")
def multiply(a: int, b: int = 2) -> int:
    """Multiply two numbers."""
    return a * b


@tool(runs_in="process")
def where() -> int:
    """Tell the process."""
    return os.getpid()


@tool(runs_in="process")
def fail() -> str:
    """Fail."""
    raise ValueError("no such thing")


@tool(runs_in="process")
def hang(note: str) -> str:
    """Hang where nothing can interrupt it."""
    Path(note).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(600)
    return "late"


@tool(runs_in="process")
def die() -> str:
    """Die."""
    os._exit(3)


async def test_a_value_comes_back_from_another_process() -> None:
    assert await multiply.call(multiply.validate({"a": 21})) == "42"
    assert await where.call({}) != str(os.getpid())


async def test_an_error_is_told_as_a_sync_tool_tells_it() -> None:
    with pytest.raises(ToolError, match="ValueError: no such thing"):
        await fail.call({})


async def test_past_its_deadline_the_process_is_killed(tmp_path: Path) -> None:
    note = anyio.Path(tmp_path / "pid")

    async def kill_once_begun(scope: anyio.CancelScope) -> None:
        while not (await note.exists() and await note.read_text()):  # noqa: ASYNC110 - of another process
            await anyio.sleep(0.01)
        scope.cancel()

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(kill_once_begun, scope)
            await hang.call({"note": str(tmp_path / "pid")})
    pid = int(await note.read_text())
    while Path(f"/proc/{pid}").exists():  # noqa: ASYNC110, ASYNC240 - until the kernel is done
        await anyio.sleep(0.01)
    with pytest.raises(ToolTimeoutError), deadline(0.2, ToolTimeoutError("late")):
        await hang.call({"note": str(tmp_path / "pid")})


async def test_a_process_that_dies_leaves_the_outcome_unknown() -> None:
    with pytest.raises(OutcomeUnknownError, match="died"):
        await die.call({})
    assert await multiply.call({"a": 1, "b": 1}) == "1"


def test_what_another_process_would_not_find_is_refused() -> None:
    def inner() -> str:
        """Inside."""
        return ""

    async def outer() -> str:
        """Async."""
        return ""

    with pytest.raises(ConfigurationError, match="a function within a function"):
        tool(runs_in="process")(inner)
    with pytest.raises(ConfigurationError, match="async"):
        tool(runs_in="process")(outer)
