"""Runs Python that the model wrote, in a child process that keeps its variables during a run."""

import ast
import re
from dataclasses import dataclass, field

from agentkit.errors import ToolError, ToolInputError, ToolTimeoutError
from agentkit.messages import JsonObject, PlanExample, PlanStep, ToolSpec
from agentkit.protocols import OpenTool, Tool
from agentkit.sandbox import Interpreter, Outcome, WorkerLimits
from agentkit.toolkit import harmless

SECONDS = 30.0
"""Limit of one cell."""

CODE_CHARS = 200_000
"""Longest code that is taken."""

_REASONS = {
    "time": "It ran too long and could not be interrupted.",
    "memory": "It used too much memory.",
    "processes": "It started too many processes.",
    "output": "It printed too much.",
    "protocol": "It damaged the interpreter.",
    "janitor": "It killed the interpreter.",
    "host": "The interpreter was closed.",
    "SIGSEGV": "It crashed the interpreter (SIGSEGV).",
}
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
_ADVICE = (
    # Installed, it would be worse: datetime(..., tzinfo=pytz.timezone(...)) is wrong by minutes.
    ("'pytz'", "Use datetime(2026, 7, 1, 9, 0, tzinfo=zoneinfo.ZoneInfo('Asia/Tokyo')) instead."),
    (
        "ModuleNotFoundError",
        "Use the standard library: datetime, zoneinfo, math, statistics, re, csv, json.",
    ),
    ("FileNotFoundError", "There are no files. Begin with the data: text = '''...'''"),
    ("NameError", "Begin with the data: every name is set first. Text stands in quotes."),
    ("could not convert string to float", "Write numbers without their unit, as 12.5"),
    ("SyntaxError: invalid syntax", "Text stands in quotes."),
)
_PADDED_DIGIT = re.compile(r"(?<![\w.])0([1-9])(?![\w.])")
_LOST = "The interpreter was restarted: all variables are lost, define them again."


@dataclass(frozen=True, slots=True)
class CodeInterpreter:
    """The tool; each run gets an interpreter of its own from `for_run`.

    Attributes:
        seconds: limit of one cell.
        limits: what the child process may use.
    """

    seconds: float = SECONDS
    limits: WorkerLimits = field(default_factory=WorkerLimits)

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return ToolSpec(
            name=_NAME,
            description="Run Python code: arithmetic, dates, units, counting, text, tables. "
            "Not for web pages. Variables are kept.",
            parameters={
                "type": "object",
                "properties": {
                    "code": {
                        "type": "string",
                        "description": "complete script, several lines, that defines the data of "
                        "the task (there are no files), computes with it and prints the result",
                    }
                },
                "required": ["code"],
                "additionalProperties": False,
            },
            timeout_seconds=self.seconds + 30,  # our own limit comes first: it keeps the variables
            examples=_EXAMPLES,
        )

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
        return _RunInterpreter(self, Interpreter(self.limits))


class _RunInterpreter:
    """The tool of one run."""

    def __init__(self, settings: CodeInterpreter, interpreter: Interpreter) -> None:
        self._settings = settings
        self._interpreter = interpreter
        self.spec = settings.spec

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the code to run."""
        return self._settings.validate(arguments)

    async def call(self, arguments: JsonObject) -> str:
        """Run the code; the variables of earlier calls are there.

        Raises:
            ToolError: it failed, or took too long.
        """
        seconds = self._settings.seconds
        return report(await self._interpreter.run(arguments["code"], seconds), seconds)

    async def aclose(self) -> None:
        """End the process and everything it started."""
        await self._interpreter.aclose()


def report(outcome: Outcome, seconds: float) -> str:
    """Return what the model reads of an outcome.

    >>> report(Outcome(value="4"), 30)
    '4'

    Raises:
        ToolError: the code failed.
        ToolTimeoutError: it took longer than `seconds`.
    """
    text = _printed(outcome)
    if outcome.timed_out:
        state = _LOST if outcome.restarted else "Variables are kept."
        raise ToolTimeoutError(f"{text}The code was stopped after {seconds:g} s. {state}")
    if outcome.killed_by:
        reason = _REASONS.get(outcome.killed_by, f"It ended the interpreter ({outcome.killed_by}).")
        raise ToolError(f"{text}{reason} {_LOST}")
    note = f"\n{_LOST}" if outcome.restarted else ""
    if outcome.error:
        advice = next((f"\n{more}" for sign, more in _ADVICE if sign in outcome.error), "")
        raise ToolError(harmless(f"{text}{outcome.error}{advice}{note}"))
    return (text + _value(outcome)).rstrip("\n") + note or (
        "The code ran and printed nothing. Use print(...), or end with an expression."
    )


def _printed(outcome: Outcome) -> str:
    parts = [outcome.stdout, outcome.stderr and f"[stderr]\n{outcome.stderr}"]
    return harmless("".join(part.rstrip("\n") + "\n" for part in parts if part))


def _value(outcome: Outcome) -> str:
    if outcome.value is None or (outcome.name and outcome.stdout):
        return ""  # a script that printed has said what it wanted to say
    return harmless(f"{outcome.name} = {outcome.value}" if outcome.name else outcome.value)


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
