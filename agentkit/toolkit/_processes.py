"""Functions that run in a process of their own, and can be killed."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from importlib import import_module
from typing import Any

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process
from anyio.lowlevel import RunVar

from agentkit.errors import ConfigurationError, OutcomeUnknownError, ToolError

_PROCESSES = 8  # at the same time, of all tools together
_limiter: RunVar[CapacityLimiter] = RunVar("agentkit tool processes")


def refuse_unreachable(function: Callable[..., Any], name: str, *, is_async: bool) -> None:
    """Raise for a function that another process would not find.

    Raises:
        ConfigurationError: it is async, or has no place in a module.
    """
    if is_async:
        raise ConfigurationError(
            f"tool {name!r}: an async function cannot run in a process.",
            hint="Make it sync, or leave out runs_in.",
        )
    if "<locals>" in function.__qualname__ or function.__name__ == "<lambda>":
        raise ConfigurationError(
            f"tool {name!r}: a function within a function is not found by another process.",
            hint="Move it to the top of a module.",
        )


async def call_in_process(
    function: Callable[..., Any], first: Sequence[Any], given: Mapping[str, Any]
) -> Any:
    """Call the function in a worker process, which is killed where the caller is cancelled.

    Raises:
        ToolError: the function raised; the message is its own.
        OutcomeUnknownError: the process died.
    """
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(_PROCESSES)
        _limiter.set(limiter)
    work = partial(_call_by_name, function.__module__, function.__qualname__, first, dict(given))
    try:
        value, error = await to_process.run_sync(work, cancellable=True, limiter=limiter)
    except BrokenWorkerProcess as died:
        raise OutcomeUnknownError("The process of the tool died.") from died
    if error:
        raise ToolError(error)
    return value


def _call_by_name(
    module: str, name: str, first: Sequence[Any], given: Mapping[str, Any]
) -> tuple[Any, str]:
    """Run in the worker: an exception of somebody else may not survive the way back."""
    place = sys.modules["__main__"] if module == "__main__" else import_module(module)
    found: Any = reduce(getattr, name.split("."), place)
    function = getattr(found, "function", found)  # the name may stand for the tool
    try:
        return function(*first, **given), ""
    except ToolError as error:
        return None, str(error)
    except (Exception, SystemExit) as error:
        return None, f"{type(error).__name__}: {error}"
