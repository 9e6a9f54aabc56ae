"""Cancelled at every point at which a run waits: nothing is left, everything is told."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentkit import Agent, Policy, Result, Retry, tool
from agentkit.errors import ModelUnavailableError
from agentkit.events import Event, RunEnded, RunStarted
from agentkit.messages import ModelTurn, ToolResult
from agentkit.models import open_pool
from agentkit.testing import Answer, FakeSGLang, ScriptedModel, call
from agentkit.toolkit import Registry

MakeAgent = Callable[..., Agent]


class Observer:
    """Remembers the events of all runs, and that nothing comes after the last."""

    def __init__(self) -> None:
        self.kinds: list[type[Event]] = []
        self.result: list[str] = []

    def observe(self, run_id: str, event: Event) -> None:
        del run_id
        self.kinds.append(type(event))
        if isinstance(event, RunEnded):
            self.result.append(event.stop if event.stop != "failed" else event.error)


class CancelledAt:
    """Awaits a coroutine, and cancels a scope just before it goes on for the n-th time."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, scope: anyio.CancelScope) -> None:
        self.steps = 0
        self._work, self._at, self._scope = work, at, scope

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        go_on: Callable[[Any], Any] = inner.send
        given: Any = None
        while True:
            self.steps += 1
            if self.steps == self._at:
                self._scope.cancel()
            try:
                waits_for = go_on(given)
            except StopIteration as stop:
                return stop.value
            try:
                given, go_on = (yield waits_for), inner.send
            except BaseException as error:
                given, go_on = error, inner.throw


def tools(opened: list[str]) -> list[Any]:
    """Return tools that wait in different ways; `opened` has what has not been closed again."""

    @tool
    async def wait(number: int) -> str:
        """Wait."""
        opened.append(f"wait {number}")
        try:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
        finally:
            opened.remove(f"wait {number}")
        return str(number)

    @tool
    def block(number: int) -> int:
        """Block, in a thread."""
        return number

    @tool(effect="pure")
    async def stumble(number: int) -> int:
        """Fail on the way, once."""
        if number not in failed:
            failed.append(number)
            raise ConnectionResetError("lost")
        return number

    failed: list[int] = []
    return [wait, block, stumble]


CALLS = [call("wait", number=1), call("block", number=2), call("stumble", number=3)]


def assert_settled(result: Result | None, observer: Observer, opened: list[str]) -> None:
    """Hold a run that was cancelled, or not in time, to what every run promises."""
    assert opened == []
    if not observer.kinds:
        return  # it had not begun
    assert observer.kinds[0] is RunStarted
    assert observer.kinds[-1] is RunEnded
    assert len(observer.result) == 1
    assert observer.result[0] in {"cancelled", "done"}, observer.kinds
    if result is None:
        return
    waiting: list[str] = []
    for entry in result.transcript:
        if isinstance(entry, ToolResult):
            assert waiting.pop(0) == entry.call_id
            continue
        assert not waiting
        if isinstance(entry, ModelTurn):
            waiting = [one.id for one in entry.tool_calls]
    assert not waiting


def tasks() -> set[str]:
    here = asyncio.current_task()
    return {str(task.get_coro()) for task in asyncio.all_tasks() if task is not here}


async def test_at_every_step_of_the_task_that_runs(make_agent: MakeAgent) -> None:
    at, steps, stops = 0, 1, list[str]()
    while at < steps:
        at += 1
        opened: list[str] = []
        observer = Observer()
        busy = ModelUnavailableError("busy")
        with ScriptedModel([CALLS, busy, call("wait", number=4), "Done."]) as model:
            agent = make_agent(
                model,
                *tools(opened),
                observers=(observer,),
                policy=Policy(
                    retry=Retry(first_delay=0), tool_retry=Retry(attempts=2, first_delay=0)
                ),
            )
            scope = anyio.CancelScope()
            running = CancelledAt(agent.run("Go"), at, scope)
            with scope:
                await running
            model.requests.extend(model.requests[:1] * 4)  # what was not asked for is no failure
        steps = max(steps, running.steps)
        assert_settled(None, observer, opened)
        await anyio.wait_all_tasks_blocked()
        assert tasks() == set(), f"cancelled at step {at}"
        stops += observer.result
    assert steps >= 10
    assert stops.count("cancelled") >= 8


async def test_at_every_turn_of_the_loop_with_parallel_calls(make_agent: MakeAgent) -> None:
    """The points in the tasks of the tools as well: the loop is counted, not the task."""
    at, ended_by_itself, stops = 0, False, list[str]()
    while not ended_by_itself:
        at += 1
        opened: list[str] = []
        observer, results = Observer(), list[Result]()
        with ScriptedModel([CALLS, call("wait", number=4), "Done."]) as model:
            agent = make_agent(model, *tools(opened), observers=(observer,))
            async with agent.start("Go", when_done=results.append) as run:
                for _ in range(at):
                    await asyncio.sleep(0)
                run.cancel()
            model.requests.extend(model.requests[:1] * 3 or [None] * 3)  # type: ignore[list-item]
        assert_settled(results[0] if results else None, observer, opened)
        await anyio.wait_all_tasks_blocked()
        assert tasks() == set(), f"cancelled at turn {at}"
        stops += observer.result
        ended_by_itself = observer.result == ["done"] or at > 2_000
    assert stops.count("cancelled") >= 8
    assert stops[-1] == "done"


async def test_at_every_turn_of_the_loop_with_a_real_connection() -> None:
    """Wherever a request is when its run goes, the server hears of it and the connection ends."""
    script = {
        "Go": [
            Answer(calls=[("wait", {"number": 1}), ("block", {"number": 2})]),
            Answer(text="one two three four five six"),
        ]
    }
    cancelled = 0
    async with FakeSGLang(script) as server, open_pool() as pool:
        model = await pool.connect(server.base_url)
        at, ended_by_itself = 0, False
        while not ended_by_itself:
            at += 1 if at < 40 else 5
            opened: list[str] = []
            observer, results = Observer(), list[Result]()
            before = tasks()
            agent = Agent(
                name="test",
                model=model,
                registry=Registry(tools(opened)),
                policy=Policy(),
                plan=False,
                observers=(observer,),
            )
            async with agent.start("Go", when_done=results.append) as run:
                for _ in range(at):
                    await asyncio.sleep(0)
                run.cancel()
            assert_settled(results[0] if results else None, observer, opened)
            cancelled += observer.result == ["cancelled"]
            await server.wait_until(lambda seen: not seen.running)
            ended_by_itself = observer.result == ["done"] or at > 5_000
            left = {name for name in tasks() - before if "agentkit" in name}
            assert not left, f"cancelled at turn {at}"
    assert cancelled > 20


@pytest.mark.parametrize("at", range(1, 12))
async def test_a_run_that_waits_for_its_turn_leaves_the_queue(at: int) -> None:
    from agentkit.policies import Traffic
    from agentkit.testing import Fault

    slow = Answer(text="one two three", fault=Fault("stall", after=2))
    async with FakeSGLang(slow) as server, open_pool() as pool:
        model = await pool.connect(server.base_url, traffic=Traffic(concurrency=1))
        agent = Agent(name="test", model=model, registry=Registry([]), policy=Policy())
        async with agent.start("Go") as first:
            await server.wait_until(lambda seen: len(seen.running) == 1)
            async with agent.start("Go") as second:
                for _ in range(at):
                    await asyncio.sleep(0)
                second.cancel()
            assert (await second.result()).stop == "cancelled"
            server.release()
            assert (await first.result()).stop == "done"
        assert (await agent.run("Go")).stop == "done"
