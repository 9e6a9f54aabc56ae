"""Keeps the prompt within the model's context: old results go first, then all that is old.

The transcript itself is never changed: this is only what of it the model is shown.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agentkit.messages import (
    Message,
    ModelTurn,
    SystemMessage,
    ToolResult,
    ToolSpec,
    Usage,
    UserMessage,
)

_KEPT_ROUNDS = 2  # the last ones are shown as they are
_WORTH_CLEARING = 400  # characters
_BYTES_A_TOKEN, _LEAST, _MOST = 3.0, 1.5, 6.0  # of JSON, until a server has counted


@dataclass(slots=True)
class Context:
    """What of a transcript is shown, and about how many tokens that is."""

    cleared: dict[int, ToolResult] = field(default_factory=dict[int, ToolResult])
    summary: ModelTurn | None = None
    until: int = 0
    _tokens: int = 0
    _counted: int = 0
    _sized: int = 0
    _size: int = 0
    _kit: tuple[ToolSpec, ...] = ()
    _kit_size: int = 0
    _per_token: float = _BYTES_A_TOKEN

    def shown(self, transcript: list[Message]) -> list[Message]:
        """Return the messages of a transcript as the model sees them."""
        if not self.cleared and self.summary is None:
            return transcript
        after = [self._entry(at, transcript) for at in range(self.until, len(transcript))]
        if self.summary is None:
            return after
        start = first_of(transcript)
        task = task_of(transcript)
        before = transcript[:start]
        if start <= task < self.until:
            before = [*before, transcript[task]]
        return [*before, self.summary, *after]

    def counted(self, shown: Sequence[Message], tools: tuple[ToolSpec, ...], usage: Usage) -> None:
        """Take note of what a server has counted for these messages, and the turn after them."""
        if not usage.prompt_tokens:
            return
        self._size += sum(map(size_of, shown[self._sized :]))
        self._sized = len(shown)
        size = self._size + self._tools_size(tools)
        self._per_token = min(_MOST, max(_LEAST, size / usage.prompt_tokens))
        self._tokens = usage.prompt_tokens + usage.completion_tokens
        self._counted = len(shown) + 1  # with the turn itself

    def forget_count(self) -> None:
        """Know nothing of the size any more: what is shown has changed."""
        self._tokens = self._counted = self._sized = self._size = 0

    def tokens(self, shown: Sequence[Message], tools: tuple[ToolSpec, ...]) -> int:
        """Return about how many tokens the messages have."""
        size = sum(map(size_of, shown[self._counted :]))
        if not self._counted:
            size += self._tools_size(tools)
        return self._tokens + round(size / self._per_token)

    def _tools_size(self, tools: tuple[ToolSpec, ...]) -> int:
        if tools is not self._kit:  # they stay the same, but for once
            self._kit, self._kit_size = tools, _size_of_tools(tools)
        return self._kit_size

    def clearable(self, transcript: list[Message]) -> list[int]:
        """Return where the old results are that are worth clearing, oldest first."""
        recent = _start_of_recent(transcript)
        return [
            at
            for at in range(max(self.until, first_of(transcript)), recent)
            if isinstance(entry := transcript[at], ToolResult)
            and at not in self.cleared
            and len(entry.text) > _WORTH_CLEARING
        ]

    def clear(self, at: int, result: ToolResult) -> None:
        """Show this, and no more, of the result that stands there."""
        self.cleared[at] = result

    def summarisable(self, transcript: list[Message]) -> tuple[int, list[Message]]:
        """Return up to where there is something old, and what of it is shown now."""
        until, start = _start_of_recent(transcript), first_of(transcript)
        if until <= max(self.until, start):
            return 0, []
        old = [self._entry(at, transcript) for at in range(max(self.until, start), until)]
        task = transcript[task_of(transcript)]
        old = [entry for entry in old if entry is not task]
        if not old:
            return 0, []
        return until, [*([self.summary] if self.summary else []), *old]

    def summarise(self, until: int, summary: str) -> None:
        """Show a summary instead of what stands before `until`.

        As words of the model's own: what tools have said must not speak with a person's voice.
        """
        self.summary, self.until = ModelTurn(text=summary), until

    def _entry(self, at: int, transcript: list[Message]) -> Message:
        return self.cleared.get(at) or transcript[at]


def first_of(transcript: Sequence[Message]) -> int:
    """Return where the standing instructions end."""
    return 1 if transcript and isinstance(transcript[0], SystemMessage) else 0


def task_of(transcript: Sequence[Message]) -> int:
    """Return where the last thing is that a person said; -1 if there is none."""
    for at in range(len(transcript) - 1, -1, -1):
        if isinstance(transcript[at], UserMessage):
            return at
    return -1


def size_of(message: Message) -> int:
    """Return about how many bytes of JSON a message is."""
    if isinstance(message, ModelTurn):
        calls = sum(len(c.name) + len(c.arguments) + 60 for c in message.tool_calls)
        return _bytes(message.text) + _bytes(message.thinking) + calls + 40
    if isinstance(message, ToolResult):
        return _bytes(message.told) + 40
    return _bytes(message.text) + 40


def as_lines(messages: Sequence[Message], most: int) -> str:
    """Return messages as a person would note them down, each shortened to `most` characters.

    >>> print(as_lines([UserMessage("Hi"), ModelTurn(text="Hello")], 100))
    User: Hi
    Assistant: Hello
    """
    lines: list[str] = []
    for message in messages:
        match message:
            case UserMessage():
                lines.append(f"User: {message.text[:most]}")
            case SystemMessage():
                lines.append(f"Note: {message.text[:most]}")
            case ToolResult():
                kind = "Result" if message.ok else "Error"
                shown = replace(message, text=message.text[:most]).told
                lines.append(f"{kind} of {message.name}: {shown}")
            case ModelTurn():
                if message.text:
                    lines.append(f"Assistant: {message.text[:most]}")
                lines.extend(f"Call {c.name}({c.arguments[:most]})" for c in message.tool_calls)
    return "\n".join(lines)


def _start_of_recent(transcript: Sequence[Message]) -> int:
    """Return where the last rounds begin, or a task that has had no answer yet."""
    turns = [at for at, entry in enumerate(transcript) if isinstance(entry, ModelTurn)]
    if len(turns) < _KEPT_ROUNDS:
        return first_of(transcript)
    return turns[-_KEPT_ROUNDS]


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _size_of_tools(tools: Sequence[ToolSpec]) -> int:
    """Return about how many bytes of JSON the tools are."""
    return sum(
        len(tool.description) + len(json.dumps(dict(tool.parameters))) + 80 for tool in tools
    )
