"""Room on disk: what a download takes, and what it may."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from agentkit.errors import WeightsError


def count_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder, while another process writes there."""
    total = 0
    for parent, _, names in os.walk(
        folder
    ):  # passes over a folder that goes away, as rglob does not
        for name in names:
            with suppress(OSError):  # moved or removed meanwhile
                total += Path(parent, name).lstat().st_size
    return total


def check_space(
    name: str, folder: Path, need: int, *, variable: str = "AGENTKIT_CACHE_DIR"
) -> None:
    """Raise `WeightsError` unless that many bytes are free; `variable` names another place."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise WeightsError(
            f"{name} needs {need / 1e9:.1f} GB in {folder}, and only {free / 1e9:.1f} GB are free.",
            hint=f"Free space there, or point {variable} at a larger disk.",
        )
