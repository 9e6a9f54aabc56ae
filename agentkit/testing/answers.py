"""What a fake server is to say, and what is to go wrong while it does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from agentkit.messages import Finish

WireFault: TypeAlias = Literal[
    "status",
    "busy",
    "html",
    "sse_error",
    "drop",
    "stall",
    "slow",
    "truncate",
    "cut",
    "drip",
    "no_usage",
    "null_cached",
]
"""Faults of the connection and the server."""

ModelFault: TypeAlias = Literal[
    "lost_args",
    "truncated_args",
    "empty",
    "all_reasoning",
    "stray_think",
    "duplicate_call",
    "raw_call",
    "string_args",
    "scalar_args",
    "abort",
]
"""Faults of what the model wrote, or of how the server's parser read it."""

FaultKind: TypeAlias = WireFault | ModelFault


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one answer.

    What each kind does:

    - "status": answer with the HTTP status `status`, and `retry_after` if it is given.
    - "busy": the queue is full; a stream says so inside a 200, as SGLang does.
    - "html": a page of some proxy, with the HTTP status `status`.
    - "sse_error": after `after` chunks, an error with the code `status` inside the stream.
    - "drop": the connection is lost after `after` chunks; 0 resets it before the first byte.
    - "stall": silence after `after` chunks, until the client leaves or `FakeSGLang.release()`.
    - "slow": `seconds` of waiting before the first byte.
    - "truncate": the stream ends in good order after `after` chunks, without a finish reason.
    - "cut": the connection is lost inside a UTF-8 character, an SSE line or a call's arguments,
      as `at` says.
    - "drip": one byte after another.
    - "no_usage": no usage, although it was asked for.
    - "null_cached": `cached_tokens` is null.
    - "lost_args": a streamed call has the arguments "". Not streamed, it is whole.
    - "truncated_args": the arguments are valid JSON, but half of the last text is missing.
    - "empty": no text, no call, finish "stop".
    - "all_reasoning": the text arrives as reasoning, the content is blank.
    - "stray_think": the content begins with `</think>`.
    - "duplicate_call": each call arrives twice.
    - "raw_call": calls arrive as text in the content.
    - "string_args": the arguments are a JSON string with an object in it.
    - "scalar_args": the arguments are "2".
    - "abort": half of the answer, then finish "abort".

    Attributes:
        kind: one of the above.
        status: HTTP status, or the code inside a streamed error.
        after: chunks that arrive in good order; the first one carries only the role.
        at: where "cut" cuts.
        seconds: how long "slow" waits.
        retry_after: text of the Retry-After header.
    """

    kind: FaultKind
    status: int = 503
    after: int = 0
    at: Literal["utf8", "line", "arguments"] = "line"
    seconds: float = 0.0
    retry_after: str | None = None

    def __post_init__(self) -> None:
        known = (*get_args(WireFault), *get_args(ModelFault))
        if self.kind not in known:
            raise ValueError(f"No fault {self.kind!r}. Known faults: {', '.join(known)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What arrives at the client, whatever a model would have to write for it.

    Attributes:
        text: the visible answer.
        thinking: the reasoning; left out if the request turns thinking off.
        calls: name and arguments of each call; arguments given as a string arrive as they are.
        finish: why the model stopped; found out if not given.
        usage: numbers that replace the estimated ones.
        fault: what goes wrong.
        interval: tokens in one chunk, as with `--stream-interval`.
    """

    text: str = ""
    thinking: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    finish: Finish | None = None
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fault: Fault | FaultKind | None = None
    interval: int = 1


@dataclass(frozen=True, slots=True)
class Raw:
    """What the model writes, to be read by SGLang's parsers, with all their outcomes.

    Attributes:
        written: the text with its tags: `<think>…</think>`, `<tool_call>…</tool_call>`.
        finish: "length" if the text is to count as cut short; found out if not given.
        usage: numbers that replace the estimated ones.
        fault: what goes wrong with the connection.
        interval: tokens in one chunk, as with `--stream-interval`.
    """

    written: str
    finish: Finish | None = None
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fault: Fault | FaultKind | None = None
    interval: int = 1


AnyAnswer: TypeAlias = Answer | Raw | str
"""An answer; a string stands for its text."""


def fault_of(answer: Answer | Raw) -> Fault | None:
    """Return the fault of an answer, if it has one.

    >>> fault_of(Raw("Hello!", fault="drip")).kind
    'drip'
    """
    return Fault(answer.fault) if isinstance(answer.fault, str) else answer.fault


def arguments_text(arguments: Mapping[str, Any] | str) -> str:
    """Return arguments as they travel."""
    if isinstance(arguments, str):
        return arguments
    return json.dumps(dict(arguments), ensure_ascii=False)


def written(answer: Answer) -> str:
    r"""Return what a model would have written for this answer.

    >>> written(Answer(thinking="Hm.", text="Hi."))
    '<think>\nHm.\n</think>\n\nHi.'
    """
    blocks = [answer.text] if answer.text else []
    blocks += [
        f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments_text(arguments)}}}'
        "\n</tool_call>"
        for name, arguments in answer.calls
    ]
    thought = f"<think>\n{answer.thinking}\n</think>\n\n" if answer.thinking else ""
    return thought + "\n".join(blocks)


def spoil(answer: Answer) -> Answer:
    """Return the answer as the model fault it carries has left it."""
    fault = fault_of(answer)
    if fault is None:
        return answer
    spoiler = _SPOILERS.get(fault.kind)
    return answer if spoiler is None else spoiler(answer)


def _truncated(answer: Answer) -> Answer:
    return replace(
        answer, calls=tuple((name, _half(arguments)) for name, arguments in answer.calls)
    )


def _half(arguments: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
    if isinstance(arguments, str):
        return arguments
    texts = [key for key, value in arguments.items() if isinstance(value, str)]
    if not texts:
        return {}
    last = texts[-1]
    return {**arguments, last: arguments[last][: len(arguments[last]) // 2]}


def _stringed(answer: Answer) -> Answer:
    calls = tuple(
        (name, json.dumps(arguments_text(arguments), ensure_ascii=False))
        for name, arguments in answer.calls
    )
    return replace(answer, calls=calls)


def _in_text(answer: Answer) -> Answer:
    bare = replace(answer, thinking="")
    return replace(answer, text=written(bare), calls=(), finish="stop")


_SPOILERS: dict[FaultKind, Callable[[Answer], Answer]] = {
    "truncated_args": _truncated,
    "empty": lambda answer: replace(answer, text="", thinking="", calls=(), finish="stop"),
    "all_reasoning": lambda answer: replace(
        answer, text="", thinking=f"{answer.thinking}\n{answer.text}".strip("\n"), finish="stop"
    ),
    "stray_think": lambda answer: replace(answer, text=f"</think>\n\n{answer.text}"),
    "duplicate_call": lambda answer: replace(
        answer, calls=tuple(item for item in answer.calls for _ in range(2))
    ),
    "raw_call": _in_text,
    "string_args": _stringed,
    "scalar_args": lambda answer: replace(
        answer, calls=tuple((name, "2") for name, _ in answer.calls)
    ),
    "abort": lambda answer: replace(
        answer, text=answer.text[: len(answer.text) // 2], calls=(), finish="abort"
    ),
}
