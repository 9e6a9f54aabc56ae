"""Why an engine died, from its exit status and its last log lines."""

import signal
from pathlib import Path

from agentkit.errors import EngineError

_TAIL_BYTES = 8192
_TAIL_LINES = 12

_MEMORY = "It was killed from outside, most often because memory ran out."
_LESS_MEMORY = "Free memory, or choose smaller weights, a smaller context or fewer slots."
_OWN_BUILD = "Build xllamacpp for this machine, or point base_url at another model server."

_SIGNALS = {
    signal.SIGKILL: (_MEMORY, _LESS_MEMORY),
    signal.SIGILL: (
        "This processor lacks an instruction that xllamacpp was built for.",
        _OWN_BUILD,
    ),
}
_LOG_MARKS = (
    (("failed to allocate", "bad_alloc", "out of memory"), "Memory ran out.", _LESS_MEMORY),
    (
        ("libgomp",),
        "The system library libgomp.so.1 is missing.",
        "Install it: apt install libgomp1, or the like of your system.",
    ),
    (
        ("No module named 'xllamacpp'", "xllamacpp.abi3"),
        "xllamacpp cannot be imported.",
        "Install the extra: pip install 'qwen-agentkit[local]'.",
    ),
    (
        ("gguf_init", "failed to load model", "error loading model"),
        "llama.cpp cannot read the weights.",
        "Check that the file is a complete GGUF of a model llama.cpp supports.",
    ),
    (("couldn't bind",), "The port is taken.", "Start again: another port will be chosen."),
)


def explain_death(code: int, log: Path, deaths: int = 1) -> EngineError:
    """Return the error to raise for an engine that ended with that exit status."""
    tail = read_tail(log)
    cause, hint = _likely_cause(code, tail)
    times = f" {deaths} times" if deaths > 1 else ""
    lines = "".join(f"\n  {line}" for line in tail)
    return EngineError(
        f"The embedded engine died{times} (exit status {code}). {cause} "
        f"Last lines of {log}:{lines or ' none'}",
        hint=hint,
    )


def read_tail(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-_TAIL_LINES:]


def _likely_cause(code: int, tail: tuple[str, ...]) -> tuple[str, str]:
    for signum, known in _SIGNALS.items():
        if code == -signum:
            return known
    text = "\n".join(tail)
    for marks, cause, hint in _LOG_MARKS:
        if any(mark in text for mark in marks):
            return cause, hint
    return "The log may say why.", "Read the log; start again with other weights."
