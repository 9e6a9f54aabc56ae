"""An agent as an MCP server, asked by the SDK's own client in this process."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent

from agentkit import Agent, Limits, Policy, ToolError, UserMessage, tool
from agentkit.errors import ModelRequestError
from agentkit.messages import ModelTurn, ToolResult
from agentkit.protocols import current_call
from agentkit.testing import ScriptedModel, call, echo, step

if TYPE_CHECKING:
    from agentkit.protocols import ModelRequest

MakeAgent = Callable[..., Agent]
Connect = Callable[..., AbstractAsyncContextManager[Client]]


def text_of(result: CallToolResult) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


def structured(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None
    return result.structured_content


async def test_its_one_tool_gives_the_answer(make_agent: MakeAgent, connect: Connect) -> None:
    with ScriptedModel([call("echo", text="noon"), "It is noon."]) as model:
        agent = make_agent(model, echo, name="time keeper", description="Knows the time.")
        async with connect(agent) as client:
            (offered,) = (await client.list_tools()).tools
            assert (offered.name, offered.description) == ("time_keeper", "Knows the time.")
            assert offered.input_schema["required"] == ["task"]
            result = await client.call_tool("time_keeper", {"task": "What time is it?"})
    assert not result.is_error
    assert text_of(result) == "It is noon."
    found = structured(result)
    assert {key: found[key] for key in ("text", "stop", "reason", "steps")} == {
        "text": "It is noon.",
        "stop": "done",
        "reason": "",
        "steps": 2,
    }
    assert len(found["run_id"]) == 32
    on = result.content[1]
    assert isinstance(on, TextContent)
    assert on.text == f"conversation_id: {found['conversation_id']}"


async def test_an_agent_without_a_description_or_a_usable_name_is_still_a_tool(
    make_agent: MakeAgent, connect: Connect
) -> None:
    async with connect(make_agent(ScriptedModel([]), name="助手")) as client:
        (offered,) = (await client.list_tools()).tools
    assert offered.name == "run_task"
    assert "Give a task to the agent 助手" in (offered.description or "")


async def test_progress_says_what_goes_on_and_counts_up(
    make_agent: MakeAgent, connect: Connect, told: Any
) -> None:
    @tool
    async def look(what: str) -> str:
        """Look at something."""
        current = current_call()
        assert current is not None
        current.report(2, 8, "pages")
        raise ToolError(f"no {what}")

    script = [call("echo", text="secret"), call("look", what="door"), "Done."]
    with ScriptedModel(script) as model:
        async with connect(make_agent(model, echo, look)) as client:
            await client.call_tool("helper", {"task": "Go"}, progress_callback=told)
            await told.wait_for("step 3")
    assert told.lines == [
        "step 1",
        "echo: started",
        "echo: done",
        "step 2",
        "look: started",
        "look: 2 of 8: pages",
        "look: failed",
        "step 3",
    ]
    assert [done for done, _, _ in told.seen] == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_cancelling_the_call_closes_the_request_to_the_model(
    make_agent: MakeAgent, connect: Connect
) -> None:
    asked, closed = anyio.Event(), anyio.Event()

    class Slow(ScriptedModel):
        async def ask(self, request: "ModelRequest", emit: Any) -> ModelTurn:
            asked.set()
            try:
                return await super().ask(request, emit)
            finally:
                closed.set()

    async with (
        connect(make_agent(Slow([step("", hang=True), "Still here."]))) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.call_tool, "helper", {"task": "Wait"})
        await asked.wait()
        tasks.cancel_scope.cancel()
    assert closed.is_set()


async def test_cancelling_the_call_ends_its_tools_and_the_server_goes_on(
    make_agent: MakeAgent, connect: Connect, told: Any
) -> None:
    ended = anyio.Event()

    @tool
    async def wait() -> str:
        """Wait."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return ""

    with ScriptedModel([call("wait"), "Still here."]) as model:
        async with connect(make_agent(model, wait)) as client:
            async with anyio.create_task_group() as tasks:

                async def ask() -> None:
                    await client.call_tool("helper", {"task": "Go"}, progress_callback=told)

                tasks.start_soon(ask)
                await told.wait_for("wait: started")
                tasks.cancel_scope.cancel()
            await ended.wait()
            result = await client.call_tool("helper", {"task": "Are you there?"})
    assert text_of(result) == "Still here."


async def test_two_conversations_go_on_each_from_its_own_end(
    make_agent: MakeAgent, connect: Connect
) -> None:
    with ScriptedModel(["Hello, Ann.", "Hello, Bob.", "Ann.", "Bob."]) as model:
        async with connect(make_agent(model)) as client:
            first = await client.call_tool("helper", {"task": "I am Ann."})
            second = await client.call_tool("helper", {"task": "I am Bob."})
            for earlier, name in ((first, "Ann."), (second, "Bob.")):
                known = structured(earlier)["conversation_id"]
                arguments = {"task": "Who am I?", "conversation_id": known}
                later = await client.call_tool("helper", arguments)
                assert text_of(later) == name
                assert structured(later)["conversation_id"] == known
    assert [m.text for m in model.requests[2].messages if isinstance(m, UserMessage)] == [
        "I am Ann.",
        "Who am I?",
    ]


async def test_the_conversation_that_was_quiet_for_longest_is_forgotten_first(
    make_agent: MakeAgent, connect: Connect
) -> None:
    with ScriptedModel(["1", "2", "3", "4"]) as model:
        async with connect(make_agent(model), conversations=2) as client:

            async def ask(conversation_id: str | None = None) -> CallToolResult:
                return await client.call_tool(
                    "helper", {"task": "Go on.", "conversation_id": conversation_id}
                )

            ids = [structured(await ask())["conversation_id"] for _ in range(2)]
            await ask(ids[0])
            await ask()
            result = await ask(ids[1])
    assert result.is_error
    assert f"No conversation '{ids[1]}' is remembered: the last 2 are" in text_of(result)


async def test_runs_of_one_conversation_follow_one_another(
    make_agent: MakeAgent, connect: Connect, told: Any
) -> None:
    gate = anyio.Event()

    @tool
    async def wait() -> str:
        """Wait."""
        await gate.wait()
        return "over"

    with ScriptedModel(["Hello.", call("wait"), "Waited.", "Next."]) as model:
        async with connect(make_agent(model, wait)) as client:
            first = await client.call_tool("helper", {"task": "Hi"})
            known = structured(first)["conversation_id"]
            async with anyio.create_task_group() as tasks:

                async def ask(task: str) -> None:
                    arguments = {"task": task, "conversation_id": known}
                    await client.call_tool("helper", arguments, progress_callback=told)

                tasks.start_soon(ask, "Wait")
                await told.wait_for("wait: started")
                tasks.start_soon(ask, "Then?")
                await told.wait_for("other runs come first")
                gate.set()
    asked = [m.text for m in model.requests[3].messages if isinstance(m, UserMessage)]
    assert asked == ["Hi", "Wait", "Then?"]


async def test_runs_go_on_side_by_side_up_to_a_limit_and_more_wait(
    make_agent: MakeAgent, connect: Connect, told: Any
) -> None:
    inside = most = 0
    gate, both = anyio.Event(), anyio.Event()

    @tool
    async def meet() -> str:
        """Meet."""
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 2:
            both.set()
        await gate.wait()
        inside -= 1
        return "met"

    def say(request: "ModelRequest") -> Any:
        return "Done." if isinstance(request.messages[-1], ToolResult) else call("meet")

    with ScriptedModel([say] * 6) as model:
        async with connect(make_agent(model, meet), concurrency=2) as client:
            results: list[CallToolResult] = []

            async def ask() -> None:
                results.append(
                    await client.call_tool("helper", {"task": "Meet"}, progress_callback=told)
                )

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ask)
                await both.wait()
                await told.wait_for("other runs come first")
                gate.set()
    assert [text_of(result) for result in results] == ["Done."] * 3
    assert most == 2


@pytest.mark.parametrize(
    ("turns", "stop", "message"),
    [
        ([ModelRequestError("The server refuses.")], "failed", "The server refuses."),
        ([call("echo", text="a"), "As far as I got."], "limit", "So far: As far as I got."),
        ([call("pay")], "approval", "The run stopped (approval): "),
    ],
)
async def test_a_run_that_is_not_done_is_an_error_that_names_the_stop(
    make_agent: MakeAgent, connect: Connect, turns: list[Any], stop: str, message: str
) -> None:
    @tool(approval="always")
    def pay() -> None:
        """Pay."""

    policy = Policy(limits=Limits(steps=1))
    with ScriptedModel(turns) as model:
        async with connect(make_agent(model, echo, pay, policy=policy)) as client:
            result = await client.call_tool("helper", {"task": "Go"})
    assert result.is_error
    assert f"The run stopped ({stop}): " in text_of(result)
    assert message in text_of(result)
    assert structured(result)["stop"] == stop
    assert "Traceback" not in str(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, 'Give the task in words: {"task": "..."}.'),
        ({"task": " "}, "Give the task in words"),
        ({"task": 7}, "Give the task in words"),
        ({"task": "Go", "speed": 2}, "There is no argument 'speed'"),
        ({"task": "Go", "conversation_id": 7}, "conversation_id is a text"),
        ({"task": "Go", "conversation_id": "../x"}, "No conversation '../x' is remembered"),
    ],
)
async def test_wrong_arguments_are_an_error_that_says_what_is_wrong(
    make_agent: MakeAgent, connect: Connect, arguments: dict[str, Any], message: str
) -> None:
    async with connect(make_agent(ScriptedModel([]))) as client:
        await client.list_tools()
        result = await client.call_tool("helper", arguments)
    assert result.is_error
    assert message in text_of(result)


async def test_an_unknown_tool_is_an_error_that_names_the_known_one(
    make_agent: MakeAgent, connect: Connect
) -> None:
    async with connect(make_agent(ScriptedModel([]))) as client:
        result = await client.call_tool("telescope", {"task": "Look"})
    assert result.is_error
    assert text_of(result) == "No tool named 'telescope'. Known tools: helper."
