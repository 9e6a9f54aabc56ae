"""What the environment says about code that a model writes."""

import os
from collections.abc import Mapping
from typing import get_args

from agentkit.errors import ConfigurationError
from agentkit.sandbox import LEVELS, Isolation, Level

ISOLATION_VARIABLE = "AGENTKIT_CODE_ISOLATION"
"""How code is held: "auto", "process", "confined", "namespaced", "vm" or "monty"."""

MINIMUM_VARIABLE = "AGENTKIT_CODE_MINIMUM"
"""The weakest level that "auto" may come to: "process", "confined" or "namespaced"."""

INPUTS_VARIABLE = "AGENTKIT_CODE_INPUTS"
"""Files and folders that code may read, separated as in `PATH`."""

TOOLS_VARIABLE = "AGENTKIT_CODE_TOOLS"
"""Names of the tools that code may call, separated by commas, or "all"."""


def read_isolation(environ: Mapping[str, str]) -> tuple[Isolation, Level]:
    """Return the isolation that the environment asks for, and the weakest that it allows.

    >>> read_isolation({"AGENTKIT_CODE_MINIMUM": "process"})
    ('auto', 'process')

    Raises:
        ConfigurationError: it asks for something that there is not.
    """
    wanted = environ.get(ISOLATION_VARIABLE) or "auto"
    least = environ.get(MINIMUM_VARIABLE) or "confined"
    isolation: Isolation | None = next((one for one in get_args(Isolation) if one == wanted), None)
    if isolation is None:
        known = ", ".join(get_args(Isolation))
        raise ConfigurationError(f"{ISOLATION_VARIABLE}={wanted!r} is none of {known}.")
    minimum: Level | None = next((level for level in LEVELS if level == least), None)
    if minimum is None:
        raise ConfigurationError(f"{MINIMUM_VARIABLE}={least!r} is none of {', '.join(LEVELS)}.")
    return isolation, minimum


def read_inputs(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files and folders that the environment gives to code."""
    return tuple(filter(None, environ.get(INPUTS_VARIABLE, "").split(os.pathsep)))


def read_tools(environ: Mapping[str, str]) -> bool | tuple[str, ...]:
    """Return the names of the tools that the environment lets code call, True for all of them.

    >>> read_tools({"AGENTKIT_CODE_TOOLS": "fetch, clock"}), read_tools({})
    (('fetch', 'clock'), ())
    """
    names = [name.strip() for name in environ.get(TOOLS_VARIABLE, "").split(",")]
    return "all" in map(str.lower, names) or tuple(filter(None, names))
