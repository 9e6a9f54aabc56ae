"""How each container runtime is told to run our first process: command lines and a bundle."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentkit.errors import ToolError
from agentkit.messages import JsonObject
from agentkit.sandbox._setup import WorkerLimits
from agentkit.sandbox._vm_inputs import (
    check_for,
    check_open_files,
    flags_of,
    make_places,
    mounts_of,
)

BACKENDS = ("runsc", "docker", "podman")
"""In the order in which they are tried."""

IMAGE = "python:3.12-slim"
"""What docker and podman run: any image with Python 3.11 or newer."""

FOLDER = "/session"
"""Where a cell works, inside; a name that no Python of a host lives below."""

INPUTS = f"{FOLDER}/inputs"
"""Where it finds its inputs."""

NOBODY = 65534

_SYSTEM_PATHS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
_NONE = "none"
_PLACES = "inputs"
_READ_ANY = "CAP_DAC_READ_SEARCH"
_CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted")
# A host that is killed removes nothing; this shell is still there then.
_THEN_REMOVE = ("/bin/sh", "-c", '"$@"; code=$?; rm -rf -- "$0"; exit "$code"')

BOOTSTRAP = """\
import json, os, struct, sys, types
def take(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data
hello = json.loads(take(struct.unpack(">I", take(4))[0]))
for name, source in hello["modules"].items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.modules["_vm_worker"].main(hello["config"])
"""
"""The first program in there: takes its own source from the first frame, and becomes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A runtime made ready.

    Attributes:
        argv: command that carries our frames over its stdin and stdout.
        end: command that ends what is left when that one has ended; empty where nothing can be.
        paths: where packages are in there, beside those that its Python finds.
        engine: what holds it, with its version.
    """

    argv: tuple[str, ...]
    end: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    engine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be made ready.

    Attributes:
        folder: of this session alone; made by who needs one, and removed when it ends.
        limits: of the session.
        image: for docker and podman.
        inputs: files and folders of the host by the name that the code finds them at.
    """

    folder: Path
    limits: WorkerLimits
    image: str = IMAGE
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: dict[str, str] = field(
        default_factory=lambda: {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "MPLBACKEND": "Agg",
            "MALLOC_ARENA_MAX": "2",  # each takes 64 MiB of the address space, which is limited
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2"),
        }
    )


def work_bytes(limits: WorkerLimits) -> int:
    """Return the size of the folder that a session writes to, which is in memory."""
    return 2 * limits.file_bytes


def prepare(backend: str, order: Order) -> Launch:
    """Make a runtime ready; blocks for its version and writes to the folder of the order.

    Raises:
        ToolError: it is not installed, or does not answer.
    """
    path = shutil.which(backend)
    if path is None:
        raise ToolError(f"{backend} is not installed.", hint=f"Install {backend}.")
    return _PREPARE[backend](path, order)


def bundle(order: Order, python: str, paths: tuple[str, ...]) -> JsonObject:
    """Return the OCI configuration of a root of Python, libraries and inputs, read-only, no more."""
    limits = order.limits
    mounts: list[JsonObject] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        *(
            {
                "destination": place,
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "nodev", "mode=1777", f"size={work_bytes(limits)}"],
            }
            for place in (FOLDER, "/tmp")  # noqa: S108 - inside, and its own
        ),
        *(
            {"destination": path, "type": "bind", "source": path, "options": ["ro", "rbind"]}
            for path in paths
        ),
        *(mounts_of(order.folder / _PLACES, INPUTS, order.inputs) if order.inputs else ()),
    ]
    # Most files of a user are readable for that user alone, who is not nobody.
    capabilities = {kind: [_READ_ANY] for kind in _CAPABILITY_SETS} if order.inputs else {}
    return {
        "ociVersion": "1.0.0",
        "hostname": "sandbox",
        "root": {"path": "rootfs", "readonly": True},
        "process": {
            "terminal": False,
            "user": {"uid": NOBODY, "gid": NOBODY},
            "args": [python, "-I", "-S", "-X", "utf8", "-c", BOOTSTRAP],
            "env": [f"{name}={value}" for name, value in order.environment.items()],
            "cwd": FOLDER,
            "capabilities": capabilities,
            "noNewPrivileges": True,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
        },
    }


def package_paths() -> tuple[str, ...]:
    """Return where the packages of this Python are; what the user installed for themself is not."""
    return tuple(site.getsitepackages())


def python_paths() -> tuple[str, ...]:
    """Return what Python needs of this machine: itself, its packages, the system's libraries."""
    wanted = (sys.base_prefix, *package_paths(), *_SYSTEM_PATHS)
    there = sorted({path for path in wanted if path != "/" and Path(path).is_dir()})
    return tuple(path for path in there if not any(path.startswith(f"{other}/") for other in there))


def _prepare_runsc(path: str, order: Order) -> Launch:
    folder = order.folder
    if order.inputs:
        check_open_files(order.inputs, _most_open_files())
    folder.mkdir(mode=0o700)
    (folder / "rootfs").mkdir()
    (folder / "state").mkdir()
    if order.inputs:
        make_places(folder / _PLACES, order.inputs)
    config = bundle(order, os.path.realpath(sys.executable), python_paths())
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    common = (path, "--rootless", f"--root={folder / 'state'}", f"--network={_NONE}")
    run = ("--ignore-cgroups", "run", "--bundle", str(folder), folder.name)
    version = re.search(r"version (\S+)", _output(path, "--version"))
    return Launch(
        argv=(*_THEN_REMOVE, str(folder), *common, *run),
        paths=package_paths(),
        engine=f"gVisor {version.group(1)}" if version else "gVisor",
    )


def _most_open_files() -> int:
    """Return the files that a process may have open once it has asked for all; 0 if no limit."""
    from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit  # not there on Windows

    most = getrlimit(RLIMIT_NOFILE)[1]
    return 0 if most == RLIM_INFINITY else most


def container_command(engine: str, name: str, order: Order) -> tuple[str, ...]:
    """Return the command of docker or podman that runs our first process.

    >>> order = Order(folder=Path("/none"), limits=WorkerLimits())
    >>> container_command("docker", "agentkit-1", order)[:7]
    ('docker', 'run', '--rm', '--interactive', '--pull', 'never', '--name')
    """
    limits = order.limits
    memory = str(limits.memory_bytes + 2 * work_bytes(limits))  # its folders are in memory, too
    tmpfs = f"rw,nosuid,nodev,mode=1777,size={work_bytes(limits)}"
    options = {
        "--pull": "never",  # the first cell is no moment for a download
        "--name": name,
        "--network": _NONE,
        "--memory": memory,
        "--memory-swap": memory,
        "--pids-limit": str(limits.processes + 64),  # threads count as well
        "--cap-drop": "ALL",
        "--security-opt": "no-new-privileges",
        "--user": f"{NOBODY}:{NOBODY}",
        "--workdir": FOLDER,
        "--log-driver": _NONE,
        "--entrypoint": "python3",
    }
    flags = [part for option in options.items() for part in option]
    for place in (FOLDER, "/tmp"):  # noqa: S108 - inside, and its own
        flags += ["--tmpfs", f"{place}:{tmpfs}"]
    flags += flags_of(INPUTS, order.inputs)
    for variable, value in order.environment.items():
        flags += ["--env", f"{variable}={value}"]
    command = ("-I", "-X", "utf8", "-c", BOOTSTRAP)
    return (engine, "run", "--rm", "--interactive", *flags, "--read-only", order.image, *command)


def _prepare_container(path: str, order: Order) -> Launch:
    name = order.folder.name
    check_for(Path(path).name, order.inputs)
    # A docker without its daemon has no server; podman needs none.
    part = "Client" if Path(path).name == "podman" else "Server"
    version = _output(path, "version", "--format", f"{{{{.{part}.Version}}}}").strip()
    return Launch(
        argv=container_command(path, name, order),
        end=(path, "rm", "--force", name),
        engine=f"{Path(path).name} {version}, {order.image}",
    )


def _output(*command: str) -> str:
    """Return what a short command prints.

    Raises:
        ToolError: it fails; a daemon that is not there is told by its client.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(  # noqa: S603 - a runtime found in the PATH, no shell
            command, capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{name} does not answer: {error}.") from error
    if done.returncode:
        reason = done.stderr.strip()[-500:] or f"exit {done.returncode}"
        raise ToolError(f"{name} cannot be used: {reason}", hint=f"Check that `{name} info` works.")
    return done.stdout


_PREPARE: dict[str, Callable[[str, Order], Launch]] = {
    "runsc": _prepare_runsc,
    "docker": _prepare_container,
    "podman": _prepare_container,
}
