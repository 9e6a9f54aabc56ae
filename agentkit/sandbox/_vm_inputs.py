"""Inputs of a container: how each runtime is told to show them."""

import stat
from collections.abc import Mapping
from pathlib import Path

from agentkit.errors import ToolError
from agentkit.messages import JsonObject

_OPTIONS = ["ro", "rbind", "nosuid", "nodev"]
_SIZE = "64k"  # of a folder that holds nothing but the places of mounts, and belongs to root
_NEEDS_QUOTES = frozenset(',"\r\n')


def make_places(folder: Path, inputs: Mapping[str, str]) -> None:
    """Make a folder with an empty place of its kind for each input, to be covered by it.

    On a place of another kind, or none, gVisor shows a file as a folder to who lists it.
    """
    folder.mkdir(mode=0o755)
    for name, path in inputs.items():
        if Path(path).is_dir():
            (folder / name).mkdir()
        else:
            (folder / name).touch()


def mounts_of(places: Path, target: str, inputs: Mapping[str, str]) -> list[JsonObject]:
    """Return the mounts of a bundle that show inputs, read-only, in a folder that is so, too."""
    shown = {target: str(places)} | {f"{target}/{name}": path for name, path in inputs.items()}
    return [
        {"destination": destination, "type": "bind", "source": source, "options": _OPTIONS}
        for destination, source in shown.items()
    ]


def flags_of(target: str, inputs: Mapping[str, str]) -> list[str]:
    """Return what docker and podman are told; they make the places themselves."""
    if not inputs:
        return []
    said = ["--tmpfs", f"{target}:rw,nosuid,nodev,mode=755,size={_SIZE}"]
    for name, path in inputs.items():
        said += ["--mount", _bind(path, f"{target}/{name}")]
    return said


def _bind(source: str, target: str) -> str:
    """Return a mount, read-only, in the words of docker and podman: a line of CSV."""
    words = ("type=bind", f"source={source}", f"target={target}", "readonly")
    # Not each line: old ones of podman know no quotes.
    if any(_NEEDS_QUOTES & set(word) for word in words):
        words = tuple('"' + word.replace('"', '""') + '"' for word in words)
    return ",".join(words)


def check_for(engine: str, inputs: Mapping[str, str]) -> None:
    """Refuse what the user inside docker or podman could not read.

    Raises:
        ToolError: others than its owner may not read one.
    """
    for path in inputs.values():
        mode = Path(path).stat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if mode & wanted != wanted:
            raise ToolError(
                f"{engine} cannot show {path!r} to code: it may not be read by others.",
                hint=f"Run chmod -R o+rX {path!r}, or use runsc.",
            )
