# ruff: noqa: E402 - qwen-agent changes the process while it is imported
# qwen-agent declares bare lists and dicts, so next to nothing of it is known here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
import builtins
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

_look_up = socket.getaddrinfo  # the imports below replace it, for every test that follows

from qwen_agent.llm.schema import ContentItem
from qwen_agent.tools.base import (
    TOOL_REGISTRY,
    BaseTool,
    ToolServiceError,
    register_tool,
)

from agentkit import Policy, Timeouts, ToolResult
from agentkit.agent import Agent
from agentkit.errors import ConfigurationError, ToolError, ToolInputError
from agentkit.protocols import Tool
from agentkit.testing import ScriptedModel, call
from agentkit.toolkit import Registry
from agentkit.toolkit.qwen_agent import from_qwen_agent

socket.getaddrinfo = _look_up


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some of the tools make a folder `workspace`


def test_loading_qwen_agent_leaves_name_resolution_as_it_was() -> None:
    code = (
        "import socket; before = socket.getaddrinfo\n"
        "from agentkit.toolkit.qwen_agent import from_qwen_agent\n"
        "from_qwen_agent('storage'); assert socket.getaddrinfo is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Weather(BaseTool):
    """The older form: a list."""

    name = "weather"
    description = "Say how the weather\n  is in a place."
    parameters = [  # noqa: RUF012 - as qwen-agent declares it
        {"name": "place", "type": "string", "description": "a town", "required": True},
        {"name": "days", "type": "int"},
    ]

    def call(self, params: str | dict[str, Any], **kwargs: Any) -> str:
        given = self._verify_json_format_args(params)
        assert threading.current_thread() is not threading.main_thread()
        return f"{given['place']}: rain for {given.get('days', 1)} days"


class Shop(BaseTool):
    """The newer form: a JSON schema."""

    name = "shop"
    description = "Look into the shop."
    parameters = {  # noqa: RUF012 - as qwen-agent declares it
        "type": "object",
        "properties": {"fruit": {"type": "string", "enum": ["apple", "pear"]}},
        "required": ["fruit"],
    }

    def call(self, params: str | dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        assert isinstance(params, str)
        if json.loads(params)["fruit"] == "pear":
            raise ToolServiceError(code="404", message="no pears")
        return {"水果": 3, "cfg": self.cfg}


class Camera(BaseTool):
    name = "camera"
    description = "Take a picture."

    def call(self, params: str | dict[str, Any], **kwargs: Any) -> list[ContentItem]:
        return [ContentItem(text="A cat."), ContentItem(image="data:image/png;base64,AAAA")]


async def run(*tools: Tool, script: list[Any], policy: Policy | None = None) -> list[ToolResult]:
    with ScriptedModel(script) as model:
        agent = Agent(name="a", model=model, registry=Registry(tools), policy=policy or Policy())
        result = await agent.run("Do it.")
    assert result.stop == "done"
    return [entry for entry in result.transcript if isinstance(entry, ToolResult)]


async def test_a_tool_of_either_form_is_called_by_an_agent() -> None:
    tools = [from_qwen_agent(Weather()), from_qwen_agent(Shop({"k": 1})), from_qwen_agent(Camera)]
    calls = [
        call("weather", place="東京", days=2),
        call("shop", fruit="apple"),
        call("shop", fruit="pear"),
        call("camera"),
    ]
    weather, apple, pear, picture = await run(*tools, script=[calls, "Done."])
    assert (weather.text, weather.ok) == ("東京: rain for 2 days", True)
    assert json.loads(apple.text) == {"水果": 3, "cfg": {"k": 1}}
    assert pear.text == "ToolServiceError: Error code: 404. Error message: no pears"
    assert not pear.ok
    assert picture.text == "A cat.\n[image: inline]"


def test_the_list_form_becomes_a_json_schema() -> None:
    tool = from_qwen_agent(Weather, timeout_seconds=7)
    assert (tool.spec.name, tool.spec.timeout_seconds) == ("weather", 7)
    assert tool.spec.description == "Say how the weather is in a place."
    assert tool.spec.parameters == {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "a town"},
            "days": {"type": "integer"},
        },
        "required": ["place"],
        "additionalProperties": False,
    }
    assert from_qwen_agent(Camera).spec.parameters["properties"] == {}


def test_the_schema_form_is_taken_as_it_is() -> None:
    assert from_qwen_agent(Shop).spec.parameters == Shop.parameters


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        (Weather, {"days": 1}, "'place' is a required property"),
        (Weather, {"place": "Oslo", "days": "two"}, "days: 'two' is not of type 'integer'"),
        (Weather, {"place": "Oslo", "town": "Oslo"}, "'town' was unexpected"),
        (Shop, {"fruit": "fig"}, r"fruit: 'fig' is not one of \['apple', 'pear'\]"),
    ],
)
def test_wrong_arguments_are_refused_before_the_call(
    tool: type[BaseTool], arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ToolInputError, match=problem):
        from_qwen_agent(tool).validate(arguments)


def test_a_registered_tool_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TOOL_REGISTRY, "camera", raising=False)
    register_tool("camera")(Camera)
    assert from_qwen_agent("camera").spec.name == "camera"
    assert from_qwen_agent("storage").spec.parameters["required"] == ["operate"]
    del TOOL_REGISTRY["camera"]
    with pytest.raises(ConfigurationError, match="no tool named 'camera'") as caught:
        from_qwen_agent("camera")
    assert "storage" in caught.value.hint


async def test_a_real_tool_of_qwen_agent_works(tmp_path: Any) -> None:
    from qwen_agent.tools import Storage

    storage = from_qwen_agent(Storage({"storage_root_path": str(tmp_path)}))
    put = call("storage", operate="put", key="/a", value="41")
    get = call("storage", operate="get", key="/a")
    results = await run(storage, script=[put, get, "41"])
    assert results[1].text == "41"


async def test_a_hung_tool_is_given_up_at_its_time_limit() -> None:
    release = threading.Event()

    class Slow(Camera):
        name = "slow"

        def call(self, params: str | dict[str, Any], **kwargs: Any) -> list[ContentItem]:
            release.wait(30)
            return []

    try:
        policy = Policy(timeouts=Timeouts(tool=0.05))
        (late,) = await run(
            from_qwen_agent(Slow), script=[call("slow"), "Too slow."], policy=policy
        )
    finally:
        release.set()
    assert "took longer than 0.05 seconds" in late.text


async def test_a_tool_that_ends_the_program_only_fails() -> None:
    class Quitter(Camera):
        name = "quitter"

        def call(self, params: str | dict[str, Any], **kwargs: Any) -> list[ContentItem]:
            raise SystemExit(3)

    with pytest.raises(ToolError, match="SystemExit: 3"):
        await from_qwen_agent(Quitter).call({})


def test_what_is_no_tool_and_what_cannot_be_made_is_said() -> None:
    class Needy(Camera):
        name = "needy"

        def __init__(self, cfg: dict[str, Any] | None = None) -> None:
            raise ValueError("no key")

    class Nameless(Camera):
        name = "two words"

    class Odd(Camera):
        name = "odd"
        parameters = [{"type": "string"}]  # noqa: RUF012 - as qwen-agent declares it

    with pytest.raises(ConfigurationError, match="Needy of qwen-agent cannot be made: no key"):
        from_qwen_agent(Needy)
    with pytest.raises(ConfigurationError, match="'two words' cannot be the name of a tool"):
        from_qwen_agent(Nameless)
    with pytest.raises(ConfigurationError, match="parameters of Odd of qwen-agent cannot be read"):
        from_qwen_agent(Odd)
    with pytest.raises(ConfigurationError, match="is no tool of qwen-agent"):
        from_qwen_agent(3)  # pyright: ignore[reportArgumentType] - the mistake


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("qwen_agent"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match="qwen-agent cannot be loaded") as caught:
        from_qwen_agent("storage")
    assert "qwen-agentkit[qwen-agent]" in caught.value.hint
