"""Python sessions side by side: the code interpreter, and ipykernel by way of jupyter_client.

ipykernel is given its best: its sockets are files (ipc), its folders exist, and the first cell is
sent as soon as it has answered on both channels. `wait_for_ready`, which its users call, would add
0.2 s of waiting for silence. Both sides are asked for the value of a cell and for the end of it.
"""

import asyncio
import gc
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from queue import Empty
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from agentkit.sandbox import Spares

Cell: TypeAlias = Callable[[str], Awaitable[str]]
"""Runs a cell and returns its value as text."""

_SETTLE_SECONDS = 3.0  # between two sessions: a run does not open one right after the other
_READY_SECONDS = 1.0
_CELL_SECONDS = 30.0


async def sessions(*, contender: str, folder: str, cells: int) -> dict[str, float]:
    """Milliseconds to the first result of two sessions and of one cell, megabytes of what then runs.

    Args:
        contender: "agentkit" or "ipykernel".
        folder: where Jupyter keeps its files; not the user's.
        cells: how many to take the median of.
    """
    async with AsyncExitStack() as stack:
        spares = await stack.enter_async_context(_spares()) if contender == "agentkit" else None
        opened = _ipykernel(folder) if spares is None else _agentkit(spares)
        cold, cell = await _first_result(stack, opened)
        for _ in range(10):
            await _checked(cell)
        gc.collect()  # what was imported is not gone through within a cell
        trips = [await _checked(cell) for _ in range(cells)]
        await asyncio.sleep(_SETTLE_SECONDS)
        memory = sum(map(_proportional_mb, _descendants(os.getpid())))
        warm, _ = await _first_result(stack, opened)
    return {
        "cold_ms": cold * 1000,
        "warm_ms": warm * 1000,
        "cell_ms": median(trips) * 1000,
        "memory_mb": memory,
    }


async def _first_result(stack: AsyncExitStack, opened: "_Opener") -> tuple[float, Cell]:
    started = time.perf_counter()
    cell = await stack.enter_async_context(opened())
    await _checked(cell)
    return time.perf_counter() - started, cell


async def _checked(cell: Cell) -> float:
    started = time.perf_counter()
    value = await cell("1+1")
    seconds = time.perf_counter() - started
    if value != "2":
        raise AssertionError(f"wrong value of 1+1: {value!r}")
    return seconds


_Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[Cell]]


def _spares() -> AbstractAsyncContextManager["Spares"]:
    from agentkit.sandbox import Spares

    return Spares.open()  # as a runtime does


def _agentkit(spares: "Spares") -> _Opener:
    from agentkit.sandbox import Interpreter

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cell]:
        interpreter = Interpreter(spares=spares)

        async def cell(code: str) -> str:
            outcome = await interpreter.run(code, _CELL_SECONDS)
            return f"{outcome.value}{outcome.error}{outcome.killed_by}"

        try:
            yield cell
        finally:
            await interpreter.aclose()

    return opened


def _ipykernel(folder: str) -> _Opener:
    os.environ |= dict.fromkeys(("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"), folder)
    # Not imported by name: it is no dependency, so the type checker may not find it.
    jupyter: Any = import_module("jupyter_client")

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cell]:
        manager = jupyter.AsyncKernelManager(transport="ipc")
        await manager.start_kernel()
        client = manager.client()
        try:
            client.start_channels(stdin=False, hb=False)
            await _answers(client)
            yield lambda code: _executed(client, code)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    return opened


async def _answers(client: Any) -> None:
    """Wait until a kernel answers on both channels; what it publishes before we listen is lost."""
    for _ in range(int(_CELL_SECONDS / _READY_SECONDS)):
        asked = client.kernel_info()
        await _reply_to(client.get_shell_msg, asked)
        with suppress(Empty):
            await client.get_iopub_msg(timeout=_READY_SECONDS)
            return
    raise AssertionError("the kernel publishes nothing")


async def _executed(client: Any, code: str) -> str:
    asked = client.execute(code)
    value = ""
    while True:
        message = await _reply_to(client.get_iopub_msg, asked)
        if message["msg_type"] == "execute_result":
            value = message["content"]["data"]["text/plain"]
        if message["content"].get("execution_state") == "idle":
            break  # all that it printed has come
    await _reply_to(client.get_shell_msg, asked)
    return value


async def _reply_to(receive: Callable[..., Awaitable[Any]], asked: str) -> Any:
    while True:
        message = await receive(timeout=_CELL_SECONDS)
        if message["parent_header"].get("msg_id") == asked:
            return message


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="ascii").split()):
            found += [child, *_descendants(child)]
    return found


def _proportional_mb(process: int) -> float:
    """Return resident memory, of what is shared its share: forked processes are not counted twice."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {process} has no memory of its own")
