"""Runs model-written Python where it can do no harm, and says what that means here.

Levels of isolation, each with all of the one before: "process" (a process tree of its own with
limits, watched and killed as a whole: it holds accidents, not intent), "confined" (Landlock and
seccomp), "namespaced" (bubblewrap). "auto" takes the strongest that holds on this machine, which
is found out by trying to break it; nothing is run below the minimum.
"""

from agentkit.sandbox._artifacts import MadeFile
from agentkit.sandbox._inputs import input_name
from agentkit.sandbox._interpreter import Interpreter
from agentkit.sandbox._levels import LEVELS, Isolation, Level
from agentkit.sandbox._probe import Findings, probe
from agentkit.sandbox._report import SandboxReport
from agentkit.sandbox._session import Outcome
from agentkit.sandbox._setup import WorkerLimits
from agentkit.sandbox._spares import Spares
from agentkit.sandbox._stubs import HostTools, functions_of

__all__ = [
    "LEVELS",
    "Findings",
    "HostTools",
    "Interpreter",
    "Isolation",
    "Level",
    "MadeFile",
    "Outcome",
    "SandboxReport",
    "Spares",
    "WorkerLimits",
    "functions_of",
    "input_name",
    "probe",
]
