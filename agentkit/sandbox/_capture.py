"""Keeps the beginning and the end of an output, however long it is, and makes it safe to show."""

import re

from agentkit.text import visible

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x1b\\|\x07|$)"  # OSC, DCS, SOS, PM, APC: titles, clipboard
    r"|\x1b[ -/]*[0-~]",  # other two-character escapes
    re.DOTALL,
)


def clean(text: str) -> str:
    r"""Return the text as a terminal would leave it, without control sequences.

    >>> clean("\x1b[31mred\x1b[0m\n10%\r100%\nend")
    'red\n100%\nend'
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return visible(text.encode("utf-8", "backslashreplace").decode())  # half a surrogate is shown


class Capture:
    """The head and the tail of a stream of bytes; memory stays bounded."""

    def __init__(self, keep: int) -> None:
        self._half = keep // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self.total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._half :]
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]

    def text(self) -> str:
        """Return what was kept, cleaned, and what was left out, counted."""
        tail = bytes(self._tail[-self._half :])
        left_out = self.total - len(self._head) - len(tail)
        if not left_out:
            return clean((bytes(self._head) + tail).decode("utf-8", "replace"))
        head = clean(self._head.decode("utf-8", "ignore"))
        return (
            f"{head}\n[... {left_out} bytes left out ...]\n{clean(tail.decode('utf-8', 'ignore'))}"
        )
