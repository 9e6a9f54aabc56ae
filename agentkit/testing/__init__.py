"""Public doubles for tests: a scripted model, tools in memory, a fake SGLang server.

The fake server is loaded on first use: it brings an HTTP server along.
"""

from typing import TYPE_CHECKING, Any

from agentkit.testing.scripted_model import ScriptedModel, Step, call, step
from agentkit.testing.tools import HANG, EchoTool, RecordingTool, StaticTool, echo

if TYPE_CHECKING:
    from agentkit.testing.answers import Answer, Fault, Raw
    from agentkit.testing.fake_sglang import FakeSGLang

__all__ = [
    "HANG",
    "Answer",
    "EchoTool",
    "FakeSGLang",
    "Fault",
    "Raw",
    "RecordingTool",
    "ScriptedModel",
    "StaticTool",
    "Step",
    "call",
    "echo",
    "step",
]


def __getattr__(name: str) -> Any:
    if name == "FakeSGLang":
        from agentkit.testing import fake_sglang

        return fake_sglang.FakeSGLang
    if name in {"Answer", "Fault", "Raw"}:
        from agentkit.testing import answers

        return getattr(answers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
