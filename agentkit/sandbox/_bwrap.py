"""The command line of bubblewrap: a machine with nothing in it but what Python reads."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FOLDER = "/sandbox"
"""Where the session works, in there."""

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the one in there, not ours
_SHM_BYTES = 16 << 20
_KEPT_BY_ROOT = (
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_KILL",
    "CAP_CHOWN",
    "CAP_DAC_READ_SEARCH",
)
"""What the janitor needs to give the worker a user of its own, and to end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """What is inside.

    Attributes:
        program: path of bubblewrap.
        read: paths that are there, read-only.
        inputs: files and folders for the code by the name that it finds them at.
        folder_bytes: size of its own folder.
        network: whether it shares the machine's.
        status: descriptor that is told the process that has to die for all of it to end.
    """

    program: str
    read: Sequence[str]
    inputs: Mapping[str, str]
    folder_bytes: int
    network: bool
    status: int


def find_bubblewrap() -> str:
    """Return the path of bubblewrap; empty if it is not installed."""
    return shutil.which("bwrap") or ""


def bubblewrap_command(inside: Namespace, argv: Sequence[str], *, root: bool) -> list[str]:
    """Return what starts `argv` as process 1 of namespaces of its own.

    Args:
        inside: what is there.
        argv: the program, by a path that is there.
        root: the caller is root: no user namespace is needed, and the worker gets another user.
    """
    command = [inside.program, "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--as-pid-1", "--json-status-fd", str(inside.status)]
    if not inside.network:
        command.append("--unshare-net")
    command += ["--cap-drop", "ALL"]
    if root:
        for capability in _KEPT_BY_ROOT:
            command += ["--cap-add", capability]
    else:
        command.append("--unshare-user")
    command += ["--proc", "/proc", "--dev", "/dev"]
    command += ["--size", str(_SHM_BYTES), "--perms", "1777", "--tmpfs", _SHARED_MEMORY]
    shown = _outermost(inside.read)
    for folder in _parents(shown):  # left to itself, it makes them for root alone
        command += ["--perms", "0755", "--dir", folder]
    for path in shown:
        command += _shown(path)
    command += ["--size", str(inside.folder_bytes), "--perms", "0700", "--tmpfs", FOLDER]
    for name, path in inside.inputs.items():
        command += ["--ro-bind", path, f"{FOLDER}/inputs/{name}"]
    return [*command, "--chdir", "/", "--", *argv]


def _shown(path: str) -> list[str]:
    if os.path.islink(path):  # noqa: PTH114 - /lib, where it is a link to /usr/lib
        return ["--symlink", os.readlink(path), path]  # noqa: PTH115 - its words, not its end
    return ["--ro-bind-try", path, path]


def _parents(paths: Sequence[str]) -> list[str]:
    """Return the folders above paths, outermost first, but the root."""
    found = {folder for path in paths for folder in _above(path)}
    return sorted(found - {"/"}, key=lambda path: (path.count("/"), path))


def _above(path: str) -> list[str]:
    """Return the folders above an absolute path, outermost first; without pathlib's millisecond."""
    parts = path.split("/")
    return ["/".join(parts[:count]) or "/" for count in range(1, len(parts))]


def _outermost(paths: Sequence[str]) -> list[str]:
    """Leave out what lies in another one, and what bubblewrap makes by itself."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: (path.count("/"), path)):
        if set(kept).isdisjoint(_above(path)) and path.split("/")[1] not in {"proc", "dev"}:
            kept.append(path)
    return kept
