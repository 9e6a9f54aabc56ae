"""Agents that others use: as a tool, or to go on with a run."""

import re
from typing import TYPE_CHECKING

from agentkit.errors import ConfigurationError, ToolError, ToolInputError
from agentkit.loop import CURRENT_RUN, Successor
from agentkit.messages import JsonObject, ToolSpec

if TYPE_CHECKING:
    from agentkit.agent._agent import Agent

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class AgentTool:
    """A tool that gives an agent a task and returns its answer; made by `Agent.as_tool`."""

    def __init__(self, agent: "Agent", name: str, description: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} cannot be the name of a tool.", hint="Give one: as_tool(name=...)."
            )
        self._agent = agent
        self.spec = ToolSpec(
            name=name,
            description=description or f"Give a task to the agent {agent.name}.",
            parameters=_one_text("task", "What to do, with all that it needs to know."),
            timeout_seconds=agent.policy.timeouts.run or float("inf"),
            open_world=False,  # its own calls are looked at one by one
        )

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the task.

        Raises:
            ToolInputError: there is none.
        """
        return _text_of("task", arguments)

    async def call(self, arguments: JsonObject) -> str:
        """Do the task.

        Raises:
            ToolError: the agent has stopped without an answer; it says why, and what there was.
        """
        result = await self._agent.run(arguments["task"])
        if result.stop == "done":
            return result.text
        so_far = f" So far: {result.text}" if result.text.strip() else ""
        raise ToolError(
            f"The agent {self._agent.name} stopped ({result.stop}): {result.reason}{so_far}"
        )


class HandOver:
    """A tool that lets another agent go on with the run."""

    def __init__(self, successor: Successor) -> None:
        self._successor = successor
        name = re.sub(r"[^A-Za-z0-9_-]", "_", successor.agent)
        self.spec = ToolSpec(
            name=f"hand_over_to_{name}"[:64],
            description=f"Let the agent {successor.agent} go on. {successor.description}".strip(),
            parameters=_one_text("why", "What it should do, in a sentence."),
            effect="idempotent",
            open_world=False,
        )

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the reason.

        Raises:
            ToolInputError: there is none.
        """
        return _text_of("why", arguments)

    async def call(self, arguments: JsonObject) -> str:
        """Let the other agent go on once the calls of this turn are done.

        Raises:
            ToolError: there is no run to hand over.
        """
        run = CURRENT_RUN.get()
        if run is None:
            raise ToolError("There is no run to hand over.")
        run.successor = self._successor
        return f"{self._successor.agent} goes on: {arguments['why']}"


def _one_text(name: str, description: str) -> JsonObject:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": description}},
        "required": [name],
        "additionalProperties": False,
    }


def _text_of(name: str, arguments: JsonObject) -> JsonObject:
    text = arguments.get(name)
    if not isinstance(text, str) or not text.strip() or len(arguments) != 1:
        raise ToolInputError(f'Give {{"{name}": "..."}}, and nothing else.')
    return arguments
