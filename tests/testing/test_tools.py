from typing import TYPE_CHECKING

import anyio
import pytest

from agentkit.errors import ToolError, ToolInputError
from agentkit.testing import HANG, RecordingTool, StaticTool, echo

if TYPE_CHECKING:
    from agentkit.messages import JsonObject
    from agentkit.protocols import Tool


async def test_echo_gives_back_its_text_and_wants_one() -> None:
    tool: Tool = echo
    assert await tool.call(tool.validate({"text": "hi"})) == "hi"
    with pytest.raises(ToolInputError, match="'text' is a required property"):
        tool.validate({})


async def test_a_static_tool_always_says_the_same() -> None:
    tool: Tool = StaticTool("now", "noon")
    assert [await tool.call({}), await tool.call({"x": 1})] == ["noon", "noon"]


async def test_a_recording_tool_gives_its_results_in_turn_and_repeats_the_last() -> None:
    tool = RecordingTool("now", results=["one", ToolError("two"), "three"])
    assert await tool.call({"n": 1}) == "one"
    with pytest.raises(ToolError, match="two"):
        await tool.call({"n": 2})
    assert [await tool.call({"n": n}) for n in (3, 4)] == ["three", "three"]
    assert tool.calls == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]


async def test_a_hanging_call_ends_only_when_it_is_cancelled() -> None:
    tool = RecordingTool("now", results=[HANG])
    nothing: JsonObject = {}
    async with anyio.create_task_group() as group:
        group.start_soon(tool.call, nothing)
        await tool.wait_called()
        assert tool.running == 1
        group.cancel_scope.cancel()
    assert (tool.running, tool.cancelled) == (0, 1)


def test_a_recording_tool_without_results_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one result"):
        RecordingTool("now", results=[])
