"""The clocks of one model call, on one cancel scope whose deadline moves."""

from math import inf

import anyio

from agentkit.errors import ModelTimeoutError
from agentkit.policies import Timeouts

_SLACK = 0.02  # the idle clock may run this part late, so that not every token moves a timer
_GRACE = 5.0  # seconds for usage and [DONE] once the model has said why it stopped

_MEANING = {
    "first_token": "no first token came",
    "idle": "no further token came",
    "model": "the answer was not complete",
    "connect": "no connection was made",
}


class Clocks:
    """Cancels `scope` when the first token, the next token or the end takes too long."""

    __slots__ = ("_clock", "_ends", "_move_at", "_timeouts", "scope")

    def __init__(self, timeouts: Timeouts) -> None:
        now = anyio.current_time()
        self._timeouts = timeouts
        self._ends = inf if timeouts.model is None else now + timeouts.model
        self._move_at = -inf
        self._clock = "first_token"
        self.scope = anyio.CancelScope()
        self._set("first_token", timeouts.first_token, now)

    def beat(self) -> None:
        """A token came: the idle clock starts again."""
        now = anyio.current_time()
        if now >= self._move_at:
            idle = self._timeouts.idle
            slack = 0.0 if idle is None else idle * _SLACK
            self._move_at = inf if idle is None else now + slack
            self._set("idle", None if idle is None else idle + slack, now)

    def finishing(self) -> None:
        """The model has stopped; what follows is worth a short wait only."""
        now = anyio.current_time()
        self._move_at = inf
        self._set("idle", _GRACE, now)

    def only_total(self) -> None:
        """Nothing streams: only the whole time counts."""
        self._move_at = inf
        self._set("model", None, anyio.current_time())

    def error(self, base_url: str) -> ModelTimeoutError:
        """Return the error of the clock that ran out."""
        return timeout_error(self._clock, self._timeouts, base_url)

    def _set(self, clock: str, seconds: float | None, now: float) -> None:
        at = inf if seconds is None else now + seconds
        self._clock = clock if at < self._ends else "model"
        self.scope.deadline = min(at, self._ends)


def timeout_error(clock: str, timeouts: Timeouts, base_url: str) -> ModelTimeoutError:
    """Return the error that names `clock` and its seconds."""
    seconds: float | None = getattr(timeouts, clock)
    return ModelTimeoutError(
        f"Model server {base_url}: {_MEANING[clock]} within {seconds or 0:g} s (clock {clock!r}).",
        hint=f"Give it longer with timeouts.{clock}, or see whether the server is overloaded.",
    )
