"""Documents become text: simple ones in a thread, HTML and PDF in a process that can be killed."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from agentkit.errors import ToolError
from agentkit_tools import _text

SECONDS = 8.0
"""Patience with a conversion; after it the process is killed."""

PLAIN_CHARS = 1_000_000
"""How much of a page is read without the converter, when that gave up."""

READER = Path(__file__).with_name("_reader.py")
_ANSWER_BYTES = 4 * _text.TEXT_CHARS + 10_000
_AT_ONCE = 4
_STOP_SECONDS = 5.0
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")

_limiter: RunVar[CapacityLimiter] = RunVar("agentkit fetch conversions")


@dataclass(frozen=True, slots=True)
class Converted:
    """A document as text.

    Attributes:
        text: what was in it.
        note: what was not read of it, in a few words.
    """

    text: str
    note: str = ""


async def convert(body: bytes, content_type: str) -> Converted:
    """Return the text of a document; never leaves a process behind, however it ends.

    Raises:
        ToolError: it cannot be read at all.
    """
    if not _needs_process(body, content_type):
        text = await to_thread.run_sync(_text.to_text, body, content_type, abandon_on_cancel=True)
        return Converted(text)
    answer = await _in_process(body, content_type)
    if answer is not None:
        said, text = answer
        if error := said.get("error"):
            raise _pdf_error(str(error))
        return Converted(text, str(said.get("note", "")))
    if content_type.startswith("application/pdf"):
        raise ToolError("The PDF could not be read: it takes too long or too much memory.")
    plain = partial(_text.plain_text, body, content_type, PLAIN_CHARS)
    text = await to_thread.run_sync(plain, abandon_on_cancel=True)
    return Converted(text, "words only: the page defeats the converter")


def _needs_process(body: bytes, content_type: str) -> bool:
    if content_type.startswith("application/pdf"):
        return True
    return bool(body) and _text.is_html(body, content_type)


def _pdf_error(error: str) -> ToolError:
    if error == "missing":
        return ToolError(
            "It is a PDF, and what reads PDF is not installed here.",
            hint="pip install 'qwen-agentkit[pdf]'",
        )
    return ToolError(f"It cannot be read. {error}")


async def _in_process(body: bytes, content_type: str) -> tuple[dict[str, Any], str] | None:
    """Return the reader's answer; `None` if it was killed, died, or could not be started."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
    async with limiter:
        job = _Job(body, content_type)
        answer = b""
        with anyio.move_on_after(SECONDS):
            try:
                answer = await to_thread.run_sync(job.run, abandon_on_cancel=True)
            except anyio.get_cancelled_exc_class():
                job.kill()
                # What is killed is reaped at once by its thread, and nothing of it may stay.
                with anyio.move_on_after(_STOP_SECONDS, shield=True):
                    await to_thread.run_sync(job.over.wait, _STOP_SECONDS, abandon_on_cancel=True)
                raise
            except OSError:  # no memory, no processes: the words are left
                return None
    return _parsed(answer)


def _parsed(answer: bytes) -> tuple[dict[str, Any], str] | None:
    head, end, text = answer.partition(b"\n")
    if not end or len(answer) > _ANSWER_BYTES:
        return None
    try:
        said: Any = json.loads(head)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    return cast("dict[str, Any]", said), text.decode("utf-8", "replace")


class _Job:
    """One reader process; runs in a thread, may be killed from another at any moment."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self._head = json.dumps({"type": content_type}).encode() + b"\n"
        self._body = body
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_unwanted = False
        self.over = threading.Event()

    def run(self) -> bytes:
        """Return what the process wrote, as far as it is not too long.

        Raises:
            OSError: it cannot be started.
        """
        try:
            with tempfile.TemporaryFile() as given:  # a file cannot block, as a pipe can
                given.write(self._head + self._body)
                given.seek(0)
                with self._start(given.fileno()) as process:
                    answer = process.stdout.read(_ANSWER_BYTES + 1) if process.stdout else b""
                    process.kill()  # it has nothing left to say
            return answer if process.returncode in {0, -9} else b""
        finally:
            self.over.set()

    def _start(self, given: int) -> "subprocess.Popen[bytes]":
        paths = [str(READER.parents[1]), *(path for path in sys.path if path)]
        with self._lock:
            if self._is_unwanted:
                raise OSError("not wanted any more")
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(READER), json.dumps(paths)],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                cwd="/" if os.name == "posix" else None,
                start_new_session=True,  # Ctrl-C in the terminal is not for it
            )
            return self._process

    def kill(self) -> None:
        """End the process, also one that is only about to start."""
        with self._lock:
            self._is_unwanted = True
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
