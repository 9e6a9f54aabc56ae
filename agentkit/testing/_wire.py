"""The bytes of an answer, key for key as SGLang 0.5.23 sends them."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from agentkit.messages import Finish
from agentkit.testing._qwen import Delta, Whole

EOS = 151645
"""Qwen's `<|im_end|>`, which `matched_stop` names when the model ended by itself."""

DONE = b"data: [DONE]\n\n"

FrameKind: TypeAlias = Literal["role", "thinking", "text", "name", "arguments", "finish", "usage"]


class Frame(NamedTuple):
    """One SSE event."""

    kind: FrameKind
    data: bytes


@dataclass(frozen=True, slots=True)
class Spoken:
    """An answer, ready to be sent in either form.

    Attributes:
        whole: the answer that is not streamed.
        deltas: the pieces of the streamed one.
        finish: why the model stopped, "stop" standing for "tool_calls" too.
        usage: the object of that name; None leaves it out.
    """

    whole: Whole
    deltas: tuple[Delta, ...]
    finish: Finish
    usage: dict[str, Any] | None


class Envelope:
    """What all chunks of one answer have in common."""

    def __init__(self, model: str, answer_id: str | None = None) -> None:
        self.id = answer_id or uuid.uuid4().hex
        self._model = model
        self._created = int(time.time())
        head = {**self._head("chat.completion.chunk"), "choices": 0}
        self._prefix = _compact(head).removesuffix("0}")

    def body(self, spoken: Spoken) -> bytes:
        """Return the JSON body of an answer that is not streamed."""
        whole = spoken.whole
        finish = _finish(spoken.finish, called=bool(whole.calls))
        message: dict[str, Any] = {
            "role": "assistant",
            "content": whole.text,
            "reasoning_content": whole.thinking,
        }
        if whole.calls:
            message["tool_calls"] = [
                _call(_call_id(), index, name, arguments)
                for index, (name, arguments) in enumerate(whole.calls)
            ]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish,
            "matched_stop": EOS if finish == "stop" else None,
        }
        fields = {**self._head("chat.completion"), "choices": [choice], "usage": spoken.usage}
        return _compact({**fields, "metadata": _weights(spoken.usage)}).encode()

    def frames(self, spoken: Spoken, options: Mapping[str, Any], *, tools: bool) -> list[Frame]:
        """Return the chunks of a streamed answer, without the closing `[DONE]`."""
        running = spoken.usage if options.get("continuous_usage_stats") else None
        opening = {"reasoning_content": None, "role": "assistant", "content": ""}
        frames = [Frame("role", self._chunk(opening, usage=running))]
        for delta in spoken.deltas:
            fields = _fields(delta, tools=tools)
            explicit = delta.kind != "thinking" and tools
            usage = running if running is not None else _NULL if explicit else None
            frames.append(Frame(delta.kind, self._chunk(fields, usage=usage)))
        frames.append(self.finish(spoken, called=any(d.kind == "name" for d in spoken.deltas)))
        if options.get("include_usage") and spoken.usage is not None:
            frames.append(Frame("usage", self.usage(spoken.usage)))
        return frames

    def finish(self, spoken: Spoken, *, called: bool) -> Frame:
        """Return the chunk with the finish reason."""
        finish = _finish(spoken.finish, called=called)
        stop = EOS if finish in {"stop", "tool_calls"} else None
        return Frame("finish", self._chunk({"reasoning_content": None}, finish, stop))

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        """Return the chunk that carries only the usage."""
        return f'data: {self._prefix}[],"usage":{_compact(usage)}}}\n\n'.encode()

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self._created, "model": self._model}

    def _chunk(
        self,
        delta: Mapping[str, Any],
        finish: str | None = None,
        stop: int | None = None,
        usage: Mapping[str, Any] | None = None,
    ) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish,
            "matched_stop": stop,
        }
        tail = "" if usage is None else f',"usage":{_compact(usage or None)}'
        return f"data: {self._prefix}[{_compact(choice)}]{tail}}}\n\n".encode()


_NULL: Mapping[str, Any] = {}
"""Stands for a usage that is there and null."""


def bundle(deltas: Iterable[Delta], size: int) -> list[Delta]:
    """Join neighbours of one kind, `size` of them at most.

    >>> bundle([Delta("text", "a"), Delta("text", "b"), Delta("text", "c")], 2)
    [Delta(kind='text', text='ab', call=0), Delta(kind='text', text='c', call=0)]
    """
    bundled: list[Delta] = []
    count = 0
    for delta in deltas:
        last = bundled[-1] if bundled else None
        joins = last is not None and (last.kind, last.call) == (delta.kind, delta.call)
        if last is not None and joins and delta.kind != "name" and count < size:
            bundled[-1] = last._replace(text=last.text + delta.text)
            count += 1
        else:
            bundled.append(delta)
            count = 1
    return bundled


def usage_of(prompt: int, completion: int, reasoning: int, cached: int | None) -> dict[str, Any]:
    """Return a usage object; `cached` is None where the server does not report it."""
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
        "reasoning_tokens": reasoning,
        "completion_tokens_details": {"reasoning_tokens": reasoning} if reasoning else None,
    }


def _fields(delta: Delta, *, tools: bool) -> dict[str, Any]:
    if delta.kind == "thinking":
        return {"reasoning_content": delta.text}
    if delta.kind == "text" and not tools:
        return {"reasoning_content": None, "content": delta.text}
    text = delta.text if delta.kind == "text" else None
    fields: dict[str, Any] = {"role": None, "content": text, "reasoning_content": None}
    if delta.kind == "name":
        fields["tool_calls"] = [_call(_call_id(), delta.call, delta.text, "")]
    elif delta.kind == "arguments":
        fields["tool_calls"] = [_call(None, delta.call, None, delta.text)]
    return fields


def _call(call_id: str | None, index: int, name: str | None, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "index": index, "type": "function", "function": function}


def _call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def _finish(finish: Finish, *, called: bool) -> Finish:
    return "tool_calls" if called and finish == "stop" else finish


def _weights(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    end = 0 if usage is None else usage["completion_tokens"]
    versions: Sequence[object] = [{"version": "default", "start": 0, "end": end}]
    return {"weight_version": "default", "weight_versions": versions}


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
