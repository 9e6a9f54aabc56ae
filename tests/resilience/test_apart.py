import contextvars
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentkit.errors import AgentkitError
from agentkit.resilience import abandoned, deadline, run_apart

VirtualTime = Callable[[Callable[[], Any]], Any]


def nobody() -> None:
    raise AssertionError("nothing was abandoned")


async def test_the_value_comes_back() -> None:
    async def work() -> int:
        return 4

    assert (await run_apart(work, "work", nobody)).value == 4


@pytest.mark.parametrize(
    "kind", [ValueError, SystemExit, KeyboardInterrupt, anyio.BrokenResourceError]
)
async def test_whatever_is_raised_comes_back_as_a_value(kind: type[BaseException]) -> None:
    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        raise kind

    assert isinstance((await run_apart(work, "work", nobody)).error, kind)


async def test_the_context_of_the_caller_is_seen_and_not_changed() -> None:
    variable = contextvars.ContextVar("variable", default="")
    variable.set("outer")

    async def work() -> str:
        seen = variable.get()
        variable.set("inner")
        return seen

    assert (await run_apart(work, "work", nobody)).value == "outer"
    assert variable.get() == "outer"


def test_work_sees_the_deadline_and_ends_with_it(virtual_time: VirtualTime) -> None:
    left: list[float] = []
    ended: list[str] = []

    async def work() -> None:
        left.append(anyio.current_effective_deadline() - anyio.current_time())
        try:
            await anyio.sleep(100)
        finally:
            ended.append("work")

    async def scenario() -> None:
        began = anyio.current_time()
        with pytest.raises(AgentkitError, match="late"), deadline(5, AgentkitError("late")):
            await run_apart(work, "work", nobody)
        assert anyio.current_time() - began == pytest.approx(5, abs=0.1)

    virtual_time(scenario)
    assert left == [pytest.approx(5, abs=0.1)]
    assert ended == ["work"]


@pytest.mark.parametrize("whose", ["the caller's", "its own"])
def test_work_that_swallows_its_cancellation_is_left_to_itself(
    virtual_time: VirtualTime, whose: str
) -> None:
    told: list[str] = []

    async def scenario() -> None:
        release = anyio.Event()

        async def stubborn() -> None:
            with anyio.CancelScope(shield=True):
                await release.wait()

        began = anyio.current_time()
        if whose == "its own":
            outcome = await run_apart(
                stubborn, "stubborn", lambda: told.append("left"), seconds=5, grace=2
            )
            assert outcome.is_late
        else:
            with pytest.raises(AgentkitError, match="late"), deadline(5, AgentkitError("late")):
                await run_apart(stubborn, "stubborn", lambda: told.append("left"), grace=2)
        assert anyio.current_time() - began == pytest.approx(7, abs=0.1)
        assert abandoned() == ("stubborn",)
        release.set()
        await anyio.sleep(0.1)
        assert abandoned() == ()

    virtual_time(scenario)
    assert told == ["left"]


async def test_the_same_on_asyncio() -> None:
    release = anyio.Event()
    told: list[str] = []

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except anyio.get_cancelled_exc_class():
                continue

    with pytest.raises(AgentkitError, match="late"), deadline(0.05, AgentkitError("late")):
        await run_apart(stubborn, "stubborn", lambda: told.append("left"), grace=0.05)
    assert (told, abandoned()) == (["left"], ("stubborn",))
    release.set()
    await anyio.wait_all_tasks_blocked()
    assert abandoned() == ()


def test_a_value_that_comes_late_but_comes_is_not_lost(virtual_time: VirtualTime) -> None:
    async def scenario() -> None:
        async def slow() -> str:
            try:
                await anyio.sleep(100)
            except anyio.get_cancelled_exc_class():
                return "what there is"
            return "all"

        outcome = await run_apart(slow, "slow", nobody, seconds=5)
        assert (outcome.value, outcome.is_late) == ("what there is", False)

    virtual_time(scenario)


@pytest.mark.parametrize("how", ["ends", "raises"])
def test_work_that_its_time_ends_is_late(virtual_time: VirtualTime, how: str) -> None:
    async def scenario() -> None:
        async def slow() -> None:
            try:
                await anyio.sleep(100)
            except anyio.get_cancelled_exc_class():
                if how == "raises":
                    raise ValueError("the connection was lost") from None
                raise

        began = anyio.current_time()
        outcome = await run_apart(slow, "slow", nobody, seconds=5)
        assert outcome.is_late
        assert isinstance(outcome.error, ValueError) == (how == "raises")
        assert anyio.current_time() - began == pytest.approx(5, abs=0.1)

    virtual_time(scenario)


_PROGRAM = """
import asyncio
from agentkit.resilience import run_apart

async def never_ends():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def main():
    outcome = await run_apart(never_ends, "it", lambda: print("abandoned"), seconds=0.05, grace=0.05)
    print("late" if outcome.is_late else "in time")

asyncio.run(main())
print("ended")
"""


def test_a_program_ends_without_what_it_has_abandoned() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.split() == ["abandoned", "late", "ended"]
    assert "was destroyed" not in ended.stderr
