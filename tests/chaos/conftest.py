"""What chaos needs: seeds, a ledger of effects, and a look at how long the loop was kept waiting."""

import os
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

_SEEDS = int(os.environ.get("AGENTKIT_TEST_SEEDS", "1"))
_FIRST = int(os.environ.get("AGENTKIT_TEST_SEED", "1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes a seed with each: AGENTKIT_TEST_SEEDS of them from AGENTKIT_TEST_SEED on."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(_FIRST, _FIRST + _SEEDS))


@dataclass
class Ledger:
    """What has really been done, by whoever did it: counts by name, and by key."""

    done: Counter[str] = field(default_factory=Counter[str])
    keys: Counter[str] = field(default_factory=Counter[str])


@dataclass
class Lag:
    """How late the loop was, in seconds."""

    seen: list[float] = field(default_factory=list[float])

    @property
    def worst(self) -> float:
        return max(self.seen, default=0.0)

    @property
    def p99(self) -> float:
        return sorted(self.seen)[len(self.seen) * 99 // 100] if self.seen else 0.0


@asynccontextmanager
async def watching_lag() -> AsyncGenerator[Lag]:
    """Look every 10 ms how late the loop is. For the report: a busy machine is no failure."""
    lag = Lag()

    async def look() -> None:
        while True:
            began = time.monotonic()
            await anyio.sleep(0.01)
            lag.seen.append(time.monotonic() - began - 0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        yield lag
        group.cancel_scope.cancel()
