"""What a run may be told beside its task."""

from collections.abc import Iterable, Sequence
from typing import TypedDict

from agentkit.messages import Image, Message
from agentkit.policies import PhasedThinking, Plan, Policy


class RunOptions(TypedDict, total=False):
    """What a run may be told beside its task.

    Attributes:
        history: earlier messages, as `Result.transcript` has them.
        images: shown to the model with the task; it has to be one that sees.
        thinking: overrides the agent's.
        plan: overrides the agent's.
        policy: overrides the agent's.
        conversation_id: 32 characters that keep requests on one prefix cache.
        untrusted: where the history has read untrusted content, as `Result.untrusted` has it: it
            may have been left out of what is shown since.
    """

    history: Sequence[Message]
    images: Iterable[Image]
    thinking: PhasedThinking | None
    plan: Plan | None
    policy: Policy | None
    conversation_id: str | None
    untrusted: Sequence[str]
