"""What a server has seen of a conversation: tells where a request breaks the prefix of its cache."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

_MOST_BYTES = 32 * 1024 * 1024  # of prompts, over all conversations: the oldest are forgotten
_REMEMBERED = 4  # requests of a conversation: a step may ask something aside, and go on as before


@dataclass(frozen=True, slots=True)
class Prompt:
    """The bytes of a request that become the prompt, in its order: tools, then messages."""

    tools: bytes
    messages: Sequence[bytes]
    size: int

    @classmethod
    def of(cls, tools: bytes, messages: Sequence[bytes]) -> "Prompt":
        """Return a prompt of these parts."""
        return cls(tools, messages, len(tools) + sum(map(len, messages)))


@dataclass(slots=True)
class _Known:
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    counted: Prompt | None = None
    tokens: int = 0
    size: int = 0


class PrefixWatch:
    """Remembers the last prompts of each conversation, and what the server said of their size.

    Bytes stand for tokens: what has the same bytes has the same tokens.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def look(self, conversation: str, prompt: Prompt) -> str:
        """Return where the prompt breaks the prefix of its conversation; "" if it does not."""
        known = self._of(conversation)
        said = _break(known.prompts, prompt)
        known.prompts.append(prompt)
        del known.prompts[:-_REMEMBERED]
        self._weigh(known, prompt)
        return said

    def counted(self, conversation: str, prompt: Prompt, tokens: int) -> None:
        """Remember how many tokens the server made of a prompt."""
        known = self._of(conversation)
        known.counted, known.tokens = prompt, tokens
        self._weigh(known, prompt)

    def at_most(self, conversation: str, prompt: Prompt) -> int:
        """Return a number of tokens that the prompt surely does not exceed.

        A token has at least one byte: what was counted counts, and each byte since as a token.
        """
        known = self._known.get(conversation)
        counted = known.counted if known is not None else None
        if known is None or counted is None or _shared(counted, prompt) < len(counted.messages):
            return prompt.size
        return known.tokens + prompt.size - counted.size

    def _of(self, conversation: str) -> _Known:
        known = self._known.get(conversation)
        if known is None:
            known = self._known[conversation] = _Known()
        else:
            self._known.move_to_end(conversation)
        return known

    def _weigh(self, known: _Known, prompt: Prompt) -> None:
        """Count the last prompt of a conversation, as those before are parts of it; make room."""
        self._bytes += prompt.size - known.size
        known.size = prompt.size
        while self._bytes > self._most_bytes and len(self._known) > 1:
            _, gone = self._known.popitem(last=False)
            self._bytes -= gone.size


def _break(before: Sequence[Prompt], prompt: Prompt) -> str:
    if not before:
        return ""
    best = max(before, key=lambda other: _shared(other, prompt))
    shared = _shared(best, prompt)
    # A last message that is not there any more was a question aside: what stood before it is known.
    if shared >= len(best.messages) - 1 and best.tools == prompt.tools:
        return ""
    if best.tools != prompt.tools:
        begins, what = _common(best.tools, prompt.tools), "the tools"
    else:
        old, new = best.messages[shared], (*prompt.messages, b"")[shared]
        begins = len(best.tools) + sum(map(len, best.messages[:shared])) + _common(old, new)
        what = f"message {shared + 1}"
    return (
        f"The prompt changed where it should only grow: from byte {begins:,} to {best.size:,}, in "
        f"{what}. The server's prefix cache does not know it from there on."
    )


def _shared(one: Prompt, other: Prompt) -> int:
    """Return how many messages at the start are the same; -1 if the tools before them are not."""
    if one.tools != other.tools:
        return -1
    mine, theirs = one.messages, other.messages
    if list(theirs[: len(mine)]) == list(mine):  # nearly always, and quick: the same objects
        return len(mine)
    pairs = zip(mine, theirs, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(mine), len(theirs)))


def _common(one: bytes, other: bytes) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
