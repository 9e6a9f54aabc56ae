"""Every exception of agentkit.

```
AgentkitError
├── InvalidTaskError            the task or an option of the run makes no sense
├── ConfigurationError          settings, mcp_servers.json or a launch profile are wrong
├── EngineError                 a model server cannot be installed, started or kept alive
│   └── WeightsError            weights cannot be found, fetched or verified
├── ModelError                  asking the model failed
│   ├── ModelUnavailableError   no connection, or an answer that says "later": worth repeating
│   ├── ModelTimeoutError       one of the clocks of a model call ran out
│   ├── TruncatedStreamError    the stream ended without a finish reason
│   ├── ModelRequestError       the server refused the request: never worth repeating
│   │   └── ContextOverflowError
│   └── InvalidOutputError      what the model wrote could not be used, after bounded corrections
├── McpServerError              an MCP server cannot be started or reached
├── RequiredToolError           a required tool or server is missing
├── DeadlineExceededError       the time of a run or a step is over
└── ToolError                   an observation: the model reads it and goes on
    ├── ToolInputError          the arguments are wrong
    ├── UnknownToolError        no tool of that name
    └── ToolTimeoutError        the tool took too long
```
A `ToolError` never ends a run. Everything else does, and is found in `Result.error`.
"""

from collections.abc import Iterable


class AgentkitError(Exception):
    """Base of everything agentkit raises.

    Attributes:
        hint: how to mend it, in one line; empty if there is nothing to say.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidTaskError(AgentkitError):
    """The task or an option of the run makes no sense."""


class ConfigurationError(AgentkitError):
    """Settings, `mcp_servers.json` or a launch profile are wrong."""


class EngineError(AgentkitError):
    """A model server cannot be installed, started or kept alive."""


class WeightsError(EngineError):
    """Weights cannot be found, fetched or verified."""


class ModelError(AgentkitError):
    """Asking the model failed.

    Attributes:
        retryable: whether asking again may help.
        retry_after: seconds the server asked us to wait, if it did.
        status: HTTP status, or the code inside a streamed error, if there was one.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after


class ModelUnavailableError(ModelError):
    """No connection, or an answer that says "later"."""

    retryable = True


class ModelTimeoutError(ModelError):
    """One of the clocks of a model call (connect, first token, idle, total) ran out."""

    retryable = True


class TruncatedStreamError(ModelError):
    """The stream ended without a finish reason."""

    retryable = True


class ModelRequestError(ModelError):
    """The server refused the request; the same request will be refused again."""


class ContextOverflowError(ModelRequestError):
    """Prompt and answer do not fit the context of the model."""


class InvalidOutputError(ModelError):
    """What the model wrote could not be used, after bounded corrections.

    Attributes:
        output: the last text of the model.
    """

    def __init__(self, message: str, *, hint: str = "", output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


class McpServerError(AgentkitError):
    """An MCP server cannot be started or reached."""


class RequiredToolError(AgentkitError):
    """A required tool or server is missing."""


class DeadlineExceededError(AgentkitError):
    """The time of a run or a step is over."""


class ToolError(AgentkitError):
    """A tool could not do its work; the model reads the message and goes on."""


class ToolInputError(ToolError):
    """The arguments of a call are wrong; the message says how they should be."""


class UnknownToolError(ToolError):
    """The model called a tool that does not exist."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"No tool named {name!r}. Known tools: {', '.join(known) or 'none'}.")


class ToolTimeoutError(ToolError):
    """A tool took longer than its limit and was stopped."""
