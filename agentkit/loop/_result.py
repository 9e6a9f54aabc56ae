"""What is left of a run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from agentkit.errors import AgentkitError, DeadlineExceededError
from agentkit.loop._paused import PausedRun
from agentkit.messages import Message, PlanStep, Stop, Usage

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    OutputT = TypeVar("OutputT", default=None)
else:
    from typing import TypeVar

    OutputT = TypeVar("OutputT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[OutputT]):
    """How a run ended, and everything it knew by then.

    Attributes:
        run_id: also the id of its trace.
        text: the answer; on any stop but "done" the best one so far, perhaps empty.
        stop: "done", or the named reason for ending early.
        reason: why it stopped early, in a sentence; empty when done.
        steps: model calls.
        calls: tool calls that ran.
        usage: tokens over all steps.
        transcript: every message, always legal to continue from.
        agent: name of the agent that was at work in the end.
        output: the answer as a value, where the run was asked for a type and is done.
        shown: what of it the model was shown in the end: less, where all was too long.
        plan: the last plan, if there was one.
        error: what made the run fail; `None` unless `stop` is "failed".
        seconds: from start to end.
        paused: what it takes to go on, where `stop` is "approval".
        abandoned: tools that did not stop when they were told to, and were left to themselves.
        untrusted: where it has read untrusted content, first read first.
        held_back: tools whose calls were not made because of that.
    """

    run_id: str
    text: str
    stop: Stop
    reason: str
    steps: int
    calls: int
    usage: Usage
    transcript: tuple[Message, ...]
    plan: tuple[PlanStep, ...]
    error: AgentkitError | None
    seconds: float
    agent: str = ""
    output: OutputT | None = None
    shown: tuple[Message, ...] = ()
    paused: PausedRun | None = None
    abandoned: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()
    held_back: tuple[str, ...] = ()

    def unwrap(self) -> str:
        """Return the answer of a run that is done.

        Raises:
            AgentkitError: the run stopped early; the error that ended it, or one that says why.
        """
        if self.stop == "done":
            return self.text
        raise self.error or DeadlineExceededError(f"The run stopped early: {self.reason}")
