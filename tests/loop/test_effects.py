"""What is repeated and what is not; what the model reads of a call that was lost."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentkit import Agent, Limits, Policy, Result, Retry, Timeouts, tool
from agentkit.errors import OutcomeUnknownError, ToolError, ToolUnavailableError
from agentkit.events import NoticeGiven
from agentkit.messages import ApprovalRequest, Decision, Effect, ToolResult
from agentkit.protocols import CallContext, current_call
from agentkit.resilience import abandoned
from agentkit.testing import ScriptedModel, call

MakeAgent = Callable[..., Agent]
VirtualTime = Callable[[Callable[[], Any]], Any]


def results(result: Result) -> list[str]:
    return [entry.text for entry in result.transcript if isinstance(entry, ToolResult)]


async def run(make_agent: MakeAgent, used: Any, **fields: Any) -> Result:
    with ScriptedModel([call(used.spec.name), "Done."]) as model:
        return await make_agent(model, used, **fields).run("Go")


@pytest.mark.parametrize(
    ("effect", "calls"), [("pure", 2), ("idempotent", 2), ("keyed", 2), ("once", 1)]
)
@pytest.mark.parametrize("lost", [OutcomeUnknownError("lost"), ConnectionResetError("lost")])
async def test_a_lost_call_is_repeated_where_its_effect_allows(
    make_agent: MakeAgent, effect: Effect, calls: int, lost: Exception
) -> None:
    seen: list[CallContext] = []

    @tool(effect=effect)
    async def work() -> str:
        """Work."""
        context = current_call()
        assert context is not None
        seen.append(context)
        if len(seen) == 1:
            raise lost
        return "worked"

    result = await run(make_agent, work)
    assert len(seen) == calls
    assert len({context.key for context in seen}) == 1
    assert [context.attempt for context in seen] == [1, 2][:calls]
    assert seen[0].run_id == result.run_id
    text = results(result)[0]
    if calls == 2:
        assert text == "worked"
    else:
        assert "lost" in text
        assert "What it has done by then is unknown" in text


async def test_a_call_knows_whether_somebody_can_be_asked(make_agent: MakeAgent) -> None:
    attended: list[bool] = []

    @tool
    async def look() -> str:
        """Look."""
        context = current_call()
        assert context is not None
        attended.append(context.attended)
        return "seen"

    async def approve(_request: ApprovalRequest) -> Decision:
        return True

    for approver in (None, approve):
        with ScriptedModel([call("look"), "Done."]) as model:
            await make_agent(model, look, approver=approver).run("Go")
    assert attended == [False, True]


async def test_each_call_has_a_key_of_its_own(make_agent: MakeAgent) -> None:
    keys: list[str] = []

    @tool(effect="keyed")
    async def pay(amount: int) -> str:
        """Pay."""
        context = current_call()
        assert context is not None
        keys.append(context.key)
        return str(amount)

    calls = [call("pay", amount=1), call("pay", amount=1)]
    with ScriptedModel([calls, call("pay", amount=1), "Done."]) as model:
        await make_agent(model, pay).run("Go")
    assert len(set(keys)) == len(keys) == 3
    assert current_call() is None


async def test_an_error_that_a_tool_tells_is_not_repeated(make_agent: MakeAgent) -> None:
    asked: list[int] = []

    @tool(effect="pure")
    async def look() -> str:
        """Look."""
        asked.append(1)
        raise ToolError("There is nothing there.")

    assert results(await run(make_agent, look)) == ["There is nothing there."]
    assert asked == [1]


@pytest.mark.parametrize("effect", ["pure", "once"])
async def test_what_has_done_nothing_is_repeated_whatever_its_effect(
    make_agent: MakeAgent, effect: Effect
) -> None:
    asked: list[int] = []

    @tool(effect=effect)
    async def send() -> str:
        """Send."""
        asked.append(1)
        raise ToolUnavailableError("It is down.")

    policy = Policy(tool_retry=Retry(attempts=3, first_delay=0.01))
    assert results(await run(make_agent, send, policy=policy)) == ["It is down."]
    assert len(asked) == 3


def test_a_pure_call_that_takes_too_long_is_tried_once_more(
    make_agent: MakeAgent, virtual_time: VirtualTime
) -> None:
    async def scenario() -> None:
        asked: list[float] = []

        @tool(effect="pure", timeout_seconds=5)
        async def look() -> str:
            """Look."""
            asked.append(anyio.current_effective_deadline() - anyio.current_time())
            await anyio.sleep(60)
            return "never"

        result = await run(make_agent, look)
        assert results(result) == ["'look' was stopped: it took longer than 5 seconds."]
        assert asked == [pytest.approx(5, abs=0.1)] * 2

    virtual_time(scenario)


def test_no_attempt_is_begun_that_the_run_has_no_time_for(
    make_agent: MakeAgent, virtual_time: VirtualTime
) -> None:
    async def scenario() -> None:
        left: list[float] = []

        @tool(effect="pure")
        async def look() -> str:
            """Look."""
            left.append(anyio.current_effective_deadline() - anyio.current_time())
            raise ConnectionError("lost")

        timeouts = Timeouts(run=10)
        policy = Policy(timeouts=timeouts, tool_retry=Retry(attempts=9, first_delay=8))
        with ScriptedModel([call("look"), "Done."]) as model:
            result = await make_agent(model, look, policy=policy).run("Go")
        assert result.stop == "done"
        assert left[0] == pytest.approx(10, abs=0.1)  # the tool sees what time there is

    virtual_time(scenario)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
async def test_whatever_a_tool_raises_stays_with_the_tool(
    make_agent: MakeAgent, kind: type[BaseException]
) -> None:
    @tool
    async def rude() -> str:
        """Be rude."""
        await anyio.lowlevel.checkpoint()
        raise kind

    result = await run(make_agent, rude)
    assert (result.stop, result.text) == ("done", "Done.")
    assert kind.__name__ in results(result)[0]


def test_a_tool_that_swallows_its_cancellation_is_abandoned_counted_and_named(
    make_agent: MakeAgent, virtual_time: VirtualTime
) -> None:
    async def scenario() -> None:
        release = anyio.Event()

        @tool(timeout_seconds=3)
        async def stubborn() -> str:
            """Go on."""
            with anyio.CancelScope(shield=True):
                await release.wait()
            return "late"

        notices: list[str] = []
        with ScriptedModel([call("stubborn"), "Done."]) as model:
            async with make_agent(model, stubborn).start("Go") as going:
                notices = [e.text async for e in going if isinstance(e, NoticeGiven)]
            result = await going.result()
        assert "was stopped: it took longer than 3 seconds" in results(result)[0]
        assert result.abandoned == abandoned() == ("stubborn",)
        assert notices == ["stubborn does not stop when it is told to: it is left to itself."]
        release.set()
        await anyio.sleep(0.1)
        assert abandoned() == ()

    virtual_time(scenario)


def test_a_tool_that_hangs_each_time_is_not_called_for_ever(
    make_agent: MakeAgent, virtual_time: VirtualTime
) -> None:
    async def scenario() -> None:
        release, begun = anyio.Event(), list[int]()

        @tool(timeout_seconds=1)
        async def stubborn(number: int) -> str:
            """Go on."""
            begun.append(number)
            with anyio.CancelScope(shield=True):
                await release.wait()
            return "late"

        calls = [call("stubborn", number=number) for number in range(25)]
        limits = Limits(parallel_calls=1)
        with ScriptedModel([calls, "Done."]) as model:
            result = await make_agent(model, stubborn, policy=Policy(limits=limits)).run("Go")
        release.set()
        await anyio.sleep(0.1)
        assert len(begun) == len(result.abandoned) == 20
        refused = "It hangs: 20 earlier calls have not ended yet."
        assert results(result).count(refused) == 5

    virtual_time(scenario)


async def test_a_sync_tool_that_hangs_is_left_in_its_thread(make_agent: MakeAgent) -> None:
    release = threading.Event()

    @tool(timeout_seconds=0.05)
    def hang() -> str:
        """Hang."""
        release.wait(20)
        return "late"

    result = await run(make_agent, hang)
    assert "was stopped: it took longer than 0.05 seconds" in results(result)[0]
    release.set()


async def test_the_others_of_a_turn_are_kept_when_one_fails(make_agent: MakeAgent) -> None:
    @tool
    async def work(number: int) -> str:
        """Work."""
        await anyio.sleep(0.001 * (5 - number))
        if number == 2:
            raise OSError(5, "broken")
        return str(number)

    calls = [call("work", number=number) for number in range(5)]
    with ScriptedModel([calls, "Done."]) as model:
        result = await make_agent(model, work).run("Go")
    assert results(result) == ["0", "1", "OSError: [Errno 5] broken", "3", "4"]
