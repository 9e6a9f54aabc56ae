"""Inputs of a container: which can be shown, and how each runtime is told to show them."""

import stat
from collections.abc import Mapping
from pathlib import Path

from agentkit.errors import ConfigurationError, ToolError
from agentkit.messages import JsonObject

_OPTIONS = ["ro", "rbind", "nosuid", "nodev"]
_FILES_OF_GVISOR = 900  # that it has open, once Python in there has loaded numpy
_FILES_OF_INPUT = 10  # and for each input that is open in there
_SIZE = "64k"  # of a folder that holds nothing but the places of mounts, and belongs to root
_NEEDS_QUOTES = frozenset(',"\r\n')


def check(inputs: Mapping[str, str]) -> None:
    """Refuse what no container can show; looks at the disk.

    Raises:
        ConfigurationError: one is neither a file nor a folder, is the kernel's, is gone, or has a
            name that is not UTF-8.
    """
    for name, path in inputs.items():
        why, hint = _fault_of(name, path)
        if why:
            raise ConfigurationError(
                f"The input {path!r} cannot be shown to code at isolation 'vm': {why}.", hint=hint
            )


def _fault_of(name: str, path: str) -> tuple[str, str]:
    """Return why it cannot be shown, and how to mend that; empty if it can."""
    if not _is_utf8(f"{name}{path}"):
        return "its path is not UTF-8", "Rename it, or give the folder that holds it."
    if Path(path).is_relative_to("/proc"):
        return "it is made by the kernel as it is read", "Copy it to a file, and give that."
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        return error.strerror or "it is gone", "Give what is there, and may be read."
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "it is neither a file nor a folder", "Copy what it tells to a file, and give that."
    return "", ""


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


def check_open_files(inputs: Mapping[str, str], most: int) -> None:
    """Refuse more than gVisor shows where it may have `most` files open; 0 is no limit.

    Raises:
        ToolError: it, or code in there, would soon fail with too many open files.
    """
    if 0 < most < _FILES_OF_GVISOR + _FILES_OF_INPUT * len(inputs):
        raise ToolError(
            f"runsc cannot show {len(inputs)} inputs to code where a process may have {most} files "
            "open: give one folder that holds them, or raise ulimit -Hn."
        )


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
    """Refuse what docker or podman could not show, or the user inside could not read.

    Raises:
        ToolError: others than its owner may not read one, or its name cannot be told.
    """
    for path in inputs.values():
        if "\r\n" in path:
            raise ToolError(
                f"{engine} cannot show {path!r} to code: it reads no such line break.",
                hint="Rename it, or use runsc.",
            )
        mode = Path(path).stat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if mode & wanted != wanted:
            raise ToolError(
                f"{engine} cannot show {path!r} to code: it may not be read by others.",
                hint=f"Run chmod -R o+rX {path!r}, or use runsc.",
            )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
