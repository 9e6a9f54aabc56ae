"""What a session is started with: limits, level, command line, environment."""

import json
import os
import site
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import randbelow, token_hex
from typing import TYPE_CHECKING

from agentkit.sandbox._bwrap import FOLDER, Namespace, bubblewrap_command
from agentkit.sandbox._janitor import START
from agentkit.sandbox._levels import Level
from agentkit.sandbox._readable import readable_paths
from agentkit.sandbox._seatbelt import command as seatbelt_command
from agentkit.sandbox._seatbelt import profile

if TYPE_CHECKING:
    from agentkit.messages import JsonObject

CLOSED = "The code interpreter is closed."

_FOLDER = Path(__file__).resolve().parent
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")
_USERS = range(0x7000_0000, 0x7FFF_0000)
"""Users that no machine has: each session of a host that is root gets one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What the worker and its children may use.

    Attributes:
        memory_bytes: address space of each process (RLIMIT_AS), and resident memory of all of
            them together, looked at ten times a second in a cell, else each second.
        file_bytes: size of each file (RLIMIT_FSIZE).
        folder_bytes: of all files together; held by the file system in a namespace, else counted
            twice a second.
        folder_files: of all files and folders together; counted twice a second.
        open_files: of each process (RLIMIT_NOFILE).
        processes: below the janitor, looked at as memory is.
        output_bytes: printed by one cell.
        kept_bytes: of that, handed on; head and tail are kept.
    """

    memory_bytes: int = 2 << 30
    file_bytes: int = 256 << 20
    folder_bytes: int = 512 << 20
    folder_files: int = 10_000
    open_files: int = 256
    processes: int = 64
    output_bytes: int = 64 << 20
    kept_bytes: int = 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a session is held.

    Attributes:
        level: of isolation.
        limits: what it may use.
        inputs: files and folders that the code may read, by the name below `inputs/`.
        network: whether it may reach the network.
        bubblewrap: path of the program, for level "namespaced".
    """

    level: Level = "process"
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    network: bool = False
    bubblewrap: str = ""


def start_command(setup: Setup, theirs: Sequence[int]) -> list[str]:
    """Return the command line of a janitor, inside of what holds it.

    Args:
        setup: how it is held.
        theirs: its descriptors: control, life, stdout, stderr, status.
    """
    control, life, stdout, stderr, status = theirs
    root = os.geteuid() == 0
    prefixes = [sys.prefix, sys.base_prefix]
    read = [*readable_paths(sys.executable, prefixes, network=setup.network), *_package_paths()]
    limits = setup.limits
    inside = setup.level == "namespaced"
    uid = _USERS[randbelow(len(_USERS))] if root and setup.level != "process" else 0
    rlimits = {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
    }
    if uid or inside:  # else the kernel would count what else the user has running
        rlimits["RLIMIT_NPROC"] = 2 * limits.processes
    inputs = {} if inside else dict(setup.inputs)
    make = str(Path(tempfile.gettempdir()) / f"agentkit-code-{token_hex(8)}")
    config: JsonObject = {
        "control": control,
        "life": life,
        "stdout": stdout,
        "stderr": stderr,
        "host": 0 if inside else os.getpid(),
        "folder": FOLDER if inside else "",
        "make": make,
        "paths": _package_paths(),
        "memory": limits.memory_bytes,
        "processes": limits.processes,
        "folder_bytes": limits.folder_bytes,
        "folder_files": limits.folder_files,
        "rlimits": rlimits,
        "inputs": inputs,
        "mounted": [f"{FOLDER}/inputs/{name}" for name in setup.inputs] if inside else [],
        "uid": uid,
        "confine": None,
    }
    if setup.level != "process" and sys.platform != "darwin":
        config["confine"] = {
            "read": [*read, *inputs.values(), *([f"{FOLDER}/inputs"] if inside else [])],
            "network": setup.network,
            "keep_reading": not all(map(_is_open_to_all, read)),
        }
    argv = [sys.executable, "-I", "-S", "-X", "utf8"]
    argv += ["-c", START, str(_FOLDER), json.dumps(config)]
    if sys.platform == "darwin" and setup.level == "confined":
        shown = [*read, *inputs.values(), str(_FOLDER)]
        return seatbelt_command(profile(shown, make), argv)
    if not inside:
        return argv
    shown = [*read, str(_FOLDER)]
    namespace = Namespace(
        program=setup.bubblewrap,
        read=shown,
        inputs=setup.inputs,
        folder_bytes=limits.folder_bytes,
        network=setup.network,
        status=status,
    )
    return bubblewrap_command(namespace, argv, root=root)


def _is_open_to_all(path: str) -> bool:
    """Tell whether another user gets to a path; one that is not there is in nobody's way."""
    try:
        return all(
            parent.stat().st_mode & stat.S_IXOTH for parent in (Path(path), *Path(path).parents)
        )
    except OSError:
        return True


def environment() -> dict[str, str]:
    """Return what the worker inherits: nothing that could be a secret."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # Address space grows with the threads of a BLAS, and the worker's is limited.
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    # So it does with the threads of a cell: each would take 64 MiB for an arena of its own.
    return {"LANG": "C.UTF-8", **kept, **threads, "MALLOC_ARENA_MAX": "2", "MPLBACKEND": "Agg"}


def _package_paths() -> list[str]:
    """Return where installed packages are, so that cells can import what the host has."""
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return folders
