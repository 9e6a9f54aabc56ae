"""Files and folders that code is given, and the names at which it finds them."""

import os
from collections.abc import Sequence
from pathlib import Path

from agentkit.errors import ConfigurationError

MOST_INPUTS = 100
"""A folder counts as one, with all that is in it. gVisor starts with 230, and not with 235."""


def input_name(path: str | Path) -> str:
    """Return the name of an input in `inputs/`: that of the path as it was written, not of its end.

    >>> input_name("data/sales.csv"), input_name("data/../notes/"), input_name(".")
    ('sales.csv', 'notes', '')
    """
    return Path(os.path.normpath(path)).name


def name_inputs(paths: Sequence[str | Path]) -> dict[str, str]:
    """Return absolute paths by the name that the code finds them at; looks at the disk.

    Raises:
        ConfigurationError: two have one name, or one does not exist, or there are too many.
    """
    if len(paths) > MOST_INPUTS:
        raise ConfigurationError(
            f"The code interpreter is given {len(paths)} inputs; {MOST_INPUTS} at most.",
            hint="Give it one folder that holds them.",
        )
    found: dict[str, str] = {}
    for path in paths:
        name = input_name(path)
        if name in found:
            raise ConfigurationError(f"Two inputs of the code interpreter are named {name!r}.")
        found[name] = _found(path, name)
    return found


def _found(path: str | Path, name: str) -> str:
    what = f"The input {str(path)!r} of the code interpreter"
    if name in {"", ".."}:
        raise ConfigurationError(f"{what} has no name.", hint="Write its path to the end.")
    try:
        return str(Path(path).resolve(strict=True))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{what} is not there.") from error
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a folder not ours
        raise ConfigurationError(f"{what} cannot be read: {error}.") from error
