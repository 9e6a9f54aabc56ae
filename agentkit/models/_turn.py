"""Puts a turn together from the pieces of a stream, without an object per piece."""

from collections.abc import Iterable
from json import dumps
from typing import Any

from jiter import from_json

from agentkit.errors import ModelError, TruncatedStreamError
from agentkit.messages import JsonObject, Usage
from agentkit.models._calls import RawCall
from agentkit.models._errors import error_from_stream
from agentkit.protocols import Emit

_DONE = b"[DONE]"


class Channel:
    """One kind of text: gives out pieces whose sum has no newlines around it."""

    __slots__ = ("_held", "_parts")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._held = ""

    def push(self, piece: str) -> str:
        r"""Take a piece, return what may be shown now.

        >>> channel = Channel()
        >>> [channel.push(piece) for piece in ("\n", "\na\n", "\nb", "\n")]
        ['', 'a', '\n\nb', '']
        """
        if not self._parts:
            piece = piece.lstrip("\n")
        body = piece.rstrip("\n")
        if not body:
            if self._parts:
                self._held += piece
            return ""
        shown = self._held + body if self._held else body
        self._held = piece[len(body) :]
        self._parts.append(shown)
        return shown

    @property
    def text(self) -> str:
        """Everything so far, without newlines around it."""
        return "".join(self._parts)


class TurnBuilder:
    """Collects text, thinking, calls, usage and the reason to stop."""

    def __init__(self, emit: Emit, base_url: str) -> None:
        self._emit = emit
        self._base_url = base_url
        self._calls: dict[int, RawCall] = {}
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._text = Channel()
        self._thinking = Channel()
        self.finish = ""
        self.usage = Usage(requests=1)
        self.error: ModelError | None = None
        self.done = False

    @property
    def text(self) -> str:
        """The visible text so far."""
        return self._text.text

    @property
    def thinking(self) -> str:
        """The thinking so far."""
        return self._thinking.text

    @property
    def calls(self) -> Iterable[RawCall]:
        """The calls so far, in the order of their first piece."""
        return self._calls.values()

    @property
    def begun(self) -> bool:
        """Whether the model has said anything."""
        return bool(self.finish or self._calls or self.text or self.thinking)

    def feed(self, payloads: Iterable[bytes]) -> None:
        """Take payloads of a stream; text of one batch is emitted as one piece."""
        for payload in payloads:
            if payload == _DONE:
                self.done = True
            elif self.error is None:
                self._take(payload)
        if self._thoughts or self._texts:
            self._flush()

    def feed_whole(self, completion: JsonObject) -> None:
        """Take an answer that did not stream."""
        choices: Any = completion.get("choices")
        if choices:
            choice = choices[0]
            self._delta(choice.get("message") or {})
            self.finish = choice.get("finish_reason") or ""
            self._flush()
        self._take_rest(completion)

    def _take(self, payload: bytes) -> None:
        try:
            chunk: Any = from_json(payload)
            choices: Any = chunk.get("choices")
            if choices:
                choice = choices[0]
                delta = choice.get("delta")
                if delta:
                    self._delta(delta)
                reason = choice.get("finish_reason")
                if reason:
                    self.finish = reason
            if not choices or "usage" in chunk:
                self._take_rest(chunk)
        except (ValueError, AttributeError, TypeError, LookupError) as error:
            self.error = TruncatedStreamError(
                f"Model server {self._base_url} sent a broken piece of a stream: "
                f"{payload[:200].decode('utf-8', 'replace')!r}."
            )
            self.error.__cause__ = error

    def _delta(self, delta: JsonObject) -> None:
        content = delta.get("content")
        if content:
            if self._thoughts:
                self._flush()
            self._texts.append(_string(content))
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            if self._texts:
                self._flush()
            self._thoughts.append(_string(thought))
        pieces = delta.get("tool_calls")
        if pieces:
            for piece in pieces:
                self._call(piece)

    def _call(self, piece: JsonObject) -> None:
        function: JsonObject = piece.get("function") or {}
        name: str = function.get("name") or ""
        given: str = piece.get("id") or ""
        call = self._slot(piece.get("index"), name, given)
        call.name = call.name or _string(name)
        call.id = call.id or _string(given)
        arguments: Any = function.get("arguments")
        if arguments:
            call.arguments += arguments if isinstance(arguments, str) else dumps(arguments)

    def _slot(self, index: object, name: str, given: str) -> RawCall:
        """Return the call that a piece belongs to; only the first piece has name and id."""
        first = bool(name or given)
        if not isinstance(index, int):  # some servers leave the index out
            index = len(self._calls) if first or not self._calls else next(reversed(self._calls))
        call = self._calls.get(index)
        if call is not None and name and given and call.id and given != call.id:
            index, call = max(self._calls) + 1, None  # another call under the same index
        if call is None:
            call = self._calls[index] = RawCall()
        return call

    def _take_rest(self, chunk: JsonObject) -> None:
        usage: Any = chunk.get("usage")
        if usage:
            self.usage = read_usage(usage)
        error: Any = chunk.get("error")
        if error:
            self.error = error_from_stream(error, self._base_url)

    def _flush(self) -> None:
        if self._thoughts:
            shown = self._thinking.push("".join(self._thoughts))
            self._thoughts.clear()
            if shown:
                self._emit("thinking", shown)
        if self._texts:
            shown = self._text.push("".join(self._texts))
            self._texts.clear()
            if shown:
                self._emit("text", shown)


def read_usage(usage: JsonObject) -> Usage:
    """Return the tokens of one request; details may be null or missing."""
    prompt: JsonObject = usage.get("prompt_tokens_details") or {}
    completion: JsonObject = usage.get("completion_tokens_details") or {}
    return Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=prompt.get("cached_tokens") or 0,
        reasoning_tokens=completion.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0,
        requests=1,
    )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value
