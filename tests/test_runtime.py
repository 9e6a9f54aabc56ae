import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit import (
    AgentkitError,
    Retry,
    RunEnded,
    Runtime,
    Settings,
    ToolResult,
    read_settings,
    tool,
)
from agentkit.engine import Progress
from agentkit.errors import (
    ConfigurationError,
    EngineError,
    ModelUnavailableError,
    RequiredToolError,
)
from agentkit.testing import Answer, FakeSGLang, Fault, ScriptedModel, call
from agentkit.toolkit import builtin_tools
from agentkit.trace import list_traces

MakeSettings = Callable[..., Awaitable[Settings]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    monkeypatch.chdir(tmp_path)

    async def make(**given: Any) -> Settings:
        return await to_thread.run_sync(
            lambda: read_settings(**{"state_dir": tmp_path / "state", **given})
        )

    return make


@tool
async def get_current_time(timezone: str) -> str:
    """Tell the time."""
    return f"12:00 in {timezone}"


async def test_a_task_goes_through_every_floor_and_leaves_a_trace(
    settings: MakeSettings,
) -> None:
    async with FakeSGLang() as server:
        given = await settings(base_url=server.base_url)
        async with Runtime.open(given) as runtime:
            agent = runtime.agent(tools=[get_current_time], builtin=False)
            result = await agent.run("What time is it in Tokyo?")
    assert (result.stop, result.steps, result.calls) == ("done", 2, 1)
    assert [m.text for m in result.transcript if isinstance(m, ToolResult)] == [
        "12:00 in Asia/Tokyo"
    ]
    assert result.usage.reasoning_tokens > 0
    assert len(await to_thread.run_sync(list_traces, given.trace_dir)) == 1


async def test_opening_waits_for_a_server_that_is_still_starting(
    settings: MakeSettings, unused_tcp_port: int
) -> None:
    told: list[str] = []
    asked = anyio.Event()

    def progress(news: Progress) -> None:
        told.append(news.detail)
        asked.set()

    async with FakeSGLang(["Hello."], state="refused", port=unused_tcp_port) as server:

        async def boot() -> None:
            await asked.wait()
            await server.become("ready")

        patient = Retry(attempts=100, first_delay=0.05, max_delay=0.05)
        given = await settings(base_url=server.base_url, retry=patient)
        async with anyio.create_task_group() as group:
            group.start_soon(boot)
            async with Runtime.open(given, with_mcp=False, progress=progress) as runtime:
                assert (await runtime.agent(builtin=False).run("Hi")).text == "Hello."
    assert server.base_url in told[0]
    assert "Attempt 2 follows in" in told[0]


async def test_built_in_tools_are_found_by_entry_point(settings: MakeSettings) -> None:
    async with Runtime.open(await settings(trace=False), model=ScriptedModel([])) as runtime:
        assert [entry.spec.name for entry in runtime.tools] == [
            "clock", "time_elsewhere", "code_interpreter", "fetch",
        ]  # fmt: skip
    async with Runtime.open(
        await settings(trace=False, tools=("fetch",)), model=ScriptedModel([])
    ) as runtime:
        assert [entry.spec.name for entry in runtime.tools] == ["fetch"]


def test_a_built_in_tool_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="No built-in tool named 'clok'"):
        builtin_tools(["clok"])


async def test_the_interpreter_keeps_state_within_a_run_and_not_between_runs(
    settings: MakeSettings,
) -> None:
    first = [call("code_interpreter", code="x = 41"), call("code_interpreter", code="x + 1"), "42"]
    second = [call("code_interpreter", code="x"), "Gone."]
    with ScriptedModel([*first, *second]) as model:
        async with Runtime.open(await settings(), model=model) as runtime:
            agent = runtime.agent()
            kept = await agent.run("Compute")
            gone = await agent.run("Compute again")
    texts = [entry.text for entry in kept.transcript if isinstance(entry, ToolResult)]
    assert texts[1] == "42"
    lost = [entry for entry in gone.transcript if isinstance(entry, ToolResult)]
    assert not lost[0].ok
    assert "NameError" in lost[0].text


async def test_an_own_tool_takes_the_place_of_a_shared_one(settings: MakeSettings) -> None:
    @tool
    async def clock(zone: str) -> str:
        """Tell nothing."""
        return "never"

    async with Runtime.open(await settings(trace=False), model=ScriptedModel([])) as runtime:
        agent = runtime.agent(tools=[clock])
        assert next(iter(agent.registry)) is clock
        assert len(agent.registry) == 4


async def test_two_own_tools_of_one_name_are_refused(settings: MakeSettings) -> None:
    async with Runtime.open(await settings(trace=False), model=ScriptedModel([])) as runtime:
        with pytest.raises(ConfigurationError, match="Two tools"):
            runtime.agent(tools=[get_current_time, get_current_time])


async def test_plain_functions_are_tools_too(settings: MakeSettings) -> None:
    def double(number: int) -> int:
        """Double it."""
        return number * 2

    with ScriptedModel([call("double", number=21), "42"]) as model:
        async with Runtime.open(await settings(), model=model) as runtime:
            result = await runtime.agent(tools=[double], builtin=False).run("Go")
    assert [m.text for m in result.transcript if isinstance(m, ToolResult)] == ["42"]


async def test_a_failed_server_is_named_and_the_agent_goes_on(settings: MakeSettings) -> None:
    servers = {"gone": {"command": "no-such-server-anywhere"}}
    with ScriptedModel(["Hello."]) as model:
        async with Runtime.open(await settings(), model=model, mcp_servers=servers) as runtime:
            (state,) = runtime.servers
            result = await runtime.agent().run("Hi")
    assert (state.name, state.status, result.stop) == ("gone", "failed", "done")
    assert "no-such-server-anywhere" in state.error


async def test_a_required_server_that_fails_stops_the_start(settings: MakeSettings) -> None:
    servers = {"gone": {"command": "no-such-server-anywhere", "required": True}}
    with pytest.raises(RequiredToolError, match="gone"):
        async with Runtime.open(await settings(), model=ScriptedModel([]), mcp_servers=servers):
            pytest.fail("opened")


async def test_a_broken_server_file_is_told_with_its_place(settings: MakeSettings) -> None:
    await anyio.Path("mcp_servers.json").write_text('{"mcpServers": {,}}', encoding="utf-8")
    given = await settings()
    with pytest.raises(ConfigurationError, match=r"mcp_servers\.json:1:17"):
        async with Runtime.open(given, model=ScriptedModel([])):
            pytest.fail("opened")


async def test_no_server_at_the_base_url_is_said_plainly(settings: MakeSettings) -> None:
    with pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1:9"):
        async with Runtime.open(await settings(base_url="http://127.0.0.1:9/v1")):
            pytest.fail("opened")


async def test_an_engine_by_url_needs_the_url(settings: MakeSettings) -> None:
    with pytest.raises(ConfigurationError, match="no base_url") as caught:
        async with Runtime.open(await settings(engine="url")):
            pytest.fail("opened")
    assert "AGENTKIT_BASE_URL" in caught.value.hint


async def test_weights_that_are_not_there_are_an_engine_error(settings: MakeSettings) -> None:
    with pytest.raises((EngineError, ConfigurationError), match=r"nowhere\.gguf"):
        async with Runtime.open(await settings(weights="/nowhere.gguf")):
            pytest.fail("opened")


async def test_a_server_that_dies_between_steps_fails_the_run_with_its_transcript(
    settings: MakeSettings,
) -> None:
    script = [
        Answer(calls=[("get_current_time", {"timezone": "UTC"})]),
        *[Answer(fault=Fault("drop"))] * 4,
    ]
    async with FakeSGLang(script) as server:
        given = await settings(base_url=server.base_url, retry=Retry(attempts=2, first_delay=0))
        async with Runtime.open(given) as runtime:
            agent = runtime.agent(tools=[get_current_time], builtin=False)
            result = await agent.run("Go")
    assert result.stop == "failed"
    assert isinstance(result.error, ModelUnavailableError)
    assert (result.calls, len(result.transcript)) == (1, 3)


def test_a_script_that_is_not_async_runs_tasks_and_conversations(home: Path) -> None:
    with (
        ScriptedModel(["Hi.", "Ada."]) as model,
        Runtime.open_sync(model=model, with_mcp=False) as runtime,
    ):
        agent = runtime.agent()
        assert agent.run_sync("Hello").text == "Hi."
        talk = agent.conversation()
        assert talk.run_sync("I am Ada. Who am I?").text == "Ada."
        assert len(talk.messages) == 2


_NOTEBOOK = """
import asyncio
from agentkit import Runtime
from agentkit.testing import ScriptedModel

async def cell():
    with Runtime.open_sync(model=ScriptedModel(["Hi."]), with_mcp=False) as runtime:
        print(runtime.agent().run_sync("Hello").text)

asyncio.run(cell())
"""


def test_run_sync_works_where_a_loop_already_runs(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _NOTEBOOK],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("Hi.\n", "")


def test_an_error_while_opening_reaches_the_script(home: Path) -> None:
    with (
        pytest.raises(AgentkitError, match="no base_url"),
        Runtime.open_sync(read_settings(engine="url"), with_mcp=False),
    ):
        pytest.fail("opened")


def test_an_interrupt_stops_the_run_that_run_sync_waits_for(tmp_path: Path) -> None:
    ends: list[RunEnded] = []

    class Watcher:
        def observe(self, run_id: str, event: object) -> None:
            if isinstance(event, RunEnded):
                ends.append(event)

    @tool
    async def interrupt() -> str:
        """Do what Ctrl-C does, then go on for ever."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await anyio.sleep_forever()
        return ""

    given = read_settings(state_dir=tmp_path, mcp_servers=None)
    with (
        ScriptedModel([call("interrupt")]) as model,
        Runtime.open_sync(given, model=model, with_mcp=False) as runtime,
    ):
        agent = runtime.agent(tools=[interrupt], observers=[Watcher()])
        with pytest.raises(KeyboardInterrupt):
            agent.run_sync("Go")
        assert [event.stop for event in ends] == ["cancelled"]
    (trace,) = list_traces(given.trace_dir)
    assert trace.outcome == "cancelled"
