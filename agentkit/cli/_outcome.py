"""How a run is told: the answer to stdout, the rest to stderr, or one JSON object."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.cli._exit import Exit, exit_of_result
from agentkit.cli._terminal import note, report, say, say_apart

if TYPE_CHECKING:
    from agentkit.loop import Result
    from agentkit.mcp import ServerState

SCHEMA_VERSION = 1

_STATUS = {
    "done": "ok",
    "limit": "limit",
    "deadline": "limit",
    "loop": "limit",
    "approval": "paused",
    "cancelled": "cancelled",
    "failed": "failed",
}
_ADVICE = {
    "limit": "Allow more (--max-steps; AGENTKIT_LIMITS__CALLS, __ANSWER_TOKENS) or ask for less at once.",
    "deadline": "Allow more time (--timeout; AGENTKIT_TIMEOUTS__RUN, __STEP) or ask for less at once.",
    "loop": "The model repeats itself: say the task differently, or use a larger model.",
    "approval": "agentkit resume {run} --yes (or --no) goes on with it; --yes to `run` approves all.",
}
_EMPTY = "The model ended without an answer."
_EMPTY_HINT = "Ask again, or let it think (--thinking); the trace shows what it wrote."


def as_document(
    result: "Result", *, trace: Path | None, servers: "Sequence[ServerState]"
) -> dict[str, Any]:
    """Return a result as the JSON object that `--output json` prints."""
    code = exit_of_result(result)
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "failed" if code is Exit.OUTPUT else _STATUS[result.stop],
        "stop": result.stop,
        "text": result.text,
        "run_id": result.run_id,
        "usage": asdict(result.usage),
        "steps": result.steps,
        "calls": result.calls,
        "seconds": round(result.seconds, 3),
        "error": _error_of(result),
        "trace": str(trace) if trace is not None else None,
        "mcp": [_server(state) for state in servers],
        "waiting": [asdict(request) for request in result.paused.waiting] if result.paused else [],
        "untrusted": list(result.untrusted),
        "held_back": list(result.held_back),
    }


def error_document(
    error: BaseException, *, stop: str = "failed", run_id: str | None = None
) -> dict[str, Any]:
    """Return what `--output json` prints where there is no result."""
    return {
        "schema_version": SCHEMA_VERSION,
        "status": _STATUS[stop],
        "stop": stop,
        "text": "",
        "run_id": run_id,
        "usage": None,
        "steps": 0,
        "calls": 0,
        "seconds": 0.0,
        "error": as_error(error),
        "trace": None,
        "mcp": [],
        "waiting": [],
        "untrusted": [],
        "held_back": [],
    }


def lost_document(
    error: BaseException, result: "Result", *, trace: Path | None, stop: str = "failed"
) -> dict[str, Any]:
    """Return what `--output json` prints where `error` took a run away: what there was of it."""
    there_was = as_document(result, trace=trace, servers=())
    return {**there_was, "status": _STATUS[stop], "stop": stop, "error": as_error(error)}


def as_error(error: BaseException) -> dict[str, str]:
    """Return an error as JSON has it."""
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "hint": getattr(error, "hint", ""),
    }


def print_json(document: Mapping[str, Any] | Sequence[Any], *, indent: int | None = None) -> None:
    """Print one JSON object; what JSON cannot say becomes text."""
    text = json.dumps(document, ensure_ascii=False, default=str, indent=indent)
    say(text.encode(errors="backslashreplace").decode())


def print_result(result: "Result") -> None:
    """Print the answer to stdout, and to stderr why there is none or only a part of one."""
    if result.stop in {"cancelled", "failed"}:
        if result.text.strip():
            note(f"What there was so far:\n{result.text}")
    elif result.text.strip():
        say_apart(result.text)
    if result.error is not None:
        report(result.error)
    elif result.stop in _ADVICE:
        note(f"✗ Stopped early ({result.stop}): {result.reason}\n  Fix: {_advice(result)}")
    elif result.stop == "cancelled":
        note("✗ Cancelled.")
    elif not result.text.strip():
        note(f"✗ {_EMPTY}\n  Fix: {_EMPTY_HINT}")


def _advice(result: "Result") -> str:
    return _ADVICE.get(result.stop, "").format(run=result.run_id[:8])


def _error_of(result: "Result") -> dict[str, str] | None:
    if result.error is not None:
        return as_error(result.error)
    if result.stop == "done":
        empty = {"kind": "EmptyAnswer", "message": _EMPTY, "hint": _EMPTY_HINT}
        return None if result.text.strip() else empty
    message = result.reason or "The run was cancelled."
    return {"kind": result.stop, "message": message, "hint": _advice(result)}


def _server(state: "ServerState") -> dict[str, Any]:
    return {
        "name": state.name,
        "status": state.status,
        "error": state.error,
        "hint": state.hint,
        "tools": list(state.tools),
        "seconds": round(state.seconds, 3),
    }
