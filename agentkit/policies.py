"""How patient and how persistent a run is: immutable settings, no clock and no I/O.

All durations are seconds; `None` means no limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from agentkit.errors import ConfigurationError
from agentkit.events import Phase

Thinking: TypeAlias = Literal["auto"] | bool
"""Whether the model thinks first: "auto" leaves it to the model and its preset."""

PhasedThinking: TypeAlias = Thinking | Mapping[Phase, Thinking]
"""The same for each phase of a run ("plan", "act", "answer", "check", "summary"); one left out is "auto"."""

ToolCalls: TypeAlias = Literal["native", "guided", "auto"]
"""How calls are asked for: by the server's own parser, under a JSON schema, or chosen by engine."""

Untrusted: TypeAlias = Literal["auto", "allow", "ask", "refuse"]
"""What a run that has read untrusted content may still do: "auto" asks where nobody watches."""

Plan: TypeAlias = Literal["auto"] | bool
"""Whether a run plans first: "auto" does so where the engine is small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a failed call is repeated.

    Full jitter: the delay before attempt n is drawn from 0 to
    `min(max_delay, first_delay * 2 ** (n - 2))`; a server's Retry-After is a floor.
    """

    attempts: int = 4
    first_delay: float = 0.5
    max_delay: float = 20.0

    def __post_init__(self) -> None:
        _check("retry", self, attempts=1)

    def delay_before(self, attempt: int, jitter: float) -> float:
        """Return the seconds to wait before attempt number `attempt`, `jitter` in 0..1.

        >>> policy = Retry(first_delay=1, max_delay=5)
        >>> [policy.delay_before(n, jitter=1.0) for n in (2, 3, 4, 5)]
        [1.0, 2.0, 4.0, 5.0]
        """
        return min(self.max_delay, self.first_delay * 2.0 ** (attempt - 2)) * jitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What one model server may be bothered with, by all runs of a runtime together.

    Attributes:
        concurrency: requests at the same time, the others wait in a queue; what the server says
            of itself where `None`.
        retry_budget: failures in a row that may be repeated, or as many as the most requests that
            were there at once, under way or waiting; then requests fail at once.
        retry_share: what each success gives back to it. A busy server's 503 costs two, so half of
            one lets a run live with one failure in three; the breaker sees to more than that.
        breaker_share: share of failures from which on the server is left alone.
        breaker_volume: outcomes it takes to tell.
        breaker_window: seconds that an outcome counts.
        breaker_rest: seconds it is left alone, doubled each time it fails again.
    """

    concurrency: int | None = None
    retry_budget: int = 10
    retry_share: float = 0.5
    breaker_share: float = 0.5
    breaker_volume: int = 20
    breaker_window: float = 30.0
    breaker_rest: float = 2.0

    def __post_init__(self) -> None:
        _check("traffic", self, concurrency=1, breaker_volume=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The clocks of a run. Each also ends when the run's own time does."""

    connect: float | None = 5.0
    first_token: float | None = 180.0
    idle: float | None = 60.0
    model: float | None = 900.0
    tool: float | None = 60.0
    mcp_connect: float | None = 60.0
    mcp_call: float | None = 60.0
    step: float | None = None
    run: float | None = None

    def __post_init__(self) -> None:
        _check("timeouts", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use up; reaching one ends it with the best answer so far.

    Attributes:
        steps: model calls.
        calls: tool calls.
        tokens: prompt and completion together, over the whole run.
        parallel_calls: tools running at the same time.
        repeats: same call with the same result in a row before the run is stopped as a loop.
        corrections: how often in a row the model is told that its output cannot be used.
        answer_tokens: completion tokens of one step, thinking included.
        thinking_tokens: of these for thinking, where the server can hold the model to it (SGLang
            with `--enable-strict-thinking`).
        result_chars: longest tool result handed to the model; head and tail are kept.
    """

    steps: int = 24
    calls: int = 64
    tokens: int | None = None
    parallel_calls: int = 8
    repeats: int = 3
    corrections: int = 3
    answer_tokens: int = 4096
    thinking_tokens: int | None = None
    result_chars: int = 16_000

    def __post_init__(self) -> None:
        least = {"steps": 1, "parallel_calls": 1, "repeats": 2, "result_chars": 100}
        _check("limits", self, answer_tokens=1, thinking_tokens=1, **least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything a run is held to.

    Attributes:
        retry: of a model call.
        tool_retry: of a tool call that failed on the way, where its effect allows it.
        timeouts: the clocks.
        limits: what may be used up.
        untrusted: whether a run that has read untrusted content may still make calls that change
            something, and open addresses that it has put together itself: "ask" a person, or
            "refuse". "auto" allows it where an approver is there, and asks where none is: such a
            call is not made then, and the run goes on.
        allow_tools: names of tools that such a run may call all the same.
        allow_hosts: hosts whose addresses it may open, subdomains included.
    """

    retry: Retry = field(default_factory=Retry)
    tool_retry: Retry = field(default_factory=lambda: Retry(attempts=2))
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    untrusted: Untrusted = "auto"
    allow_tools: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()


def _check(group: str, policy: Any, **least: int) -> None:
    """Raise where a field is below its least value, which is 0 where not given."""
    for field_ in fields(policy):
        value: float | None = getattr(policy, field_.name)
        lowest = least.get(field_.name, 0)
        if value is not None and not value >= lowest:
            raise ConfigurationError(
                f"{group}.{field_.name} is {value:g}: it must be {lowest} or more."
            )
