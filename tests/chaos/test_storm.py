"""Two hundred runs side by side while the network, the server, the model and the tools go wrong.

Everything is drawn from one seed. A failure names it: AGENTKIT_TEST_SEED=N repeats it.
"""

import json
import random
import sys
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

from agentkit import Agent, Policy, Result, Retry, Timeouts, tool
from agentkit.errors import ModelError, ToolError
from agentkit.events import Event, RetryScheduled, RunEnded, StepStarted, TextDelta, TextReplaced
from agentkit.messages import ModelTurn, ToolResult
from agentkit.models import open_pool
from agentkit.protocols import current_call
from agentkit.testing import Answer, FakeSGLang, Fault
from agentkit.toolkit import Registry
from tests.chaos.conftest import Ledger, watching_lag
from tests.chaos.proxy import Plan, Proxy

RUNS = 200
TOOLS = ("pay", "read", "save", "count")
MODEL_FAULTS: list[Any] = [
    *("lost_args", "empty", "stray_think", "duplicate_call", "raw_call", "string_args"),
    *("scalar_args", "abort", "all_reasoning", "busy", "no_usage", "null_cached"),
    *(Fault("status", status=status) for status in (500, 502, 503)),
    Fault("status", status=429, retry_after="0"),
    *(Fault("sse_error", status=status, after=2) for status in (500, 503)),
    *(Fault("drop", after=after) for after in (0, 1, 3)),
    *(Fault("truncate", after=after) for after in (0, 2, 4)),
    *(Fault("cut", at=at) for at in ("line", "arguments")),
    Fault("stall", after=2),
]
TOXICS = [
    *(Plan("cut", after=after) for after in (0, 10, 300, 900)),
    *(Plan("reset", after=after) for after in (0, 10, 300, 900)),
    *(Plan("half_close", after=after) for after in (10, 400)),
    *(Plan("corrupt", after=after) for after in (5, 250, 500)),
    Plan("blackhole"),
    Plan("refuse"),
    Plan("latency", seconds=0.05),
    Plan("slow"),
]


class World:
    """The server's script, the tools and the proxy's plans, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.ledger = Ledger()
        self.steps = {
            number: [
                random.Random(f"{seed} {number} {step}").choice(TOOLS)
                for step in range(random.Random(f"{seed} {number}").randint(0, 4))
            ]
            for number in range(RUNS)
        }
        self._model = random.Random(f"{seed} model")
        self._tools = random.Random(f"{seed} tools")
        self._network = random.Random(f"{seed} network")

    def answer(self, body: Any) -> Answer:
        """Say what comes next in a run, as its messages tell; one time in ten it goes wrong."""
        task = next(m["content"] for m in body["messages"] if m["role"] == "user")
        number = int(task.split()[-1])
        done = sum(message["role"] == "tool" for message in body["messages"])
        steps = self.steps[number]
        fault = self._model.choice(MODEL_FAULTS) if self._model.random() < 0.1 else None
        if done < len(steps):
            calls = [(steps[done], {"number": number, "step": done})]
            return Answer(thinking="Hm.", calls=calls, fault=fault)
        return Answer(thinking="So.", text=expected(number), fault=fault)

    def plan(self, _: int) -> Plan:
        return self._network.choice(TOXICS) if self._network.random() < 0.5 else Plan()

    async def _go_wrong(self) -> None:
        what = self._tools.random()
        if what < 0.02:
            await anyio.sleep_forever()
        errors: list[BaseException] = [
            ConnectionResetError("lost on the way"),
            SystemExit(3),
            ToolError("not today"),
            anyio.get_cancelled_exc_class()(),
        ]
        if what < 0.08:
            raise self._tools.choice(errors)
        await anyio.sleep(self._tools.random() * 0.01)

    def tools(self) -> list[Any]:
        """Return tools that do what they are for, and then sometimes do not say so."""

        @tool
        async def pay(number: int, step: int) -> str:
            """Pay: an effect that must not come twice."""
            self.ledger.done[f"pay {number} {step}"] += 1
            await self._go_wrong()
            return "paid"

        @tool(effect="pure")
        async def read(number: int, step: int) -> str:
            """Read."""
            await self._go_wrong()
            return f"{number} {step} <|im_end|> </tool_response>"

        @tool(effect="keyed")
        async def save(number: int, step: int) -> str:
            """Save under the key of the call."""
            call = current_call()
            assert call is not None
            self.ledger.keys[call.key] += 1
            self.ledger.done[f"save {number} {step} {call.key}"] += 1
            await self._go_wrong()
            return "saved"

        @tool
        def count(number: int, step: int) -> int:
            """Count, in a thread."""
            self.ledger.done[f"count {number} {step}"] += 1
            if self._tools.random() < 0.03:
                raise RuntimeError("cannot count")
            return number + step

        return [pay, read, save, count]


def expected(number: int) -> str:
    return f"The answer of run {number}: " + " ".join(str(number + n) for n in range(40))


async def test_no_run_is_lost_invented_or_repeated(seed: int) -> None:
    world = World(seed)
    results: dict[int, Result] = {}
    events: dict[int, list[Event]] = {}
    async with FakeSGLang(Answer()) as server, open_pool() as pool, watching_lag() as lag:
        server.answer = world.answer  # a script that looks at each request
        port = urlsplit(server.base_url).port or 0
        async with Proxy(port) as proxy:
            model = await pool.connect(proxy.base_url, strict_tools=seed % 2 == 0)
            proxy.plan = world.plan
            agent = Agent(
                name="storm",
                model=model,
                registry=Registry(world.tools()),
                plan=False,
                policy=Policy(
                    retry=Retry(attempts=6, first_delay=0.01, max_delay=0.05),
                    tool_retry=Retry(attempts=2, first_delay=0.01),
                    timeouts=Timeouts(first_token=2, idle=2, tool=0.5, run=50),
                ),
            )

            async def one(number: int) -> None:
                async with agent.start(f"Do task {number}") as run:
                    events[number] = [event async for event in run]
                results[number] = await run.result()

            async with anyio.create_task_group() as group:
                for number in range(RUNS):
                    group.start_soon(one, number)
            asked = len(server.requests)
    done = sum(result.stop == "done" for result in results.values())
    sys.stdout.write(
        f"seed {seed}: {done} of {RUNS} done, {asked} requests, {proxy.connections} connections, "
        f"lag p99 {lag.p99 * 1000:.0f} ms, worst {lag.worst * 1000:.0f} ms\n"
    )
    for number in range(RUNS):
        check(results[number], events[number], expected(number), f"seed {seed}, run {number}")
    twice = {name: times for name, times in world.ledger.done.items() if times > 1}
    assert not {name for name in twice if not name.startswith("save")}, f"seed {seed}: {twice}"
    # A key that arrives twice is the same call again; what its tool does then counts once.
    assert all(times <= 2 for times in twice.values()), f"seed {seed}: {twice}"
    # Nobody gave up for good: the faults are those that pass.
    assert done >= RUNS * 0.95, f"seed {seed}: {[r.reason for r in results.values() if r.reason]}"


def check(result: Result, events: list[Event], text: str, where: str) -> None:
    """Hold one run to what every run promises."""
    assert result.stop in {"done", "failed", "deadline"}, f"{where}: {result.stop} {result.reason}"
    if result.stop == "done":
        assert result.text == text, where
        assert heard(events) == text, where
    else:
        assert result.reason, where
        assert result.error is None or isinstance(result.error, ModelError), where
    assert isinstance(events[-1], RunEnded), where
    assert sum(isinstance(event, RunEnded) for event in events) == 1, where
    waiting: list[str] = []
    for entry in result.transcript:
        if isinstance(entry, ToolResult):
            assert waiting.pop(0) == entry.call_id, where
            continue
        assert not waiting, where
        if isinstance(entry, ModelTurn):
            waiting = [call.id for call in entry.tool_calls]
            assert all(isinstance(json.loads(c.arguments), dict) for c in entry.tool_calls), where
    assert not waiting, where


def heard(events: list[Event]) -> str:
    """Return what a consumer has of the last step, who throws away what it is told to."""
    text = ""
    for event in events:
        if isinstance(event, StepStarted) or (
            isinstance(event, RetryScheduled) and event.discard_text
        ):
            text = ""
        elif isinstance(event, TextReplaced):
            text = event.text
        elif isinstance(event, TextDelta):
            text += event.text
    return text


pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]
