"""Runs model-written Python away from the host's own process.

The one level of isolation so far is "process": a process tree of its own with limits, watched
and killed as a whole. It protects the host from accidents (endless loops, memory, floods of
output, crashes), not from intent: code at this level can read what the user can read, connect
where the user can connect and signal what the user can signal.
"""

from agentkit.sandbox._child import WorkerLimits
from agentkit.sandbox._interpreter import Interpreter, Outcome
from agentkit.sandbox._stubs import HostTools, functions_of

__all__ = ["HostTools", "Interpreter", "Outcome", "WorkerLimits", "functions_of"]
