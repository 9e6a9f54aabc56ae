"""A typed function becomes a tool: schema from its signature, descriptions from its docstring."""

import inspect
import math
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, overload

from anyio import CapacityLimiter, Event, from_thread, to_thread
from anyio.lowlevel import current_token
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_json

from agentkit.errors import ConfigurationError, ToolError, ToolInputError
from agentkit.messages import JsonObject, PlanExample, ToolSpec
from agentkit.toolkit._docstring import read_docstring
from agentkit.toolkit._schema import compact_schema

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ABANDONED_THREADS = 100  # of one tool; more, and it hangs each time at the cost of a thread
# What `from_thread` goes by; without it, a sync tool could not reach the loop from our threads.
_OF_ANYIO = getattr(from_thread, "threadlocals", threading.local())


class FunctionTool:
    """A tool that calls a Python function.

    Async functions run in the loop; sync functions in threads of their own, so that they never
    block it. A sync function cannot be interrupted: past its deadline its thread is abandoned,
    and ends with the process if not before.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        examples: Sequence[PlanExample] = (),
    ) -> None:
        docs = read_docstring(inspect.getdoc(function) or "")
        name = str(name or getattr(function, "__name__", ""))
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} cannot be the name of a tool.",
                hint="Give one with @tool(name=...): 1 to 64 letters, digits, _ or -.",
            )
        self.function = function
        self._arguments = _model_of(function, name, docs.parameters)
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            function.__call__
        )
        self._threads = _Threads()
        self.spec = ToolSpec(
            name=name,
            description=description or docs.summary,
            parameters=compact_schema(self._arguments.model_json_schema()),
            timeout_seconds=timeout_seconds,
            examples=tuple(examples),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it had never been a tool."""
        return self.function(*args, **kwargs)

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments as the function's types.

        Raises:
            ToolInputError: names each argument that is missing, unknown or of the wrong type.
        """
        try:
            checked = self._arguments.model_validate(arguments)
        except ValidationError as error:
            raise ToolInputError(_explain(self.spec.name, error)) from error
        return {name: getattr(checked, name) for name in self._arguments.model_fields}

    async def call(self, arguments: JsonObject) -> str:
        """Call the function with validated arguments and return its value as text.

        Raises:
            ToolError: the function raised; the message is its own.
        """
        try:
            value = await self._invoke(arguments)
        except ToolError:
            raise
        except (Exception, SystemExit) as error:  # the border to code that is not ours
            raise ToolError(f"{type(error).__name__}: {error}") from error
        return as_text(value)

    async def _invoke(self, arguments: JsonObject) -> Any:
        call = partial(self.function, **arguments)
        value = call() if self._is_async else await self._threads.run(call)
        # A sync decorator of an async function returns a coroutine.
        return await value if inspect.isawaitable(value) else value


class _Threads:
    """A thread for each call of one tool.

    Threads of anyio would do, if asyncio did not wait for each of them when the process ends.
    """

    def __init__(self) -> None:
        self._abandoned: list[threading.Thread] = []

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call the function; if the caller is cancelled, leave it to itself.

        Raises:
            ToolError: too many calls were left to themselves and still run.
        """
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if len(self._abandoned) >= _ABANDONED_THREADS:
            raise ToolError(f"It hangs: {len(self._abandoned)} earlier calls have not ended yet.")
        # By way of anyio, whose threads are told what is no concern of a thread, and what is.
        context, local = await to_thread.run_sync(_surroundings, limiter=CapacityLimiter(1))
        outcome: Future[Any] = Future()
        done, token = Event(), current_token()

        def work() -> None:
            vars(_OF_ANYIO).update(local)
            with suppress(InvalidStateError, RuntimeError):  # nobody waits, or the loop is closed
                _settle(outcome, partial(context.run, function))
                from_thread.run_sync(done.set, token=token)

        thread = threading.Thread(target=work, name="agentkit tool", daemon=True)
        thread.start()
        try:
            await done.wait()
        finally:
            if outcome.cancel():
                self._abandoned.append(thread)
        return outcome.result()


def _surroundings() -> tuple[Context, dict[str, Any]]:
    return copy_context(), dict(vars(_OF_ANYIO))


def _settle(outcome: Future[Any], function: Callable[[], Any]) -> None:
    try:
        value = function()
    except BaseException as error:  # the waiting caller raises it
        outcome.set_exception(error)
    else:
        outcome.set_result(value)


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    examples: Sequence[PlanExample] = (),
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    examples: Sequence[PlanExample] = (),
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a typed function, with or without options.

    >>> @tool
    ... def add(a: int, b: int = 1) -> int:
    ...     '''Add two numbers.
    ...
    ...     Args:
    ...         a: the first one
    ...     '''
    ...     return a + b
    >>> add.spec.name, add.spec.description
    ('add', 'Add two numbers.')
    >>> add.spec.parameters["properties"]["a"]
    {'description': 'the first one', 'type': 'integer'}

    Args:
        function: sync or async; each parameter needs a type.
        name: what the model calls it; the function's name where not given.
        description: what the model is told; the docstring's summary where not given.
        timeout_seconds: limit of one call; the run's policy where not given.
        examples: plans that use it, for small models: see `agentkit.messages.PlanExample`.

    Raises:
        ConfigurationError: a parameter has no type, or one that JSON cannot express.
    """
    make = partial(
        FunctionTool,
        name=name,
        description=description,
        timeout_seconds=timeout_seconds,
        examples=examples,
    )
    return make if function is None else make(function)


def as_text(value: object) -> str:
    """Return a value as a model reads it: text as it is, everything else as JSON.

    >>> as_text({"a": 1}), as_text(None), as_text("x")
    ('{"a":1}', 'Done; there is no value to return.', 'x')
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "Done; there is no value to return."
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        return to_json(value, fallback=str, inf_nan_mode="constants").decode("utf-8", "replace")
    except (PydanticSerializationError, ValueError, RecursionError):  # cycles
        return str(value)


def _model_of(function: Callable[..., Any], name: str, docs: dict[str, str]) -> type[BaseModel]:
    where = f"tool {name!r}"
    fields: dict[str, Any] = {}
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise ConfigurationError(f"{where}: an annotation cannot be read: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise ConfigurationError(
                f"{where}: *args and **kwargs have no schema.", hint="Name each parameter."
            )
        if parameter.annotation is parameter.empty:
            raise ConfigurationError(
                f"{where}: parameter {parameter.name!r} has no type.", hint="Annotate it."
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        described = Field(default, description=docs.get(parameter.name))
        fields[parameter.name] = (parameter.annotation, described)
    try:
        model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        model.model_json_schema()
    except PydanticUserError as error:
        raise ConfigurationError(f"{where}: {error.message}") from error
    return model


def _explain(name: str, error: ValidationError) -> str:
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False)
    ]
    return f"Wrong arguments for {name!r}: {'; '.join(problems)}."
