"""Async agent runtime for people who host Qwen3 themselves.

Names load on first use, so that `import agentkit` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.agent import Agent, Conversation
    from agentkit.errors import AgentkitError, ToolError
    from agentkit.events import (
        CallFinished,
        CallStarted,
        Event,
        NoticeGiven,
        PlanMade,
        RetryScheduled,
        RunEnded,
        RunStarted,
        StepStarted,
        TextDelta,
        TextReplaced,
        ThinkingDelta,
        UsageReported,
    )
    from agentkit.loop import Result, Run
    from agentkit.messages import ModelTurn, SystemMessage, ToolCall, ToolResult, Usage, UserMessage
    from agentkit.policies import Limits, Policy, Retry, Timeouts
    from agentkit.runtime import Runtime
    from agentkit.settings import Settings, read_settings
    from agentkit.toolkit import tool

__all__ = [
    "Agent",
    "AgentkitError",
    "CallFinished",
    "CallStarted",
    "Conversation",
    "Event",
    "Limits",
    "ModelTurn",
    "NoticeGiven",
    "PlanMade",
    "Policy",
    "Result",
    "Retry",
    "RetryScheduled",
    "Run",
    "RunEnded",
    "RunStarted",
    "Runtime",
    "Settings",
    "StepStarted",
    "SystemMessage",
    "TextDelta",
    "TextReplaced",
    "ThinkingDelta",
    "Timeouts",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "Usage",
    "UsageReported",
    "UserMessage",
    "read_settings",
    "tool",
]

_HOMES = {
    "agent": ("Agent", "Conversation"),
    "errors": ("AgentkitError", "ToolError"),
    "events": (
        "CallFinished",
        "CallStarted",
        "Event",
        "NoticeGiven",
        "PlanMade",
        "RetryScheduled",
        "RunEnded",
        "RunStarted",
        "StepStarted",
        "TextDelta",
        "TextReplaced",
        "ThinkingDelta",
        "UsageReported",
    ),
    "loop": ("Result", "Run"),
    "messages": (
        "ModelTurn",
        "SystemMessage",
        "ToolCall",
        "ToolResult",
        "Usage",
        "UserMessage",
    ),
    "policies": ("Limits", "Policy", "Retry", "Timeouts"),
    "runtime": ("Runtime",),
    "settings": ("Settings", "read_settings"),
    "toolkit": ("tool",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'agentkit' has no attribute {name!r}")
    value = getattr(import_module(f"agentkit.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
