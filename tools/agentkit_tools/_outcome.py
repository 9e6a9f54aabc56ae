"""What a model reads of a cell that has run."""

from agentkit.errors import ToolError, ToolTimeoutError
from agentkit.sandbox import Outcome
from agentkit.toolkit import harmless

_REASONS = {
    "time": "It ran too long and could not be interrupted.",
    "memory": "It used too much memory.",
    "processes": "It started too many processes.",
    "disk": "It wrote too many files, or too much into them.",
    "output": "It printed too much.",
    "protocol": "It damaged the interpreter.",
    "janitor": "It killed the interpreter.",
    "host": "The interpreter was closed.",
    "crash": "It crashed the interpreter.",
    "exit": "The interpreter ended.",
    "SIGSEGV": "It crashed the interpreter (SIGSEGV).",
}
_LOST = "The interpreter was restarted: all variables are lost, define them again."
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
_ADVICE_WITH_FILES = (
    ("FileNotFoundError", "Files are in the folder inputs: print(os.listdir('inputs'))"),
    *_ADVICE,
)


def report(
    outcome: Outcome, seconds: float, tool_seconds: float = 0.0, *, inputs: bool = False
) -> str:
    """Return what the model reads of an outcome.

    >>> report(Outcome(value="4"), 30)
    '4'

    Raises:
        ToolError: the code failed.
        ToolTimeoutError: it took longer than `seconds`, or its tools longer than theirs.
    """
    text = _printed(outcome)
    if outcome.timed_out:
        state = _LOST if outcome.restarted else "Variables are kept."
        more = f" of its own, or {tool_seconds:g} s of its tools" if tool_seconds else ""
        raise ToolTimeoutError(f"{text}The code was stopped after {seconds:g} s{more}. {state}")
    if outcome.killed_by:
        reason = _REASONS.get(outcome.killed_by, f"It ended the interpreter ({outcome.killed_by}).")
        raise ToolError(f"{text}{reason} {_LOST}")
    note = f"\n{_LOST}" if outcome.restarted else ""
    if outcome.error:
        advices = _ADVICE_WITH_FILES if inputs else _ADVICE
        advice = next((f"\n{more}" for sign, more in advices if sign in outcome.error), "")
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
