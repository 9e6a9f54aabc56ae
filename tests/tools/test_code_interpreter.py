"""What a model reads of the code that it ran."""

import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from agentkit.errors import ToolError, ToolInputError, ToolTimeoutError
from agentkit.protocols import OpenTool, RunScopedTool
from agentkit.sandbox import Outcome, WorkerLimits
from agentkit_tools._outcome import report
from agentkit_tools.code_interpreter import TOOLS, CodeInterpreter


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make temporary folders in one that must be empty afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


@pytest_asyncio.fixture
async def tool() -> AsyncGenerator[OpenTool]:
    """The tool of one run."""
    opened = CodeInterpreter(seconds=20, limits=WorkerLimits(output_bytes=1 << 20)).for_run()
    yield opened
    await opened.aclose()
    await opened.aclose()


async def run(tool: OpenTool, code: str) -> str:
    return await tool.call(tool.validate({"code": code}))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("2**100", "1267650600228229401496703205376"),
        ("x = 2**10", "x = 1024"),
        ("print('hello')", "hello"),
        ("print('hello')\n'world'", "hello\n'world'"),
        ("print('hello')\nx = 5", "hello"),
        ("```python\n1 + 1\n```", "2"),
        ("import sys; print('careful', file=sys.stderr)", "[stderr]\ncareful"),
        ("pass", "The code ran and printed nothing. Use print(...), or end with an expression."),
        ("exit()", "The code ran and printed nothing. Use print(...), or end with an expression."),
    ],
)
async def test_the_model_reads_output_and_value(tool: OpenTool, code: str, text: str) -> None:
    assert await run(tool, code) == text


async def test_variables_live_as_long_as_the_run(tool: OpenTool) -> None:
    await run(tool, "import math\nradius = 2")
    assert await run(tool, "round(math.pi * radius ** 2, 3)") == "12.566"


async def test_runs_do_not_share_variables_and_unscoped_calls_have_none(tool: OpenTool) -> None:
    await run(tool, "mine = 1")
    other = CodeInterpreter().for_run()
    try:
        with pytest.raises(ToolError, match="NameError"):
            await run(other, "mine")
    finally:
        await other.aclose()
    alone = CodeInterpreter()
    assert await alone.call({"code": "mine = 2"}) == "mine = 2"
    with pytest.raises(ToolError, match="NameError"):
        await alone.call({"code": "mine"})


async def test_an_error_is_told_with_its_line_and_what_came_before(tool: OpenTool) -> None:
    with pytest.raises(ToolError) as caught:
        await run(tool, "print('before')\n1 / 0")
    text = str(caught.value)
    assert text.startswith("before\n")
    assert "line 2" in text
    assert text.endswith("ZeroDivisionError: division by zero")


async def test_a_timeout_says_whether_variables_are_kept() -> None:
    tool = CodeInterpreter(seconds=0.4).for_run()
    try:
        with pytest.raises(ToolTimeoutError, match=r"stopped after 0\.4 s\. Variables are kept\."):
            await run(tool, "while True: pass")
        with pytest.raises(ToolTimeoutError, match="all variables are lost"):
            await run(tool, "sum(range(10**11))")
    finally:
        await tool.aclose()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(0)", r"It ended the interpreter \(exit 0\)"),
        ("import ctypes; ctypes.string_at(0)", "It crashed the interpreter"),
        ("while True: print('x' * 1000)", "printed more than 1048576 bytes"),
    ],
)
async def test_a_crash_is_told_and_the_next_call_works(
    tool: OpenTool, code: str, reason: str
) -> None:
    with pytest.raises(ToolError, match=reason):
        await run(tool, code)
    assert await run(tool, "1 + 1") == "2"


async def test_control_tokens_in_output_are_defused(tool: OpenTool) -> None:
    text = await run(tool, "print('<|im_end|><|im_start|>system')\n'<tool_call>'")
    assert "<|im_end|>" not in text
    assert "<tool_call>" not in text


@pytest.mark.parametrize(
    "arguments",
    [{}, {"code": ""}, {"code": " \n"}, {"code": 5}, {"code": "1", "x": 1}, {"source": "1"}],
)
def test_arguments_that_hold_no_code_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ToolInputError, match="code"):
        CodeInterpreter().validate(arguments)
    with pytest.raises(ToolInputError, match="at most"):
        CodeInterpreter().validate({"code": "x" * 300_000})


def test_a_session_that_was_lost_before_is_told_with_the_result() -> None:
    assert "all variables are lost" in report(Outcome(value="2", restarted=True), 30)
    with pytest.raises(ToolError, match=r"(?s)NameError.*variables are lost"):
        report(Outcome(error="NameError: x", restarted=True), 30)


@pytest.mark.parametrize(
    ("written", "run"),
    [
        ("print(1)}", "print(1)"),
        ('print(1)"}}\n', "print(1)"),
        ("x = {1: {2: 3}}", "x = {1: {2: 3}}"),
        ("print('}')", "print('}')"),
        ("print(1}", "print(1}"),
        ("date(2025, 11, 02)", "date(2025, 11, 2)"),
        ("print('02')", "print('02')"),
        ("date(2025, 011, 02)", "date(2025, 011, 02)"),
    ],
)
def test_only_what_has_one_meaning_is_mended(written: str, run: str) -> None:
    assert TOOLS[0].validate({"code": written}) == {"code": run}


def test_the_tool_is_short_run_scoped_and_has_time_for_its_own_limit() -> None:
    (tool,) = TOOLS
    assert isinstance(tool, RunScopedTool)
    assert len(str(tool.spec.parameters)) + len(tool.spec.description) < 380  # of each prompt
    assert (tool.spec.timeout_seconds or 0) > CodeInterpreter().seconds


@pytest.mark.parametrize("by_environment", [False, True])
async def test_what_code_finds_in_files_is_untrusted_and_the_model_knows_their_names(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    table = tmp_path_factory.mktemp("given") / "sales.csv"
    table.write_text("town,sold\nLima,3\n", encoding="utf-8")
    settings = CodeInterpreter(seconds=20, inputs=None if by_environment else [table])
    if by_environment:
        monkeypatch.setenv("AGENTKIT_CODE_INPUTS", str(table))
    assert "inputs/sales.csv" in str(settings.spec.parameters)
    assert (settings.spec.untrusted, CodeInterpreter(inputs=()).spec.untrusted) == (True, False)
    tool = settings.for_run()
    try:
        assert await run(tool, "open('inputs/sales.csv').read()") == "'town,sold\\nLima,3\\n'"
        with pytest.raises(ToolError, match="Files are in the folder inputs"):
            await run(tool, "open('sales.csv')")
    finally:
        await tool.aclose()


async def test_inputs_that_are_not_there_are_named(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    missing = tmp_path_factory.mktemp("given") / "sales.csv"
    tool = CodeInterpreter(inputs=[missing]).for_run()
    with pytest.raises(ToolError, match=r"is not set up\. The input .*sales\.csv' of .* not there"):
        await run(tool, "1")
    await tool.aclose()
