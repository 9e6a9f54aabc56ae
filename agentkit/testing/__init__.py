"""Public doubles for tests: a scripted model, and tools in memory."""

from agentkit.testing.scripted_model import ScriptedModel, Step, call, step
from agentkit.testing.tools import HANG, EchoTool, RecordingTool, StaticTool, echo

__all__ = [
    "HANG",
    "EchoTool",
    "RecordingTool",
    "ScriptedModel",
    "StaticTool",
    "Step",
    "call",
    "echo",
    "step",
]
