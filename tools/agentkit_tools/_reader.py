"""Turns one document into text in a process of its own, which may be killed at any time.

Started by path, so it imports nothing of agentkit and gets the paths of packages as an argument.
Reads a line of JSON, `{"type"}`, and the document from stdin; writes a line of JSON, `{"error",
"note"}`, and the text. It sets itself limits first: what it reads was written by anyone.
"""

import json
import sys
from contextlib import suppress

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 10
OPEN_FILES = 64


def limit() -> None:
    """Give up memory, processor time, files and core dumps, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the host's deadline is left
        return
    for name, most in (
        ("RLIMIT_AS", MEMORY_BYTES),
        ("RLIMIT_CPU", CPU_SECONDS),
        ("RLIMIT_NOFILE", OPEN_FILES),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
    ):
        with suppress(OSError, ValueError):  # macOS knows some by name only
            resource.setrlimit(getattr(resource, name), (most, most))


def read(body: bytes, content_type: str) -> tuple[dict[str, str], str]:
    """Return what is to be said of a document, and its text."""
    from agentkit_tools import _pdf, _text

    if not content_type.startswith("application/pdf"):
        return {}, _text.to_text(body, content_type)
    try:
        text, note = _pdf.pdf_text(body, _text.TEXT_CHARS)
    except ModuleNotFoundError:
        return {"error": "missing"}, ""
    except _pdf.UnreadablePdfError as error:
        return {"error": str(error)}, ""
    return {"note": note}, _text.cleaned(text)


def main() -> None:
    """Read stdin, write stdout."""
    sys.path[:] = [*json.loads(sys.argv[1]), *sys.path[1:]]  # not the folder of this file
    limit()
    head = json.loads(sys.stdin.buffer.readline())
    said, text = read(sys.stdin.buffer.read(), head["type"])
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + text.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
