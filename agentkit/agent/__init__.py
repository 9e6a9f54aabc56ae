"""What people hold: agents, and conversations with them."""

from agentkit.agent._agent import Agent, as_tools
from agentkit.agent._conversation import Conversation, without_thinking
from agentkit.agent._delegate import AgentTool
from agentkit.agent._options import RunOptions

__all__ = ["Agent", "AgentTool", "Conversation", "RunOptions", "as_tools", "without_thinking"]
