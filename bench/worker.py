"""One measurement in a process of its own: `worker.py KIND '{"option": …}'` prints one JSON line."""

import asyncio
import gc
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench import contenders
from bench.server import Scenario
from bench.sessions import sessions

_ECHO = str(Path(__file__).with_name("echo_server.py"))


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _checked(run: contenders.Run, scenario: Scenario) -> float:
    """Do one run, check its answer and its calls, return its seconds."""
    started = time.perf_counter()
    text, calls = await run()
    seconds = time.perf_counter() - started
    if text.strip() != scenario.answer or calls != scenario.calls:
        raise AssertionError(f"wrong run: {calls} calls, answer {text[-80:]!r}")
    return seconds


async def runs(
    *, contender: str, url: str, model: str, runs: int, side_by_side: int = 1, warm: int = 2
) -> dict[str, float]:
    """CPU, time and memory of `runs` runs, `side_by_side` at once."""
    _many_files()
    scenario = Scenario.parse(model)
    # A disk that is slow for a moment may still be writing traces: that is not what is measured.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with contenders.CONTENDERS[contender](url, model, Path(folder)) as run:
            for _ in range(warm):
                await _checked(run, scenario)
            before = _rss_mb()
            cpu, wall = time.process_time(), time.perf_counter()
            seconds: list[float] = []
            for _ in range(runs // side_by_side):
                batch = (_checked(run, scenario) for _ in range(side_by_side))
                seconds += await asyncio.gather(*batch)
            wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu  # with what is left to do at the end: traces, closing
    seconds.sort()
    return {
        "cpu_ms": cpu * 1000 / len(seconds),
        "runs_per_s": len(seconds) / wall,
        "p50_ms": statistics.median(seconds) * 1000,
        "p99_ms": seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))] * 1000,
        "rss_mb": before,
        "peak_mb": _peak_mb(),
    }


async def growth(
    *, contender: str, url: str, model: str, turns: list[int], width: int = 4
) -> dict[str, float]:
    """CPU milliseconds of one turn around each of `turns`, within one conversation."""
    at: dict[int, float] = {}

    def mark(number: int) -> None:
        at[number] = time.process_time()

    # A disk that is slow for a moment may still be writing traces: that is not what is measured.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with contenders.CONTENDERS[contender](url, model, Path(folder)) as run:
            contenders.on_call = mark
            await _checked(run, Scenario.parse(model))
    return {
        f"turn_{turn}": (at[turn + width] - at[turn - width]) * 1000 / (2 * width) for turn in turns
    }


async def mcp(*, contender: str, calls: int, concurrency: int = 1) -> dict[str, float]:
    """CPU and wall microseconds of one call of an echo tool over stdio, so many at once."""
    async with AsyncExitStack() as stack:
        call = await (_sdk_echo if contender == "bare" else _agentkit_echo)(stack)
        await echoes(call, 50, concurrency)
        # Going through all that was imported takes 50 ms, once: it may fall into one window and not the other.
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await echoes(call, calls, concurrency)
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
    return {"cpu_us": cpu * 1e6 / calls, "wall_us": wall * 1e6 / calls}


async def echoes(call: Callable[[int], Awaitable[str]], count: int, concurrency: int) -> None:
    """Make the calls, never more than `concurrency` at once, and check that each has its answer."""
    numbers = iter(range(count))
    answered: set[int] = set()

    async def take() -> None:
        for number in numbers:
            text = await call(number)
            if text != f"echo {number}":
                raise AssertionError(f"wrong echo of {number}: {text!r}")
            answered.add(number)

    await asyncio.gather(*(take() for _ in range(concurrency)))
    if len(answered) != count:
        raise AssertionError(f"{count - len(answered)} of {count} calls have no answer")


async def _sdk_echo(stack: AsyncExitStack) -> Any:
    from mcp import Client, StdioServerParameters

    client = await stack.enter_async_context(
        Client(StdioServerParameters(command=sys.executable, args=[_ECHO]))
    )
    await client.list_tools()

    async def call(number: int) -> str:
        result = await client.call_tool("echo", {"text": f"echo {number}"})
        content: Any = result.content[0]
        return content.text

    return call


async def _agentkit_echo(stack: AsyncExitStack) -> Any:
    from agentkit.mcp import open_servers, read_config
    from agentkit.policies import Timeouts

    server = {"command": sys.executable, "args": [_ECHO]}
    file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "servers.json")
    file.write_text(json.dumps({"mcpServers": {"echo": server}}), encoding="utf-8")  # noqa: ASYNC240 - nothing else runs yet
    config = read_config(file, os.environ)
    opened = await stack.enter_async_context(
        open_servers(config, timeouts=Timeouts(), taken_names=[], log_dir=None)
    )
    (tool,) = opened.tools

    async def call(number: int) -> str:
        return await tool.call(tool.validate({"text": f"echo {number}"}))

    return call


KINDS = {"runs": runs, "growth": growth, "mcp": mcp, "sessions": sessions}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(KINDS[sys.argv[1]](**json.loads(sys.argv[2])))))
