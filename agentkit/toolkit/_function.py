"""A typed function becomes a tool: schema from its signature, descriptions from its docstring."""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias, overload

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_json

from agentkit.errors import ConfigurationError, OutcomeUnknownError, ToolError, ToolInputError
from agentkit.messages import Approval, Effect, JsonObject, PlanExample, ToolSpec
from agentkit.toolkit._docstring import read_docstring
from agentkit.toolkit._processes import call_in_process, refuse_unreachable
from agentkit.toolkit._schema import compact_schema
from agentkit.toolkit._threads import Threads

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

Place: TypeAlias = Literal["thread", "process"]
"""Where a sync function runs: in a thread of this process, or in one that can be killed."""


class FunctionTool:
    """A tool that calls a Python function.

    Async functions run in the loop; sync functions in threads of their own, so that they never
    block it. A sync function cannot be interrupted: past its deadline its thread is abandoned,
    and ends with the process if not before. One that hangs or crashes belongs into a process of
    its own (`runs_in="process"`), which is killed.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        examples: Sequence[PlanExample] = (),
        effect: Effect = "once",
        approval: Approval = "never",
        runs_in: Place = "thread",
        untrusted: bool = False,
        open_world: bool | None = None,
    ) -> None:
        docs = read_docstring(inspect.getdoc(function) or "")
        name = str(name or getattr(function, "__name__", ""))
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} cannot be the name of a tool.",
                hint="Give one with @tool(name=...): 1 to 64 letters, digits, _ or -.",
            )
        self.function = function
        parameters = _parameters_of(function, f"tool {name!r}")
        self._arguments = _model_of(parameters, name, docs.parameters)
        self._fields = dict(zip(parameters, self._arguments.model_fields, strict=True))
        self._positional = tuple(
            name for name, one in parameters.items() if one.kind is one.POSITIONAL_ONLY
        )
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            function.__call__
        )
        self._threads = Threads()
        self._in_process = runs_in == "process"
        if self._in_process:
            refuse_unreachable(function, name, is_async=self._is_async)
        self.spec = ToolSpec(
            name=name,
            description=description or docs.summary,
            parameters=compact_schema(self._arguments.model_json_schema()),
            timeout_seconds=timeout_seconds,
            examples=tuple(examples),
            effect=effect,
            approval=approval,
            untrusted=untrusted,
            open_world=open_world,
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
        return {name: getattr(checked, field) for name, field in self._fields.items()}

    async def call(self, arguments: JsonObject) -> str:
        """Call the function with validated arguments and return its value as text.

        Raises:
            ToolError: the function raised; the message is its own.
        """
        try:
            value = await self._invoke(arguments)
        except ToolError:
            raise
        except (ConnectionError, TimeoutError) as error:
            raise _lost(error) from error
        except (Exception, SystemExit) as error:  # the border to code that is not ours
            raise ToolError(f"{type(error).__name__}: {error}") from error
        return as_text(value)

    async def _invoke(self, arguments: JsonObject) -> Any:
        given = dict(arguments)
        first = [given.pop(name) for name in self._positional]
        if self._in_process:
            return await call_in_process(self.function, first, given)
        call = partial(self.function, *first, **given)
        value = call() if self._is_async else await self._threads.run(call)
        # A sync decorator of an async function returns a coroutine.
        return await value if inspect.isawaitable(value) else value


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    examples: Sequence[PlanExample] = (),
    effect: Effect = "once",
    approval: Approval = "never",
    runs_in: Place = "thread",
    untrusted: bool = False,
    open_world: bool | None = None,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    examples: Sequence[PlanExample] = (),
    effect: Effect = "once",
    approval: Approval = "never",
    runs_in: Place = "thread",
    untrusted: bool = False,
    open_world: bool | None = None,
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
        effect: what a call changes: "pure" (nothing), "idempotent", "keyed" (`current_call().key`
            is sent along) or "once". All but the last are repeated where a call was lost.
        approval: "always" asks a person first; a function of the arguments decides by itself.
        runs_in: "process" for a sync function that may hang or crash: it is killed at its
            deadline. It must be found by name in a module, and so must what it takes.
        untrusted: what it returns is from outside, so that anybody may have written it: the model
            sees it between markers, and the run needs approval for some calls from then on.
        open_world: whether it reaches anything outside of the run. True has the addresses looked
            at that a pure tool is given; False makes any call harmless.

    Raises:
        ConfigurationError: a parameter has no type, or one that JSON cannot express.
    """
    make = partial(
        FunctionTool,
        name=name,
        description=description,
        timeout_seconds=timeout_seconds,
        examples=examples,
        effect=effect,
        approval=approval,
        runs_in=runs_in,
        untrusted=untrusted,
        open_world=open_world,
    )
    return make if function is None else make(function)


def _lost(error: Exception) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"{type(error).__name__}: {error}")


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


def _parameters_of(function: Callable[..., Any], where: str) -> dict[str, inspect.Parameter]:
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
    return dict(signature.parameters)


def _model_of(
    parameters: Mapping[str, inspect.Parameter], name: str, docs: dict[str, str]
) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for known_as, parameter in parameters.items():
        default = ... if parameter.default is parameter.empty else parameter.default
        described = Field(default, alias=known_as, description=docs.get(known_as))
        # Numbered: a parameter may have a name that pydantic keeps to itself, such as `json`.
        fields[f"field_{len(fields)}"] = (parameter.annotation, described)
    try:
        model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        model.model_json_schema()
    except PydanticUserError as error:
        raise ConfigurationError(f"tool {name!r}: {error.message}") from error
    return model


def _explain(name: str, error: ValidationError) -> str:
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False)
    ]
    return f"Wrong arguments for {name!r}: {'; '.join(problems)}."
