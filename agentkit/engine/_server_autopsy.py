"""Why a model server died: its first traceback, and the likely cure."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from agentkit.engine._autopsy import read_tail
from agentkit.engine.server_codes import HUNG, NOT_STARTED, TOO_LATE
from agentkit.errors import EngineError

_READ_BYTES = 8 * 1024 * 1024  # of the log's beginning, where the first failure is
_SHOWN = 300
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = re.compile(r"During handling of the above exception|The above exception was the direct")
_FRAME = re.compile(r'File "[^"]*?([\w.-]+\.py)", line (\d+)')
_ERROR = re.compile(r"^(?:\[[^\]]*\] )*([\w.]*(?:Error|Exception|Interrupt|Exit)\b.*)$")

_SMALLER = "`agentkit server plan` says what fits: a smaller profile, or a shorter context."


@dataclass(frozen=True, slots=True)
class _Cure:
    pattern: re.Pattern[str]
    cause: str
    hint: str


def _cure(pattern: str, cause: str, hint: str) -> _Cure:
    return _Cure(re.compile(pattern, re.IGNORECASE), cause, hint)


_CURES = (  # the first that fits; what says less stands further down
    _cure(
        r"address already in use|port \d+ cannot be used",
        "The port is taken.",
        "End what listens there, choose another port (--port), or use it: set AGENTKIT_BASE_URL.",
    ),
    _cure(
        r"GatedRepoError|gated repo|Access to model .* is restricted|401 Client Error",
        "The model is gated: its licence has to be accepted.",
        "Accept it on the model's page, set HF_TOKEN, and fetch it: agentkit server pull.",
    ),
    _cure(
        r"no NVIDIA driver|driver version is insufficient|no CUDA-capable device|libcuda\.so"
        r"|No CUDA GPUs are available|Torch not compiled with CUDA|No accelerator \(CUDA",
        "No usable NVIDIA driver was found.",
        "Does `nvidia-smi` list the GPU? In a container it needs --gpus all, and a driver for its CUDA.",
    ),
    _cure(
        r"Not enough memory|increase --mem-fraction-static|No available memory for the cache blocks",
        "The weights leave no room for the KV cache.",
        _SMALLER,
    ),
    _cure(
        r"out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|MemoryError",
        "Memory ran out.",
        f"Is another program on the GPU (nvidia-smi)? {_SMALLER}",
    ),
    _cure(
        r"warmup error|Initialization failed",
        "The server could not reach itself to warm up.",
        "A proxy that it was given by its own settings? NO_PROXY must name 127.0.0.1.",
    ),
    _cure(
        r"unrecognized arguments|invalid choice|error: argument|ambiguous option",
        "The server does not know one of the options.",
        "Another version of the server? Change [server.flags] of the profile, or install the pinned one.",
    ),
    _cure(
        r"No module named|cannot import name",
        "The server's environment is not complete.",
        "Install it again: agentkit server install; or set AGENTKIT_SERVER_PYTHON to one that works.",
    ),
    _cure(
        r"no file named config\.json|Unrecognized model|does not appear to have a file"
        r"|Can't load the configuration|SafetensorError|No such file or directory",
        "The weights are not whole, or not those of a model that this server knows.",
        "Fetch them again: agentkit server pull; or point AGENTKIT_WEIGHTS at a whole folder.",
    ),
    _cure(r"No space left on device", "The disk is full.", "Free space; /dev/shm counts too."),
)
_OURS = {
    NOT_STARTED: (
        "Its program could not be started.",
        "Does the python exist, and may you run it? AGENTKIT_SERVER_PYTHON names another.",
    ),
    TOO_LATE: (
        "It did not answer in time.",
        "Give it longer with start_seconds in its profile, if its log shows that it was working.",
    ),
    HUNG: (
        "It ran, but answered no more.",
        "Its log may say why; a newer driver or server may help.",
    ),
}
_KILLED = (
    "It was killed from outside, most often because the machine's memory ran out.",
    "Free memory (not the GPU's): loading takes about as much as the weights.",
)


def explain_server_death(code: int, log: Path, deaths: int = 1) -> EngineError:
    """Return the error to raise for a model server that ended with that exit status.

    A negative status is the number of the signal that ended it.
    """
    found = first_failure(_read(log))
    cause, hint = _likely(code, found or "\n".join(read_tail(log)))
    times = f" {deaths} times" if deaths > 1 else ""
    said = f" It said: {found}." if found else _last_line(log)
    return EngineError(
        f"The model server died{times} (exit status {code}). {cause}{said} Its log: {log}",
        hint=hint,
    )


def first_failure(log: str) -> str:
    r"""Return the error of the first traceback in a log, and where it came up; "" if there is none.

    >>> first_failure('x\nTraceback (most recent call last):\n  File "/a/b.py", line 3, in f\n'
    ...               'RuntimeError: Not enough memory.\nmore')
    'RuntimeError: Not enough memory. (b.py:3)'

    Of errors that led to one another it is the last one.
    """
    lines = log[log.find(_TRACEBACK) :].splitlines() if _TRACEBACK in log else []
    place = found = ""
    for line in lines:
        frame = _FRAME.search(line)
        if frame is not None:
            place = f" ({frame[1]}:{frame[2]})"
        error = _ERROR.match(line)
        if error is not None and not found:
            found = f"{error[1][:_SHOWN].rstrip()}{place}"
        elif found and _CHAINED.search(line):  # what came of it says more
            found = ""
        elif found and line.strip():
            break
    return found


def _likely(code: int, text: str) -> tuple[str, str]:
    if code in _OURS:
        return _OURS[code]
    for cure in _CURES:
        if cure.pattern.search(text):
            return cure.cause, cure.hint
    if code == -signal.SIGKILL:
        return _KILLED
    return "Its log may say why.", "Read the log: agentkit server logs."


def _last_line(log: Path) -> str:
    tail = read_tail(log)
    return f" Its last line: {tail[-1][:_SHOWN]}" if tail else ""


def _read(log: Path) -> str:
    try:
        with log.open("rb") as file:
            return file.read(_READ_BYTES).decode(errors="replace")
    except OSError:
        return ""
