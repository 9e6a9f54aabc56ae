"""An agent as an MCP server: one tool, which takes a task and gives the answer."""

import re
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.types import (
    Annotations,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from mcp.types import Tool as McpTool

from agentkit.errors import AgentkitError, ToolInputError, UnknownToolError
from agentkit.serve._conversations import Conversations, Kept
from agentkit.serve._words import told
from agentkit.serve.progress import Report, progress_to
from agentkit.serve.wire import open_wire

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.loop import Result

CONCURRENCY = 8
"""Runs that go on at once; more wait."""

CONVERSATIONS = 100
"""Conversations that are remembered."""

_STRANGE = re.compile(r"[^A-Za-z0-9_-]")
_USUAL_NAME = "run_task"
_TEXT = {"type": "string"}
_INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "task": {**_TEXT, "description": "What to do, with all that it needs to know."},
        "conversation_id": {
            **_TEXT,
            "description": "As an earlier result names it, to go on from there.",
        },
    },
    "required": ["task"],
    "additionalProperties": False,
}
_OUTPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {**_TEXT, "description": "The answer; on any stop but done the best so far."},
        "stop": {**_TEXT, "description": "done, or why it ended early, in a word."},
        "reason": {**_TEXT, "description": "Why it ended early; empty when done."},
        "steps": {"type": "integer", "description": "How often the model was asked."},
        "run_id": _TEXT,
        "conversation_id": {**_TEXT, "description": "To go on from here."},
    },
    "required": ["text", "stop", "reason", "steps", "run_id", "conversation_id"],
}


async def serve_agent(
    agent: "Agent",
    *,
    port: int | None = None,
    concurrency: int = CONCURRENCY,
    conversations: int = CONVERSATIONS,
) -> None:
    """Serve an agent over MCP until the client has gone, or this is cancelled, with all its runs.

    Args:
        agent: its name, made fit, is that of the tool; its description tells what it is good for.
        port: on 127.0.0.1, for streamable HTTP; 0 for a free one, stdin and stdout without one.
        concurrency: runs that go on at once; more wait.
        conversations: how many are remembered; the one that has been quiet for longest goes first.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    async with open_wire(port, tool_name(agent.name)) as serve:
        await serve(make_server(agent, concurrency=concurrency, conversations=conversations))


def make_server(
    agent: "Agent", *, concurrency: int = CONCURRENCY, conversations: int = CONVERSATIONS
) -> Server[Any]:
    """Return the MCP server of an agent, to be run over whatever transport; see `serve_agent`."""
    desk = _Desk(agent, concurrency, conversations)
    return Server("agentkit", on_list_tools=desk.list_tools, on_call_tool=desk.call_tool)


def tool_name(name: str) -> str:
    """Return the name of an agent as a tool may have it.

    >>> tool_name("my agent"), tool_name("助手")
    ('my_agent', 'run_task')
    """
    fit = _STRANGE.sub("_", name)[:64]
    return fit if fit.strip("_-") else _USUAL_NAME


class _Desk:
    """Takes tasks and hands out results."""

    def __init__(self, agent: "Agent", concurrency: int, conversations: int) -> None:
        self._name = tool_name(agent.name)
        self._conversations = Conversations(agent, conversations)
        self._places = anyio.CapacityLimiter(concurrency)
        self._going = 0  # with those that wait
        self._listing = ListToolsResult(
            tools=[
                McpTool(
                    name=self._name,
                    description=agent.description
                    or f"Give a task to the agent {agent.name}: it has a model and tools of its "
                    "own, works until it is done and returns the answer.",
                    input_schema=_INPUT,
                    output_schema=_OUTPUT,
                )
            ]
        )

    async def list_tools(
        self, _context: object, _page: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """Return the one tool."""
        return self._listing

    async def call_tool(
        self, context: ServerRequestContext[Any, Any], request: CallToolRequestParams
    ) -> CallToolResult:
        """Do a task; the client's cancellation cancels this, and so the run."""
        try:
            if request.name != self._name:
                raise UnknownToolError(request.name, [self._name])
            task, conversation_id = _checked(request.arguments or {})
            kept = self._conversations.find(conversation_id)
            async with progress_to(context.session) as report:
                result = await self._do(task, kept, report)
        except AgentkitError as error:
            return CallToolResult(content=[_said(str(error))], is_error=True)
        return _shown(result, kept)

    async def _do(self, task: str, kept: Kept, report: Report) -> "Result":
        lines = _Lines(report)
        if kept.turn.locked() or self._going >= self._places.total_tokens:
            lines.tell("other runs come first")
        self._going += 1
        try:
            async with kept.turn, self._places, kept.conversation.start(task) as run:
                async for event in run:
                    lines.tell(told(event))
                result = await run.result()
        finally:
            self._going -= 1
        self._conversations.keep(kept)
        return result


class _Lines:
    """Counts what is told."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told = 0

    def tell(self, line: str) -> None:
        if line:
            self._told += 1
            self._report(self._told, None, line)


def _checked(arguments: dict[str, Any]) -> tuple[str, str | None]:
    strange = set(arguments) - {"task", "conversation_id"}
    if strange:
        raise ToolInputError(
            f"There is no argument {min(strange)!r}: task and conversation_id are."
        )
    task, conversation_id = arguments.get("task"), arguments.get("conversation_id")
    if not isinstance(task, str) or not task.strip():
        raise ToolInputError('Give the task in words: {"task": "..."}.')
    if conversation_id is not None and not isinstance(conversation_id, str):
        raise ToolInputError("conversation_id is a text, as an earlier result names it.")
    return task, conversation_id or None


def _shown(result: "Result", kept: Kept) -> CallToolResult:
    conversation_id = kept.conversation.id
    # Many clients show their model the text alone.
    on = TextContent(
        type="text",
        text=f"conversation_id: {conversation_id}",
        annotations=Annotations(audience=["assistant"], priority=0.1),
    )
    return CallToolResult(
        content=[_said(_text_of(result)), on],
        structured_content={
            "text": result.text,
            "stop": result.stop,
            "reason": result.reason,
            "steps": result.steps,
            "run_id": result.run_id,
            "conversation_id": conversation_id,
        },
        is_error=result.stop != "done",
    )


def _text_of(result: "Result") -> str:
    if result.stop == "done":
        return result.text
    so_far = f" So far: {result.text}" if result.text.strip() else ""
    return f"The run stopped ({result.stop}): {result.reason}{so_far}"


def _said(text: str) -> TextContent:
    return TextContent(type="text", text=text)
