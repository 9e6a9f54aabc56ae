"""Plan, act, observe: the loop of one run.

It reaches models and tools through `agentkit.protocols` alone.
"""

from agentkit.loop._handle import Run
from agentkit.loop._paused import PausedRun
from agentkit.loop._result import OutputT, Result
from agentkit.loop._run import run_to_end
from agentkit.loop._state import CURRENT_RUN, Output, RunState, Successor
from agentkit.loop._taint import STANDING, Taint

__all__ = [
    "CURRENT_RUN",
    "STANDING",
    "Output",
    "OutputT",
    "PausedRun",
    "Result",
    "Run",
    "RunState",
    "Successor",
    "Taint",
    "run_to_end",
]
