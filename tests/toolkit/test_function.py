import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial, wraps
from typing import Annotated, Any, Literal

import anyio
import pytest
from anyio import from_thread
from pydantic import BaseModel, Field

from agentkit import ToolError, tool
from agentkit.errors import ConfigurationError, ToolInputError
from agentkit.toolkit import FunctionTool, _threads


class Unit(StrEnum):
    METRE = "m"
    FOOT = "ft"


class Point(BaseModel):
    x: float
    y: float = 0.0


@tool
async def measure(
    where: Point,
    unit: Unit = Unit.METRE,
    day: date | None = None,
    mode: Literal["fast", "exact"] = "fast",
    times: Annotated[int, Field(ge=1, le=9)] = 1,
) -> dict[str, Any]:
    """Measure a place.

    Slowly if need be.

    Args:
        where: the place
            on the map
        times: how often
    """
    return {"x": where.x, "unit": unit, "day": day, "mode": mode, "times": times}


def test_the_schema_comes_from_signature_and_docstring() -> None:
    schema = measure.spec.parameters
    assert measure.spec.name == "measure"
    assert measure.spec.description == "Measure a place. Slowly if need be."
    assert schema["required"] == ["where"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["where"]["description"] == "the place on the map"
    assert schema["properties"]["times"] == {
        "default": 1, "description": "how often", "maximum": 9, "minimum": 1, "type": "integer",
    }  # fmt: skip
    assert schema["properties"]["mode"]["enum"] == ["fast", "exact"]
    assert schema["$defs"]["Unit"] == {"enum": ["m", "ft"], "type": "string"}


async def test_arguments_arrive_as_the_types_of_the_signature() -> None:
    checked = measure.validate({"where": {"x": 1}, "unit": "ft", "day": "2026-01-02"})
    assert (checked["where"], checked["unit"], checked["day"]) == (
        Point(x=1), Unit.FOOT, date(2026, 1, 2),
    )  # fmt: skip
    assert await measure.call(checked) == (
        '{"x":1.0,"unit":"ft","day":"2026-01-02","mode":"fast","times":1}'
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "where: Field required"),
        ({"where": {"x": "far"}}, "where.x: Input should be a valid number"),
        ({"where": {"x": 1}, "when": 2}, "when: Extra inputs are not permitted"),
        ({"where": {"x": 1}, "times": 10}, "times: Input should be less than or equal to 9"),
        ({"where": {"x": 1}, "mode": "slow"}, "mode: Input should be 'fast' or 'exact'"),
    ],
)
def test_wrong_arguments_are_named_one_by_one(arguments: Any, says: str) -> None:
    with pytest.raises(ToolInputError, match=re.escape(says)):
        measure.validate(arguments)


async def test_a_sync_function_runs_off_the_loop() -> None:
    @tool
    def where() -> str:
        """Tell the thread."""
        return threading.current_thread().name

    assert await where.call({}) != threading.current_thread().name


async def test_a_hung_sync_tool_does_not_hold_up_the_others() -> None:
    let_go = threading.Event()

    @tool
    def hang() -> None:
        """Hang."""
        let_go.wait(20)

    @tool
    def quick() -> str:
        """Be quick."""
        return "here"

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(hang.call, dict[str, Any]())
        await anyio.wait_all_tasks_blocked()
        assert await quick.call({}) == "here"
        group.cancel_scope.cancel()
    let_go.set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sync_calls_side_by_side_wait_for_no_free_thread(backend: str) -> None:
    together = threading.Barrier(40, timeout=20)

    @tool
    def meet() -> str:
        """Meet the others."""
        together.wait()
        return "met"

    met: list[str] = []

    async def call() -> None:
        met.append(await meet.call({}))

    async def call_all() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(call)

    anyio.run(call_all, backend=backend)
    assert met == ["met"] * 40


_HANGS = """
import anyio
from agentkit import tool

@tool
def hang() -> None:
    "Hang."
    while True:
        pass

async def main() -> None:
    with anyio.move_on_after(0.1):
        await hang.call({})
    print("left it")

anyio.run(main, backend="%s")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_sync_tool_that_never_ends_does_not_keep_the_process(backend: str) -> None:
    command = [sys.executable, "-c", _HANGS % backend]
    ended = subprocess.run(command, capture_output=True, timeout=40, check=True)
    assert ended.stdout == b"left it\n"


async def test_a_sync_tool_that_hangs_each_time_is_no_longer_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_threads, "_ABANDONED_THREADS", 2)
    let_go = threading.Event()

    @tool
    def hang() -> str:
        """Hang."""
        let_go.wait(20)
        return "over"

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(hang.call, dict[str, Any]())
        while len(_threads_of_tools()) < 2:
            await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    with pytest.raises(ToolError, match="2 earlier calls have not ended"):
        await hang.call({})
    let_go.set()
    for thread in _threads_of_tools():
        await anyio.to_thread.run_sync(thread.join)
    assert await hang.call({}) == "over"


def _threads_of_tools() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "agentkit tool"]


async def test_a_sync_tool_sees_the_context_of_its_call() -> None:
    user = ContextVar("user", default="nobody")

    @tool
    def who() -> str:
        """Tell the user."""
        return user.get()

    user.set("Ada")
    assert await who.call({}) == "Ada"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_sync_tool_may_run_a_loop_of_its_own(backend: str) -> None:
    async def answer() -> str:
        await anyio.lowlevel.checkpoint()
        return "an answer"

    @tool
    def ask() -> str:
        """Ask."""
        return anyio.run(answer, backend=backend)

    assert anyio.run(partial(ask.call, {}), backend=backend) == "an answer"


async def test_what_a_sync_tool_does_in_the_loop_is_cancelled_with_its_call() -> None:
    began = anyio.Event()
    ended: list[str] = []

    async def wait_in_loop() -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("in the loop")

    @tool
    def delegate() -> None:
        """Delegate."""
        from_thread.run(wait_in_loop)

    async with anyio.create_task_group() as group:
        group.start_soon(delegate.call, dict[str, Any]())
        await began.wait()
        group.cancel_scope.cancel()
    while not ended:
        await anyio.lowlevel.checkpoint()
    assert ended == ["in the loop"]


def _logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def test_an_async_function_behind_a_sync_decorator_is_awaited() -> None:
    @tool
    @_logged
    async def add(a: int) -> int:
        """Add one."""
        await anyio.lowlevel.checkpoint()
        return a + 1

    assert await add.call({"a": 1}) == "2"


async def test_an_object_with_an_async_call_is_awaited() -> None:
    class Adder:
        async def __call__(self, a: int) -> str:
            await anyio.lowlevel.checkpoint()
            return f"{a + 1} in {threading.current_thread().name}"

    here = threading.current_thread().name
    assert await FunctionTool(Adder(), name="add").call({"a": 1}) == f"2 in {here}"


async def test_an_async_function_made_sync_by_its_decorator_stays_off_the_loop() -> None:
    def made_sync(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(**kwargs: Any) -> Any:
            return anyio.run(partial(function, **kwargs))

        return wrapper

    @tool
    @made_sync
    async def add(a: int) -> int:
        """Add one."""
        await anyio.lowlevel.checkpoint()
        return a + 1

    assert await add.call({"a": 1}) == "2"


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3), ZeroDivisionError("x")])
async def test_what_a_function_raises_is_an_observation(error: BaseException) -> None:
    @tool
    async def fail() -> None:
        """Fail."""
        raise error

    with pytest.raises(ToolError, match=type(error).__name__):
        await fail.call({})


async def test_a_tool_error_keeps_its_own_words() -> None:
    @tool
    async def fail() -> None:
        """Fail."""
        raise ToolError("no such city")

    with pytest.raises(ToolError, match=r"^no such city$"):
        await fail.call({})


@dataclass
class Cyclic:
    me: Any = None


def _cycle() -> Cyclic:
    value = Cyclic()
    value.me = value
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "Done; there is no value to return."),
        (math.nan, "nan"),
        ([1, math.inf], "[1,Infinity]"),
        (b"\xff\x00", None),
        ("lone \ud800 surrogate", None),
        (_cycle(), None),
        ({"point": Point(x=1)}, '{"point":{"x":1.0,"y":0.0}}'),
        (object, None),
    ],
)
async def test_any_value_becomes_text(value: Any, text: str | None) -> None:
    @tool
    async def give() -> Any:
        """Give."""
        return value

    given = await give.call({})
    assert given == text if text is not None else given


def test_a_parameter_without_a_type_is_refused_when_the_tool_is_made() -> None:
    def bad(a, b: int) -> None:  # type: ignore[no-untyped-def]
        """Do."""

    with pytest.raises(ConfigurationError, match="parameter 'a' has no type"):
        tool(bad)  # pyright: ignore[reportUnknownArgumentType]


def test_variadic_parameters_are_refused() -> None:
    def bad(*words: str) -> None:
        """Do."""

    with pytest.raises(ConfigurationError, match="no schema"):
        tool(bad)


def test_a_type_that_json_cannot_express_is_refused() -> None:
    def bad(lock: threading.Event) -> None:
        """Do."""

    with pytest.raises(ConfigurationError, match="bad"):
        tool(bad)


def test_options_win_over_the_function() -> None:
    make = tool(name="plus", description="Add.", timeout_seconds=2.5)

    @make
    def add(a: int) -> int:
        """Not this."""
        return a + 1

    assert isinstance(add, FunctionTool)
    assert (add.spec.name, add.spec.description, add.spec.timeout_seconds) == ("plus", "Add.", 2.5)
    assert add(1) == 2


@pytest.mark.parametrize("function", [lambda: 1, partial(max, 1)])
def test_a_function_without_a_usable_name_needs_one(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a tool"):
        FunctionTool(function)
    assert FunctionTool(lambda: 1, name="one").spec.name == "one"


def test_a_method_is_a_function_too() -> None:
    class Shop:
        def price(self, item: str) -> int:
            """Price of an item."""
            return len(item)

    made = FunctionTool(Shop().price)
    assert made.spec.parameters["required"] == ["item"]


async def test_parameters_may_have_any_name_and_be_positional_only() -> None:
    def odd(
        json: str, schema: int = 2, /, copy: str = "c", model_config: int = 4, _x: int = 5
    ) -> str:
        """Take what pydantic keeps to itself."""
        return f"{json} {schema} {copy} {model_config} {_x}"

    made = FunctionTool(odd)
    assert list(made.spec.parameters["properties"]) == [
        "json", "schema", "copy", "model_config", "_x",
    ]  # fmt: skip
    assert made.spec.parameters["required"] == ["json"]
    checked = made.validate({"json": "a", "model_config": 9})
    assert await made.call(checked) == "a 2 c 9 5"
    with pytest.raises(ToolInputError, match="schema: Input should be a valid integer"):
        made.validate({"json": "a", "schema": "b"})
    with pytest.raises(ToolInputError, match="field_0: Extra"):
        made.validate({"json": "a", "field_0": "b"})
