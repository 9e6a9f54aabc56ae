"""Splits a body of server-sent events into its data lines, wherever the network cut it."""

from agentkit.errors import ModelError

_LONGEST_LINE = 64 * 1024 * 1024


class SseSplitter:
    """Takes bytes as they come and gives back whole `data:` payloads.

    Comments and other fields are skipped. An event of the OpenAI protocol is one `data:` line.
    """

    __slots__ = ("_carried", "_carry")

    def __init__(self) -> None:
        self._carry: list[bytes] = []
        self._carried = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        r"""Return the payloads that `chunk` completes.

        >>> splitter = SseSplitter()
        >>> splitter.feed(b"data: {}\n\nda"), splitter.feed(b"ta:[DONE]\r\n")
        ([b'{}'], [b'[DONE]'])
        """
        lines = chunk.split(b"\n")
        if self._carry:
            self._carry.append(lines[0])
            if len(lines) > 1:  # join once per line, not once per chunk
                lines[0] = b"".join(self._carry)
                self._carry = []
                self._carried = 0
        if len(lines) > 1 or not self._carry:
            rest = lines.pop()
            if rest:
                self._carry = [rest]
        else:
            lines = []
        self._carried += len(chunk)
        if self._carried > _LONGEST_LINE:
            self._check_length()
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]

    def close(self) -> list[bytes]:
        """Return the payload of a last line without a line end."""
        rest = b"".join(self._carry)
        self._carry = []
        return [rest[5:].strip()] if rest.startswith(b"data:") else []

    def _check_length(self) -> None:
        self._carried = sum(map(len, self._carry))
        if self._carried > _LONGEST_LINE:
            raise ModelError(
                f"The model server sent a line of more than {_LONGEST_LINE >> 20} MiB.",
                hint="This is not a chat completion: check the base URL.",
            )
