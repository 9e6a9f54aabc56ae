"""Calls that a tool makes of the other tools of its run: held to what the model's own are."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from agentkit import Agent, Limits, Policy, Result, tool
from agentkit.errors import ToolError, ToolUnavailableError
from agentkit.events import (
    ApprovalAsked,
    CallFinished,
    CallProgressed,
    CallStarted,
    Event,
    NestedEvent,
)
from agentkit.messages import ApprovalRequest, Decision, JsonObject, ToolResult, ToolSpec
from agentkit.protocols import CallContext, current_call
from agentkit.testing import ScriptedModel, call, echo
from agentkit.toolkit import ask_first

MakeAgent = Callable[..., Agent]
Body = Callable[[CallContext], Awaitable[str]]


class Script:
    """A tool whose work is a function that is given the call it is made in."""

    def __init__(self, body: Body, name: str = "script", seconds: float | None = None) -> None:
        self.spec = ToolSpec(name, "Do it.", {"type": "object"}, timeout_seconds=seconds)
        self._body = body

    def validate(self, arguments: JsonObject) -> JsonObject:
        return arguments

    async def call(self, arguments: JsonObject) -> str:
        context = current_call()
        assert context is not None
        return await self._body(context)


class Seen:
    """An observer that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, run_id: str, event: Event) -> None:
        self.events.append(event)

    def calls(self) -> list[tuple[str, str, bool]]:
        """Return kind, name and whether it is nested of each event of a call."""
        return [
            (event.kind, event.name, bool(event.within))
            for event in self.events
            if isinstance(event, CallStarted | CallFinished)
        ]

    def results(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, CallFinished) and e.within]


async def go(
    make_agent: MakeAgent,
    body: Body,
    *tools: Any,
    seconds: float | None = None,
    **fields: Any,
) -> tuple[Result, Seen, str]:
    """Run a script; return the result, what was seen, and what the model has read of it."""
    seen = Seen()
    with ScriptedModel([call("script"), "Done."]) as model:
        agent = make_agent(
            model, Script(body, seconds=seconds), *tools, observers=(seen,), **fields
        )
        result = await agent.run("Go")
    (read,) = (entry.text for entry in result.transcript if isinstance(entry, ToolResult))
    return result, seen, read


def limited(**limits: Any) -> Policy:
    return Policy(limits=Limits(**limits))


async def refused(context: CallContext, name: str, **arguments: Any) -> str:
    """Make a call that must fail, and return why."""
    with pytest.raises(ToolError) as caught:
        await context.call_tool(name, arguments)
    return str(caught.value)


async def test_a_nested_call_is_counted_and_told_and_the_transcript_has_only_the_outer_one(
    make_agent: MakeAgent,
) -> None:
    async def body(context: CallContext) -> str:
        assert [spec.name for spec in context.tools] == ["echo"]
        one = await context.call_tool("echo", {"text": "a"})
        return one + await context.call_tool("echo", {"text": "b"})

    result, seen, read = await go(make_agent, body, echo)
    assert (read, result.text, result.calls) == ("ab", "Done.", 3)
    assert seen.calls() == [
        ("call", "script", False),
        ("call", "echo", True),
        ("result", "echo", True),
        ("call", "echo", True),
        ("result", "echo", True),
        ("result", "script", False),
    ]
    outer, first, second = (e for e in seen.events if isinstance(e, CallStarted))
    assert (first.within, second.within) == (outer.call_id, outer.call_id)
    assert [one.call_id for one in (first, second)] == [f"{outer.call_id}.{n}" for n in (1, 2)]


async def test_what_does_not_fit_is_refused_as_it_is_for_the_model(make_agent: MakeAgent) -> None:
    async def body(context: CallContext) -> str:
        assert "No tool named 'ecko'" in await refused(context, "ecko")
        assert "Wrong arguments for 'square'" in await refused(context, "square", number="x")
        assert "no JSON object" in await refused(context, "square", number={1})
        assert "from within itself" in await refused(context, "script")
        return "all refused"

    @tool
    def square(number: int) -> int:
        """Square."""
        return number**2

    result, seen, read = await go(make_agent, body, square)
    assert (read, result.calls) == ("all refused", 1)
    assert len(seen.results()) == 2


async def test_a_nested_call_gets_the_whole_result_and_the_events_a_short_one(
    make_agent: MakeAgent,
) -> None:
    @tool
    def numbers() -> list[int]:
        """Count."""
        return list(range(100_000))

    async def body(context: CallContext) -> str:
        return str(sum(json.loads(await context.call_tool("numbers", {}))))

    _, seen, read = await go(make_agent, body, numbers, policy=limited(result_chars=200))
    assert read == str(sum(range(100_000)))
    assert [len(text) < 300 for text in seen.results()] == [True]


async def test_even_a_whole_result_has_an_end(make_agent: MakeAgent) -> None:
    @tool
    def much() -> str:
        """Give much."""
        return "x" * 3_000_000

    async def body(context: CallContext) -> str:
        return str(len(await context.call_tool("much", {})))

    _, _, read = await go(make_agent, body, much)
    assert 1_000_000 < int(read) < 1_000_100


async def test_a_tool_that_fails_raises_its_own_words(make_agent: MakeAgent) -> None:
    @tool
    def fragile() -> str:
        """Break."""
        raise KeyError("no such key")

    async def body(context: CallContext) -> str:
        return await refused(context, "fragile")

    _, seen, read = await go(make_agent, body, fragile)
    assert read == "KeyError: 'no such key'" == seen.results()[0]


async def test_the_limit_of_calls_holds_for_nested_ones_and_ends_the_run(
    make_agent: MakeAgent,
) -> None:
    done: list[str] = []
    failed: list[str] = []

    async def body(context: CallContext) -> str:
        async def one(number: int) -> None:
            try:
                done.append(await context.call_tool("echo", {"text": str(number)}))
            except ToolError as error:
                failed.append(str(error))

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(one, number)
        return "tried"

    result, _, _ = await go(make_agent, body, echo, policy=limited(calls=4))
    assert (len(done), result.calls, result.stop) == (3, 4, "limit")
    assert set(failed) == {"Not run: the run's limit of 4 calls is reached."}


async def test_as_many_run_side_by_side_as_the_policy_allows(make_agent: MakeAgent) -> None:
    now = most = 0

    @tool
    async def slow() -> str:
        """Take a moment."""
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        now -= 1
        return ""

    async def body(context: CallContext) -> str:
        async def one() -> None:
            await context.call_tool("slow", {})

        async with anyio.create_task_group() as group:
            for _ in range(9):
                group.start_soon(one)
        return str(most)

    _, _, read = await go(make_agent, body, slow, policy=limited(parallel_calls=3))
    assert read == "3"


async def test_a_nested_call_ends_with_its_own_time_and_the_outer_one_goes_on(
    make_agent: MakeAgent,
) -> None:
    @tool(timeout_seconds=0.05)
    async def hang() -> str:
        """Hang."""
        await anyio.sleep_forever()
        return ""

    async def body(context: CallContext) -> str:
        return await refused(context, "hang")

    _, _, read = await go(make_agent, body, hang)
    assert "it took longer than 0.05 seconds" in read


async def test_a_nested_call_is_repeated_where_its_effect_allows_it(make_agent: MakeAgent) -> None:
    keys: list[str] = []

    @tool(effect="once")
    async def shaky() -> str:
        """Fail at first."""
        context = current_call()
        assert context is not None
        keys.append(context.key)
        if len(keys) == 1:
            raise ToolUnavailableError("Not there yet.")
        return "there"

    async def body(context: CallContext) -> str:
        return await context.call_tool("shaky", {})

    _, _, read = await go(make_agent, body, shaky)
    assert read == "there"
    assert len(set(keys)) == 1 < len(keys)


async def test_a_person_is_asked_about_nested_calls_one_at_a_time(make_agent: MakeAgent) -> None:
    asked: list[ApprovalRequest] = []
    at_once = 0

    async def approve(request: ApprovalRequest) -> Decision:
        nonlocal at_once
        at_once += 1
        assert at_once == 1
        asked.append(request)
        await anyio.lowlevel.checkpoint()
        at_once -= 1
        return True if request.arguments["text"] != "b" else "Not that."

    async def body(context: CallContext) -> str:
        said: dict[str, str] = {}

        async def one(text: str) -> None:
            try:
                said[text] = await context.call_tool("echo", {"text": text})
            except ToolError as error:
                said[text] = str(error)

        async with anyio.create_task_group() as group:
            for text in "abc":
                group.start_soon(one, text)
        return json.dumps(said, sort_keys=True)

    result, _, read = await go(make_agent, body, ask_first(echo), approver=approve)
    no = "Not run: the person you work for has refused this call: Not that."
    assert json.loads(read) == {"a": "a", "b": no, "c": "c"}
    assert {request.call_id.rpartition(".")[2] for request in asked} == {"1", "2", "3"}
    assert result.calls == 3


async def test_with_nobody_to_ask_a_nested_call_fails_and_the_run_does_not_pause(
    make_agent: MakeAgent,
) -> None:
    async def body(context: CallContext) -> str:
        return await refused(context, "echo", text="a")

    result, seen, read = await go(make_agent, body, ask_first(echo))
    assert "nobody can be asked while script is at work. Call echo by itself." in read
    assert (result.stop, result.paused) == ("done", None)
    assert not [event for event in seen.events if isinstance(event, ApprovalAsked)]


async def test_calls_of_the_model_that_wait_for_a_person_still_wait_after_nested_ones(
    make_agent: MakeAgent,
) -> None:
    async def body(context: CallContext) -> str:
        return await context.call_tool("echo", {"text": "a"}) + await refused(context, "pay")

    @tool(approval="always")
    def pay() -> str:
        """Pay."""
        return "paid"

    with ScriptedModel([[call("pay"), call("script")], "Done."]) as model:
        agent = make_agent(model, Script(body), echo, pay)
        first = await agent.run("Go")
        assert first.paused is not None
        (waiting,) = first.paused.waiting
        assert waiting.name == "pay"
        assert [one.name for one in first.paused.finished] == ["script"]
        result = await agent.resume(first.paused, {waiting.call_id: True})
    assert result.stop == "done"


async def test_a_tool_that_is_withheld_is_withheld_from_nested_calls_too(
    make_agent: MakeAgent,
) -> None:
    said: list[str] = []

    async def body(context: CallContext) -> str:
        said.append(await refused(context, "echo", text="a"))
        return said[0]

    turns = [call("echo", text="a")] * 2 + [call("script"), "Done."]
    with ScriptedModel(turns) as model:
        await make_agent(model, Script(body), echo, policy=limited(repeats=2)).run("Go")
    assert "echo has given the same again and again, and is withheld" in said[0]


async def test_a_nested_call_can_make_no_others(make_agent: MakeAgent) -> None:
    async def inner(context: CallContext) -> str:
        assert context.tools == ()
        return await refused(context, "echo", text="a")

    async def body(context: CallContext) -> str:
        return await context.call_tool("inner", {})

    _, _, read = await go(make_agent, body, Script(inner, "inner"), echo)
    assert "this call is nested" in read


async def test_a_call_that_is_over_makes_no_more(make_agent: MakeAgent) -> None:
    kept: list[CallContext] = []

    async def body(context: CallContext) -> str:
        kept.append(context)
        return "kept"

    result, seen, _ = await go(make_agent, body, echo)
    assert "the call of script is over" in await refused(kept[0], "echo", text="a")
    assert (result.calls, seen.results()) == (1, [])


async def test_nested_calls_end_with_the_call_that_has_made_them(make_agent: MakeAgent) -> None:
    ended: list[str] = []

    @tool
    async def hang() -> str:
        """Hang."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("hang")
        return ""

    async def body(context: CallContext) -> str:
        return await context.call_tool("hang", {})

    _, seen, read = await go(make_agent, body, hang, seconds=0.05)
    assert ended == ["hang"]
    assert seen.results()[0].startswith("Stopped: the call that has made this one")
    assert read.startswith("'script' was stopped: it took longer than 0.05 seconds.")


async def test_a_run_that_is_cancelled_cancels_nested_calls(make_agent: MakeAgent) -> None:
    begun, ended = anyio.Event(), list[str]()

    @tool
    async def hang() -> str:
        """Hang."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("hang")
        return ""

    async def body(context: CallContext) -> str:
        return await context.call_tool("hang", {})

    seen = Seen()
    with ScriptedModel([call("script")]) as model:
        agent = make_agent(model, Script(body), hang, observers=(seen,))
        async with agent.start("Go") as run:
            await begun.wait()
            run.cancel()
    assert ended == ["hang"]
    assert seen.results()[0].startswith("Stopped: the call that has made this one")
    assert seen.events[-1].kind == "end"


async def test_progress_of_a_nested_call_names_the_outer_one(make_agent: MakeAgent) -> None:
    async def inner(context: CallContext) -> str:
        context.report(1, 2, "half")
        return ""

    async def body(context: CallContext) -> str:
        return await context.call_tool("inner", {})

    _, seen, _ = await go(make_agent, body, Script(inner, "inner"))
    (progress,) = (event for event in seen.events if isinstance(event, CallProgressed))
    assert progress.call_id == f"{progress.within}.1"


async def test_an_agent_can_be_the_tool_of_a_nested_call(make_agent: MakeAgent) -> None:
    async def body(context: CallContext) -> str:
        return await context.call_tool("helper", {"task": "Say hello"})

    with ScriptedModel(["Hello."]) as other:
        helper = make_agent(other, name="helper").as_tool()
        _, seen, read = await go(make_agent, body, helper)
    assert read == "Hello."
    inner = {event.call_id for event in seen.events if isinstance(event, NestedEvent)}
    started = [e for e in seen.events if isinstance(e, CallStarted) and e.name == "helper"]
    assert inner == {started[0].call_id}
