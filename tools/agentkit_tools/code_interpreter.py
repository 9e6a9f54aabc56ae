"""Runs Python that the model wrote, in a child process that keeps its variables during a run."""

import ast
import os
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentkit.errors import ConfigurationError, ToolError, ToolInputError
from agentkit.messages import JsonObject, PlanExample, PlanStep, ToolSpec
from agentkit.protocols import OpenTool, Tool, current_call
from agentkit.sandbox import (
    HostTools,
    Interpreter,
    Isolation,
    Level,
    MadeFile,
    SandboxReport,
    Spares,
    WorkerLimits,
    functions_of,
    input_name,
)
from agentkit.toolkit import harmless
from agentkit_tools._code_settings import read_inputs, read_isolation, read_tools
from agentkit_tools._outcome import report

SECONDS = 30.0
"""Limit of one cell."""

TOOL_SECONDS = 300.0
"""Limit of what the tools of one cell take, where code may call some."""

CODE_CHARS = 200_000
"""Longest code that is taken."""

_MOST_FILES = 20  # of one cell that are kept
_MOST_NAMED = 20  # of the inputs that the model is told of; it can list the folder

_NAME = "code_interpreter"
_EXAMPLES = (
    PlanExample("How many kilograms are 5 pounds?", (PlanStep("5 pounds in kilograms", _NAME),)),
    PlanExample("Which weekday was 3 May 1999?", (PlanStep("weekday of 3 May 1999", _NAME),)),
    PlanExample(
        "What is the time in Lisbon, and what is 17 squared?",
        (PlanStep("time now in Lisbon", "clock"), PlanStep("17 squared", _NAME)),
    ),
    PlanExample(
        "How heavy are 8 of the boxes on http://shop.example/box?",
        (
            PlanStep("weight of one box on http://shop.example/box", "fetch"),
            PlanStep("8 times the weight of one box", _NAME),
        ),
    ),
)
_PADDED_DIGIT = re.compile(r"(?<![\w.])0([1-9])(?![\w.])")
_FUNCTIONS = (
    " Other tools are functions there: for many calls, or long results of which little is needed. "
    "Each returns text, or a dict or list where the result is JSON; print what matters:"
)
_ALONE = "Not for web pages. Variables are kept."


@dataclass(frozen=True, slots=True)
class CodeInterpreter:
    """The tool; each run gets an interpreter of its own from `for_run`.

    Attributes:
        seconds: limit of one cell; the tools that it calls have a limit of their own.
        limits: what the child process may use.
        isolation: how the code is held; the environment's `AGENTKIT_CODE_ISOLATION`, else "auto",
            where not given.
        minimum: weakest level that "auto" may come to; the environment's `AGENTKIT_CODE_MINIMUM`,
            else "confined", where not given.
        inputs: files and folders that the code finds in `inputs/`, see `Interpreter`; those of the
            environment's `AGENTKIT_CODE_INPUTS` where not given. Anybody may have written what is
            in them: results are untrusted content.
        network: whether the code may reach the network; results are untrusted then, too.
        spares: where started sessions are to be had.
        tools: the other tools of the run that code may call, by name, or True for all of them;
            those of the environment's `AGENTKIT_CODE_TOOLS` where not given. They run in the
            host, under the rules of the run; see `CallContext.call_tool`.
        tool_seconds: limit of what these take in one cell.
    """

    seconds: float = SECONDS
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    isolation: Isolation | None = None
    minimum: Level | None = None
    inputs: Sequence[str | Path] | None = None
    network: bool = False
    spares: Spares | None = None
    tools: bool | tuple[str, ...] | None = None
    tool_seconds: float = TOOL_SECONDS
    _others: tuple[ToolSpec, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.tools, str):  # a string is a sequence of letters
            raise ConfigurationError(
                f"tools={self.tools!r} is no tuple of names.", hint=f"Write ({self.tools!r},)."
            )

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        functions = "".join(f"\n{one.signature}" for one in functions_of(self._others))
        more = self.tool_seconds if self._others else 0
        return ToolSpec(
            name=_NAME,
            description="Run Python code: arithmetic, dates, units, counting, text, tables. "
            + (f"Variables are kept.{_FUNCTIONS}{functions}" if functions else _ALONE),
            parameters={
                "type": "object",
                "properties": {
                    "code": {
                        "type": "string",
                        "description": "complete script, several lines, that defines the data of "
                        f"the task ({self._files()}), computes with it and prints the result",
                    }
                },
                "required": ["code"],
                "additionalProperties": False,
            },
            # Our own limits come first: they keep the variables.
            timeout_seconds=self.seconds + more + 30,
            examples=_EXAMPLES,
            open_world=None if self._reaches_out() else False,
            untrusted=bool(self.given()) or self.network,
            composes=True,
        )

    def given(self) -> Sequence[str | Path]:
        """Return the files and folders that code finds."""
        return read_inputs(os.environ) if self.inputs is None else self.inputs

    def _callable(self) -> bool | tuple[str, ...]:
        return read_tools(os.environ) if self.tools is None else self.tools

    def _files(self) -> str:
        names = [f"inputs/{input_name(path)}" for path in self.given()]
        if not names:
            return "there are no files"
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return harmless(f"files: {', '.join(names[:_MOST_NAMED])}{more}")

    def _reaches_out(self) -> bool:
        """Tell whether code may get at anything outside of its session, however it is held here."""
        try:
            isolation, minimum = read_isolation(os.environ)
        except ConfigurationError:  # then nothing is run
            return False
        held, least = self.isolation or isolation, self.minimum or minimum
        return self.network or held == "process" or (held == "auto" and least == "process")

    def beside(self, others: tuple[ToolSpec, ...]) -> Tool:
        """Return the tool that tells of those others which code may call."""
        return replace(self, _others=self.callable_of(others)) if self._callable() else self

    def callable_of(self, others: tuple[ToolSpec, ...]) -> tuple[ToolSpec, ...]:
        """Return those tools that code may call."""
        names = self._callable()
        if isinstance(names, bool):
            return others if names else ()
        return tuple(spec for spec in others if spec.name in names)

    def absent_from(self, others: tuple[ToolSpec, ...]) -> tuple[str, ...]:
        """Return the names of tools that code may call and that are none of those."""
        names = self._callable()
        there = {spec.name for spec in others}
        return () if isinstance(names, bool) else tuple(sorted(set(names) - there))

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the code, without the fences that models like to put around it.

        Raises:
            ToolInputError: there is no code, or too much of it.
        """
        code = arguments.get("code")
        if not isinstance(code, str) or not code.strip() or len(arguments) != 1:
            raise ToolInputError('Give the Python code as {"code": "..."}, and nothing else.')
        if len(code) > CODE_CHARS:
            raise ToolInputError(f"The code has {len(code)} characters; {CODE_CHARS} at most.")
        return {"code": _mended(_without_fences(code))}

    async def call(self, arguments: JsonObject) -> str:
        """Run the code in an interpreter that lives for this call only.

        Raises:
            ToolError: it failed, or took too long.
        """
        tool = self.for_run()
        try:
            return await tool.call(arguments)
        finally:
            await tool.aclose()

    def for_run(self) -> OpenTool:
        """Return the tool of one run; its process starts with the first call."""
        return _RunInterpreter(self)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Tool]:
        """Keep a started session in hand for the next run, for the time of the block."""
        async with Spares.open() as spares:
            yield replace(self, spares=spares)

    def interpreter(self) -> Interpreter:
        """Return a new interpreter, not started.

        Raises:
            ConfigurationError: an input is not there, or a variable of the environment is wrong.
        """
        isolation, minimum = read_isolation(os.environ)
        return Interpreter(
            self.limits,
            isolation=self.isolation or isolation,
            minimum=self.minimum or minimum,
            inputs=self.given(),
            network=self.network,
            spares=self.spares,
        )


class _RunInterpreter:
    """The tool of one run."""

    def __init__(self, settings: CodeInterpreter) -> None:
        self._settings = settings
        self._interpreter: Interpreter | None = None
        self._closed = False
        self.spec = settings.spec

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the code to run."""
        return self._settings.validate(arguments)

    async def call(self, arguments: JsonObject) -> str:
        """Run the code; the variables of earlier calls are there.

        Raises:
            ToolError: it failed, or took too long.
        """
        if self._closed:
            raise ToolError("The code interpreter is closed.")
        seconds, tools = self._settings.seconds, self._tools()
        try:
            if self._interpreter is None:
                self._interpreter = self._settings.interpreter()
            interpreter = self._interpreter
            outcome = await interpreter.run(arguments["code"], seconds, tools)
        except ConfigurationError as error:
            raise ToolError(f"The code interpreter is not set up. {error}") from error
        self._tell(interpreter.report)
        kept = await _keep(interpreter, outcome.files)
        tool_seconds = tools.seconds if tools else 0.0
        return report(outcome, seconds, tool_seconds, inputs=bool(self._settings.given())) + kept

    def _tools(self) -> HostTools | None:
        call = current_call()
        specs = self._settings.callable_of(call.tools) if call is not None else ()
        if call is None or not specs:
            return None
        return HostTools(specs=specs, call=call.call_tool, seconds=self._settings.tool_seconds)

    def _tell(self, held: SandboxReport | None) -> None:
        """Say in the record of the run what the code could do; the model need not know."""
        call = current_call()
        if call is None or held is None:
            return
        engine = f" ({held.engine})" if held.engine else ""
        gaps = "; ".join(held.not_enforced) or "nothing known"
        absent = ", ".join(self._settings.absent_from(call.tools))
        more = f"; tools that code may call and that are not there: {absent}" if absent else ""
        call.report(0.0, None, f"isolation: {held.level}{engine}; not held: {gaps}{more}")

    async def aclose(self) -> None:
        """End the process and everything it started."""
        self._closed = True
        if self._interpreter is not None:
            await self._interpreter.aclose()


async def _keep(interpreter: Interpreter, files: Sequence[MadeFile]) -> str:
    """Keep what a cell has made where its owner finds it, and return what the model is told."""
    call = current_call()
    lines: list[str] = []
    for file in files[:_MOST_FILES]:
        line = f"saved: {file.name} ({file.size} bytes)"
        if call is not None and call.keep_file is not None:
            try:
                path = await call.keep_file(await interpreter.read_file(file.name), file.name)
                line += f" as {path}"
            except (ToolError, OSError) as error:
                line += f", not kept: {error}"
        lines.append(f"[{line}]")
    if len(files) > _MOST_FILES:
        lines.append(f"[{len(files) - _MOST_FILES} more files, not kept]")
    return harmless("".join(f"\n{line}" for line in lines))


def _without_fences(code: str) -> str:
    lines = code.strip().splitlines()
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return code


def _mended(code: str) -> str:
    """Take out what keeps the code from compiling and has one meaning only.

    The end of the arguments written once more, and the month or day 02.
    """
    bare = code.rstrip().rstrip('}"').rstrip()
    plain = _PADDED_DIGIT.sub(r"\1", code)
    same = bare == code.rstrip() and plain == code
    if same or _compiles(code):  # the usual code is not parsed here
        return code
    return next(filter(_compiles, (bare, plain)), code)


def _compiles(code: str) -> bool:
    try:
        compile(code, "cell", "exec", flags=ast.PyCF_ONLY_AST)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


TOOLS: tuple[Tool, ...] = (CodeInterpreter(),)
