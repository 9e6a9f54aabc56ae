"""Exit codes: the one table, and who gets which.

| code | meaning |
|-----:|---------|
| 0 | the task is done, and there is an answer |
| 1 | a bug in agentkit |
| 2 | the command line, the task or a name in it makes no sense |
| 3 | settings, `mcp_servers.json` or a launch profile are wrong |
| 4 | the model server or the embedded engine cannot be had, or refuses |
| 5 | a required tool or MCP server is missing, or the tool called by hand failed |
| 6 | a limit, a deadline or the loop guard ended the run |
| 7 | the answer is empty, or what the model wrote could not be used |
| 8 | an approval was needed and nobody could be asked |
| 129, 130, 141, 143 | ended by SIGHUP, SIGINT (Ctrl-C), a closed pipe, SIGTERM |
"""

from enum import IntEnum
from typing import TYPE_CHECKING

from agentkit.errors import (
    AgentkitError,
    ConfigurationError,
    DeadlineExceededError,
    EngineError,
    InvalidOutputError,
    InvalidTaskError,
    McpServerError,
    ModelError,
    RequiredToolError,
    ToolError,
    ToolInputError,
    UnknownToolError,
)

if TYPE_CHECKING:
    from agentkit.loop import Result


class Exit(IntEnum):
    """What the process says when it ends."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIGURATION = 3
    MODEL = 4
    TOOL = 5
    LIMIT = 6
    OUTPUT = 7
    APPROVAL = 8
    HANGUP = 129
    INTERRUPTED = 130
    PIPE = 141
    TERMINATED = 143


_OF_ERROR: tuple[tuple[type[AgentkitError], Exit], ...] = (  # the first that fits
    (InvalidTaskError, Exit.USAGE),
    (ToolInputError, Exit.USAGE),
    (UnknownToolError, Exit.USAGE),
    (ConfigurationError, Exit.CONFIGURATION),
    (InvalidOutputError, Exit.OUTPUT),
    (ModelError, Exit.MODEL),
    (EngineError, Exit.MODEL),
    (RequiredToolError, Exit.TOOL),
    (McpServerError, Exit.TOOL),
    (ToolError, Exit.TOOL),
    (DeadlineExceededError, Exit.LIMIT),
)


_OF_STOP = {"cancelled": Exit.INTERRUPTED, "approval": Exit.APPROVAL}


def exit_of_error(error: BaseException) -> Exit:
    """Return the code of an error."""
    return next((code for kind, code in _OF_ERROR if isinstance(error, kind)), Exit.BUG)


def exit_of_result(result: "Result") -> Exit:
    """Return the code of a run that has ended by itself."""
    if result.stop == "done":
        return Exit.OK if result.text.strip() else Exit.OUTPUT
    if result.stop == "failed":
        return exit_of_error(result.error) if result.error else Exit.BUG
    return _OF_STOP.get(result.stop, Exit.LIMIT)


def exit_of_signal(number: int) -> Exit:
    """Return the code of a process that a signal ended.

    >>> exit_of_signal(15).value
    143
    """
    return Exit(128 + number)
