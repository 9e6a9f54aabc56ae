"""The conversations that a server remembers."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from agentkit.errors import ToolInputError

if TYPE_CHECKING:
    from agentkit.agent import Agent, Conversation


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation, and whose turn it is: its runs follow one another."""

    conversation: "Conversation"
    turn: anyio.Lock = field(default_factory=anyio.Lock)


class Conversations:
    """The last ones, in memory, by an id that nobody can guess: clients may share the server."""

    def __init__(self, agent: "Agent", most: int) -> None:
        self._agent = agent
        self._most = most
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def find(self, conversation_id: str | None) -> Kept:
        """Return the conversation of that id, or a new one, which is not kept yet.

        Raises:
            ToolInputError: there is none, or none any more.
        """
        if conversation_id is None:
            return Kept(self._agent.conversation())
        kept = self._kept.get(conversation_id)
        if kept is None:
            raise ToolInputError(
                f"No conversation {conversation_id[:64]!r} is remembered: the last {self._most} "
                "are, until the server ends. Leave conversation_id out, and say what is needed of "
                "the earlier one in the task."
            )
        return kept

    def keep(self, kept: Kept) -> None:
        """Keep a conversation, and drop the one that has been quiet for longest."""
        self._kept[kept.conversation.id] = kept
        self._kept.move_to_end(kept.conversation.id)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
