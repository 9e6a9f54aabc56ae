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
│   ├── OverloadedError         too much waits for the server already: shed before it was sent
│   ├── CircuitOpenError        the server failed too often of late, and is left alone for a while
│   ├── RetryBudgetError        repeating has used up what the server may be bothered with
│   └── InvalidOutputError      what the model wrote could not be used, after bounded corrections
├── McpServerError              an MCP server cannot be started or reached
├── RequiredToolError           a required tool or server is missing
├── DeadlineExceededError       the time of a run or a step is over
└── ToolError                   an observation: the model reads it and goes on
    ├── ToolInputError          the arguments are wrong
    ├── UnknownToolError        no tool of that name
    ├── SandboxUnavailableError nothing here holds the code as it was asked for: it was not run
    ├── ToolUnavailableError    it could not be reached, and has done nothing
    └── OutcomeUnknownError     it was lost on the way: nobody knows what it has done
        └── ToolTimeoutError    the tool took too long
```
A `ToolError` never ends a run. Everything else does, and is found in `Result.error`.
"""

from collections.abc import Iterable


class AgentkitError(Exception):
    """Base of everything agentkit raises.

    Attributes:
        hint: how to mend it, in one line; empty if there is nothing to say.
        retryable: whether trying again may help.
        retry_after: seconds that whoever failed asked us to wait, if it did.
        run_id: the run that ended with it, if one did.
    """

    retryable = False
    retry_after: float | None = None
    run_id = ""

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
        status: HTTP status, or the code inside a streamed error, if there was one.
    """

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


class OverloadedError(ModelError):
    """More waits for the server than it can answer in the time that is left; nothing was sent."""


class CircuitOpenError(ModelError):
    """The server failed too often of late; nothing was sent. It is tried again after a rest."""

    retryable = True


class RetryBudgetError(ModelError):
    """The request failed, and repeating requests has used up what the server may be bothered with."""


class InvalidOutputError(ModelError):
    """What the model wrote could not be used, after bounded corrections.

    Attributes:
        output: the last text of the model.
        problem: what was wrong with it: the validation error that the model was told.
    """

    def __init__(
        self, message: str, *, hint: str = "", output: str = "", problem: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.output = output
        self.problem = problem


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


class SandboxUnavailableError(ToolError):
    """Nothing on this machine holds the code as it was asked for: it was not run."""


class ToolUnavailableError(ToolError):
    """A tool could not be reached, and has done nothing.

    A tool may raise it: the call is repeated, whatever its effect.
    """


class OutcomeUnknownError(ToolError):
    """A call was lost on the way: nobody knows what it has done."""


class ToolTimeoutError(OutcomeUnknownError):
    """A tool took longer than its limit and was stopped."""
