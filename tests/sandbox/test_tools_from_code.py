"""Functions of a cell that the host carries out, for honest code and for code that is not."""

import json
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import pytest_asyncio
import trio
from trio.testing import MockClock

from agentkit.errors import ToolError
from agentkit.messages import JsonObject, ToolSpec
from agentkit.sandbox import HostTools, Interpreter, functions_of
from agentkit.sandbox._stubs import CellClock
from tests.sandbox.conftest import plain

Call = Callable[[str, JsonObject], Awaitable[str]]

ADD = ToolSpec(
    "add",
    "Add two numbers.",
    {
        "type": "object",
        "properties": {"a": {"description": "the first"}, "b": {}},
        "required": ["a"],
        "additionalProperties": False,
    },
)
"""What most of these cells call."""

FORGE = """
import json, os, struct
def forge(**frame):
    body = json.dumps(frame).encode()
    os.write(200, struct.pack(">I", len(body)) + body)
"""
"""Writes to the channel of the worker, as code may that looks for it."""


@pytest_asyncio.fixture(params=["process", "vm"])
async def interpreter(request: pytest.FixtureRequest, place: Path) -> AsyncGenerator[Interpreter]:
    """An interpreter on each of the two ways that frames take: to a worker, and into a container."""
    inside = request.param == "vm"
    if inside and shutil.which("runsc") is None:
        pytest.skip("runsc is not installed")
    opened = Interpreter(isolation="vm") if inside else plain()
    yield opened
    await opened.aclose()


class Host:
    """Keeps what was called and answers with the arguments."""

    def __init__(self, *specs: ToolSpec, seconds: float = 20) -> None:
        self.called: list[tuple[str, JsonObject]] = []
        self.tools = HostTools(specs=specs or (ADD,), call=self.call, seconds=seconds)

    async def call(self, name: str, arguments: JsonObject) -> str:
        self.called.append((name, arguments))
        await anyio.lowlevel.checkpoint()
        return json.dumps(arguments)


class Hanging(Host):
    """Never answers; says when it is called as often as expected, and when it is cancelled."""

    def __init__(self, expected: int = 1, **settings: Any) -> None:
        super().__init__(**settings)
        self._expected = expected
        self.begun, self.ended = anyio.Event(), anyio.Event()

    async def call(self, name: str, arguments: JsonObject) -> str:
        self.called.append((name, arguments))
        if len(self.called) == self._expected:
            self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.set()
        return ""


async def test_a_tool_is_a_function_of_the_cell(interpreter: Interpreter) -> None:
    host = Host()
    outcome = await interpreter.run("[add(1, 2), add(1), add(b=2, a=1)]", 20, host.tools)
    assert outcome.error == ""
    assert outcome.value == "[{'a': 1, 'b': 2}, {'a': 1}, {'a': 1, 'b': 2}]"
    assert host.called == [("add", {"a": 1, "b": 2}), ("add", {"a": 1}), ("add", {"a": 1, "b": 2})]


async def test_the_function_tells_what_it_takes(interpreter: Interpreter) -> None:
    host = Host()
    shown = await interpreter.run("import inspect\nstr(inspect.signature(add))", 20, host.tools)
    assert shown.value == "'(a, b=Ellipsis)'"
    told = await interpreter.run("print(add.__doc__)", 20, host.tools)
    assert told.stdout.startswith("Add two numbers.\n\na: the first\n")
    assert "JSON object or array. Raises ToolError." in told.stdout
    wrong = await interpreter.run("add(1, 2, 3)", 20, host.tools)
    assert "add() takes from 1 to 2 positional arguments but 3 were given" in wrong.error
    assert host.called == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, null]}', "{'a': [1, None]}"),
        (" [1, 2]\n", "[1, 2]"),
        ("42", "'42'"),
        ("[not json]", "'[not json]'"),
        ("{" * 9000, "'{"),
        ("", "''"),
        ("日本 \u2028", "'日本 \\u2028'"),
    ],
)
async def test_an_object_or_an_array_becomes_a_value_and_other_text_stays(
    interpreter: Interpreter, text: str, value: str
) -> None:
    async def answer(name: str, arguments: JsonObject) -> str:
        return text

    outcome = await interpreter.run("add(1)", 20, HostTools(specs=(ADD,), call=answer))
    assert outcome.value is not None
    assert outcome.value.startswith(value)


async def test_a_long_result_arrives_whole(interpreter: Interpreter) -> None:
    async def answer(name: str, arguments: JsonObject) -> str:
        return "x" * 1_000_000

    tools = HostTools(specs=(ADD,), call=answer)
    assert (await interpreter.run("len(add(1)), len(add(2))", 20, tools)).value == (
        "(1000000, 1000000)"
    )


async def test_what_the_host_refuses_is_an_error_that_the_code_can_catch(
    interpreter: Interpreter,
) -> None:
    async def fail(name: str, arguments: JsonObject) -> str:
        if arguments["a"]:
            raise KeyError
        raise ToolError("Zero is too little.")

    tools = HostTools(specs=(ADD,), call=fail)
    code = "try:\n    add(0)\nexcept ToolError as error:\n    print('caught:', error)\nadd(1)"
    outcome = await interpreter.run(code, 20, tools)
    assert outcome.stdout == "caught: Zero is too little.\n"
    assert outcome.error.splitlines()[-1] == "ToolError: KeyError"
    assert "_tool_stubs" not in outcome.error


async def test_names_of_the_cell_win_and_functions_come_back(interpreter: Interpreter) -> None:
    host = Host()
    await interpreter.run("add = 5", 20, host.tools)
    assert (await interpreter.run("add", 20, host.tools)).value == "5"
    await interpreter.run("del add", 20, host.tools)
    assert (await interpreter.run("add(1)", 20, host.tools)).value == "{'a': 1}"


async def test_without_tools_there_are_no_functions_and_later_they_refuse(
    interpreter: Interpreter,
) -> None:
    assert "NameError" in (await interpreter.run("add(1)", 20)).error
    host = Host()
    await interpreter.run("add(1)", 20, host.tools)
    outcome = await interpreter.run("add(1)", 20)
    assert "ToolError: The cell that has made this call is over." in outcome.error
    assert len(host.called) == 1


def test_names_that_python_cannot_have_are_made_fit() -> None:
    schema: JsonObject = {
        "properties": {"from": {}, "q": {}, "x):\n import os #": {}},
        "required": ["q"],
    }
    names = ["get-page", "get_page", "print", "class", "9lives", "été"]
    found = functions_of(ToolSpec(name, "", schema) for name in names)
    assert [one.name for one in found] == [
        "get_page", "get_page_", "print_", "class_", "tool_9lives", "tool__t_",
    ]  # fmt: skip
    assert {one.head for one in found} == {"q, **_more"}


@pytest.mark.parametrize(
    "schema",
    [{}, {"properties": [1]}, {"properties": {"a": True}, "required": 1}, {"required": ["a"]}],
)
def test_a_schema_that_says_nothing_sensible_still_makes_a_function(schema: JsonObject) -> None:
    (found,) = functions_of([ToolSpec("odd", "", schema)])
    assert found.head in {"**_more", "a=..., **_more"}


def test_the_line_of_a_function_is_short() -> None:
    schema: JsonObject = {"properties": {f"parameter_{n}": {} for n in range(100)}}
    (found,) = functions_of([ToolSpec("many", "", schema)])
    assert len(found.signature) < 150
    assert found.signature.endswith("parameter_99=...)") is False
    assert found.head.endswith("parameter_99=..., **_more")


async def test_parameters_that_python_cannot_name_are_given_by_unpacking(
    interpreter: Interpreter,
) -> None:
    schema: JsonObject = {"properties": {"b": {}, "from": {}, "a": {}}, "required": ["a"]}
    host = Host(ToolSpec("get-page", "", schema))
    await interpreter.run("get_page(a=1, **{'from': 2, 'more': 3})", 20, host.tools)
    assert host.called == [("get-page", {"a": 1, "from": 2, "more": 3})]


async def test_threads_call_side_by_side_and_get_their_own_answers(
    interpreter: Interpreter,
) -> None:
    at_once = most = 0
    all_there = anyio.Event()

    async def answer(name: str, arguments: JsonObject) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 10:
            all_there.set()
        await all_there.wait()
        at_once -= 1
        return json.dumps(arguments)

    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(10) as pool:\n"
        "    found = list(pool.map(add, range(10)))\n"
        "found == [{'a': n} for n in range(10)]"
    )
    outcome = await interpreter.run(code, 20, HostTools(specs=(ADD,), call=answer))
    assert (outcome.value, outcome.error, most) == ("True", "", 10)


async def test_more_threads_than_may_call_at_once_wait_for_their_turn(
    interpreter: Interpreter,
) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(100) as pool:\n"
        "    found = list(pool.map(add, range(300)))\n"
        "sum(one['a'] for one in found)"
    )
    host = Host()
    assert (await interpreter.run(code, 20, host.tools)).value == str(sum(range(300)))
    assert (await interpreter.run("1", 20)).value == "1"


async def test_calls_for_which_there_is_no_thread_left_are_errors_and_cost_no_later_one(
    interpreter: Interpreter,
) -> None:
    code = (
        "import threading\n"
        "threading.stack_size(3 << 30)  # more than there is\n"
        "failed = 0\n"
        "for n in range(70):\n"
        "    try: add(n)\n"
        "    except RuntimeError: failed += 1\n"
        "threading.stack_size(0)\n"
        "failed, add(1)"
    )
    assert (await interpreter.run(code, 20, Host().tools)).value == "(70, {'a': 1})"


async def test_a_cell_makes_a_thousand_calls_and_no_more(interpreter: Interpreter) -> None:
    host = Host()
    code = "n = 0\nwhile True:\n    add(n)\n    n += 1"
    outcome = await interpreter.run(code, 30, host.tools)
    assert "ToolError: A cell may make 1000 calls." in outcome.error
    assert (await interpreter.run("n", 20, host.tools)).value == "1000"
    assert (await interpreter.run("add(1)", 20, host.tools)).value == "{'a': 1}"


async def test_arguments_that_are_no_json_or_too_long_are_refused_in_the_cell(
    interpreter: Interpreter,
) -> None:
    host = Host()
    assert "not JSON serializable" in (await interpreter.run("add({1})", 20, host.tools)).error
    long = await interpreter.run("add('x' * 300_000)", 20, host.tools)
    assert "ToolError: The arguments have 300009 bytes; 200000 at most." in long.error
    assert host.called == []


async def test_a_forked_child_cannot_call(interpreter: Interpreter) -> None:
    host = Host()
    code = (
        "import os\nadd(1)\npid = os.fork()\n"
        "if not pid:\n"
        "    try: add(2)\n"
        "    except ToolError as error: print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\nadd(3)"
    )
    outcome = await interpreter.run(code, 20, host.tools)
    assert outcome.stdout == "A process that the code has started cannot call tools.\n"
    assert [arguments["a"] for _, arguments in host.called] == [1, 3]


async def test_the_clock_of_the_cell_stands_still_while_the_host_works(
    interpreter: Interpreter,
) -> None:
    async def slow(name: str, arguments: JsonObject) -> str:
        await anyio.sleep(2.5)
        return "done"

    outcome = await interpreter.run("add(1)", 2, HostTools(specs=(ADD,), call=slow, seconds=20))
    assert (outcome.value, outcome.timed_out) == ("'done'", False)


def test_the_clock_goes_on_where_it_stood_and_stands_no_longer_than_it_may() -> None:
    async def cell(*waits: tuple[float, float], more: float) -> float:
        """Return when a cell of 10 seconds ends that computes and waits for so long, in turns."""
        began = anyio.current_time()
        clock = CellClock(10, more)
        with clock.scope:
            for own, host in waits:
                await anyio.sleep(own)
                with clock, clock:  # two calls at once
                    await anyio.sleep(host)
            await anyio.sleep_forever()
        return anyio.current_time() - began

    async def check() -> None:
        assert await cell(more=300) == 10
        assert await cell((4, 100), (5, 100), more=300) == 210
        assert await cell((4, 1000), more=300) == 310
        assert await cell((4, 200), (4, 200), more=300) == 310

    trio.run(check, clock=MockClock(autojump_threshold=0))


def test_calls_are_made_on_trio_too(place: Path) -> None:
    async def check() -> None:
        host, interpreter = Host(), Interpreter()
        code = (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(5) as pool: found = list(pool.map(add, range(20)))\n"
            "sum(one['a'] for one in found)"
        )
        assert (await interpreter.run(code, 20, host.tools)).value == str(sum(range(20)))
        hanging = Hanging(seconds=0.1)
        assert (await interpreter.run("add(1)", 0.1, hanging.tools)).timed_out
        assert (await interpreter.run("add(1)", 20, host.tools)).restarted is False
        await interpreter.aclose()

    trio.run(check)


async def test_the_host_s_work_has_an_end_too_and_variables_are_kept(
    interpreter: Interpreter,
) -> None:
    host = Hanging(seconds=0.3)
    code = "kept = 1\ntry:\n    add(1)\nexcept BaseException as error:\n    print(repr(error))\n    raise"
    outcome = await interpreter.run(code, 0.3, host.tools)
    assert outcome.timed_out
    assert outcome.stdout == "KeyboardInterrupt()\n"
    assert host.ended.is_set()
    assert (await interpreter.run("kept", 20, Host().tools)).value == "1"


async def cancel(interpreter: Interpreter, code: str, host: Hanging) -> None:
    """Run a cell, and cancel it once its calls have begun."""
    async with anyio.create_task_group() as group:
        group.start_soon(interpreter.run, code, 20, host.tools)
        await host.begun.wait()
        group.cancel_scope.cancel()


async def test_a_cell_that_is_cancelled_cancels_its_calls_and_its_threads_go_on(
    interpreter: Interpreter,
) -> None:
    host = Hanging(expected=3)
    code = (
        "import threading\n"
        "said, done = [], threading.Semaphore(0)\n"
        "def one(n):\n"
        "    try: add(n)\n"
        "    except ToolError as error: said.append(str(error)); done.release()\n"
        "threads = [threading.Thread(target=one, args=(n,)) for n in range(3)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()"
    )
    await cancel(interpreter, code, host)
    assert host.ended.is_set()
    # Not join(): interrupted, it takes a thread for ended that goes on.
    look = "for _ in threads: done.acquire()\nlen(said), said[0][:8]"
    after = await interpreter.run(look, 20, Host().tools)
    assert after.value == "(3, 'Stopped:')"
    assert not after.restarted


async def test_code_that_calls_on_while_it_is_interrupted_is_answered_and_not_obeyed(
    interpreter: Interpreter,
) -> None:
    host = Hanging()
    code = (
        "try:\n    add(1)\n"
        "except KeyboardInterrupt:\n"
        "    try: add(2)\n"
        "    except ToolError as error: said = str(error)"
    )
    await cancel(interpreter, code, host)
    assert (await interpreter.run("said[:8]", 20)).value == "'Stopped:'"


async def test_a_call_that_a_cell_leaves_behind_is_cancelled_and_answered(
    interpreter: Interpreter,
) -> None:
    host = Hanging()
    code = (
        "import threading\nsaid = []\nbegun = threading.Event()\n"
        "def one():\n"
        "    try:\n        begun.set(); add(1)\n"
        "    except ToolError as error: said.append(str(error))\n"
        "left = threading.Thread(target=one); left.start(); begun.wait()\n"
        "import time; time.sleep(0.05)"
    )
    outcome = await interpreter.run(code, 20, host.tools)
    assert (outcome.error, outcome.killed_by) == ("", "")
    after = await interpreter.run("left.join(); said[0][:8]", 20, Host().tools)
    assert after.value == "'Stopped:'"


@pytest.mark.parametrize(
    "frame",
    [
        "id=1, call=1, name='rm', arguments={}",
        "id=1, call=1, name=['add'], arguments={}",
        "id=1, call=1, name='add', arguments=[1]",
        "id=1, call=1, name='add', arguments=None",
        "id=1, call=1, name='add'",
        "id=1, call=1, name='add', arguments={}, more=1",
        "id=1, call=2, name='add', arguments={}",
        "id=1, call=0, name='add', arguments={}",
        "id=1, call=True, name='add', arguments={}",
        "id=1, call='1', name='add', arguments={}",
        "id=1, call=1.0, name='add', arguments={}",
        "id=1, call=None, name='add', arguments={}",
        "id=2, call=1, name='add', arguments={}",
        "call=1, name='add', arguments={}",
        "id=1, call=1, name='add', arguments={'a': 'x' * 300_000}",
    ],
)
async def test_a_forged_call_ends_the_session_and_reaches_no_tool(
    interpreter: Interpreter, frame: str
) -> None:
    host = Host()
    outcome = await interpreter.run(f"{FORGE}\nforge({frame})\nadd(1)", 20, host.tools)
    assert (outcome.killed_by, outcome.restarted) == ("protocol", True)
    assert host.called == []
    assert (await interpreter.run("add(1)", 20, host.tools)).value == "{'a': 1}"


async def test_a_call_where_no_tools_are_given_ends_the_session(interpreter: Interpreter) -> None:
    code = f"{FORGE}\nforge(id=1, call=1, name='add', arguments={{}})\nimport time; time.sleep(60)"
    assert (await interpreter.run(code, 20)).killed_by == "protocol"


async def test_the_same_call_twice_is_a_forgery(interpreter: Interpreter) -> None:
    host = Hanging()
    code = f"{FORGE}\nfor _ in range(2): forge(id=1, call=1, name='add', arguments={{}})\nadd(1)"
    assert (await interpreter.run(code, 20, host.tools)).killed_by == "protocol"
    assert host.ended.is_set()


async def test_a_flood_of_calls_is_a_forgery(interpreter: Interpreter) -> None:
    host = Hanging()
    code = (
        f"{FORGE}\nfor n in range(5000): forge(id=1, call=n + 1, name='add', arguments={{}})\n"
        "import time; time.sleep(60)"
    )
    assert (await interpreter.run(code, 20, host.tools)).killed_by == "protocol"


async def test_a_call_after_the_end_of_its_cell_is_found_by_the_next(
    interpreter: Interpreter,
) -> None:
    host = Host()
    late = (
        f"{FORGE}\nimport threading, time\n"
        "def later():\n    time.sleep(0.3); forge(id=1, call=1, name='add', arguments={})\n"
        "threading.Thread(target=later).start()"
    )
    assert (await interpreter.run(late, 20, host.tools)).killed_by == ""
    outcome = await interpreter.run("import time; time.sleep(60)", 20, host.tools)
    assert (outcome.killed_by, host.called) == ("protocol", [])


async def test_a_worker_that_reads_no_answers_ends_with_its_time(interpreter: Interpreter) -> None:
    async def much(name: str, arguments: JsonObject) -> str:
        return "x" * 1_000_000

    code = (
        f"{FORGE}\nfor n in range(5): forge(id=1, call=n + 1, name='add', arguments={{}})\n"
        "while True:\n    try: import time; time.sleep(60)\n    except BaseException: pass"
    )
    tools = HostTools(specs=(ADD,), call=much, seconds=5)
    assert (await interpreter.run(code, 0.5, tools)).killed_by == "time"
    assert (await interpreter.run("1", 20)).value == "1"
