"""What the engine tells its callers: frozen values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agentkit.engine._gate import Gate


@dataclass(frozen=True, slots=True)
class Progress:
    """How far getting an engine has come.

    Attributes:
        phase: what is happening; "load" again after "ready" is a restart.
        done: bytes of a download or a check so far; `None` where nothing can be counted.
        total: bytes in all, if known.
        detail: one line for a person.
        stage: what a server that loads is at: "weights", "KV cache", "graph capture", "warm-up".
    """

    phase: Literal["install", "download", "verify", "load", "ready"]
    done: int | None = None
    total: int | None = None
    detail: str = ""
    stage: str = ""


ProgressCallback: TypeAlias = Callable[[Progress], None]
"""Told of progress; never blocks."""


def ignore_progress(progress: Progress) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model server listens, and what is known of the model behind it.

    Attributes:
        base_url: ends in `/v1`.
        backend: "llamacpp" for the embedded engine; "sglang" or "vllm".
        small: too small to decide by itself when a task is done.
        quantised: weights of fewer bits than they were trained in.
        context_tokens: of one conversation.
        gate: shut while the server starts again.
    """

    base_url: str
    model: str
    api_key: str | None
    backend: str
    small: bool
    quantised: bool
    context_tokens: int
    gate: Gate = field(compare=False)
