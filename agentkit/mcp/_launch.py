"""From a configured command to an argument vector that can be started."""

import json
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentkit.errors import McpServerError
from agentkit.mcp._config import ServerConfig
from agentkit.mcp._environment import child_environment

MARK = "AGENTKIT_MCP_SERVER"
"""Set for each server: whoever carries its value descends from that server."""

SESSION = "AGENTKIT_MCP_SESSION"
"""The same for all servers that were opened together."""

_HINTS = {
    "npx": "Install Node.js, which brings npx.",
    "node": "Install Node.js.",
    "uvx": "Install uv, or install the server's package into this environment.",
    "uv": "Install uv, or install the server's package into this environment.",
    "docker": "Install Docker.",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """What is started, with what, and where."""

    argv: tuple[str, ...] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    cwd: Path | None


def plan_launch(
    config: ServerConfig,
    environ: Mapping[str, str],
    mark: str,
    session: str,
    *,
    forked_here: bool,
) -> Launch:
    """Return how `config` is started; looks at the disk.

    Args:
        config: a server with a command.
        environ: our own environment.
        mark: a value that no other server has.
        session: one that all servers of ours have that were opened together.
        forked_here: the loop's own thread forks, see `_watched`.

    Raises:
        McpServerError: the command or its folder is not there.
    """
    env = child_environment(environ, config.env)
    if config.cwd is not None and not config.cwd.is_dir():
        raise McpServerError(
            f"its folder {str(config.cwd)!r} does not exist.", hint="Create it, or change 'cwd'."
        )
    argv = _installed(config.command, config.args) or (
        _program(config, env.get("PATH", "")),
        *config.args,
    )
    argv = _watched(_limited(argv, config.max_memory_bytes), forked_here=forked_here)
    return Launch(argv, {**env, MARK: mark, SESSION: session}, config.cwd)


def _scripts() -> str:
    return sysconfig.get_path("scripts")


def _installed(command: str, args: Sequence[str]) -> tuple[str, ...] | None:
    """Return our own console script for `uvx PACKAGE` and `uv tool run PACKAGE`, if there is one.

    Nothing is fetched for what is here already. A pinned `PACKAGE@version` is left to uv.
    """
    runner = Path(command).stem
    rest = tuple(args)
    if runner == "uv" and rest[:2] == ("tool", "run"):
        rest = rest[2:]
    elif runner != "uvx":
        return None
    script = (
        shutil.which(rest[0], path=_scripts()) if rest and not rest[0].startswith("-") else None
    )
    return None if script is None else (script, *rest[1:])


def _program(config: ServerConfig, search: str) -> str:
    """Return the program's path: as given, or among our own scripts, or on the server's PATH."""
    command = config.command
    if os.path.dirname(command):  # noqa: PTH120 - Path would drop the "./" this asks for
        found = shutil.which(command)
        where = "it is not a program that can be run"
    else:
        found = shutil.which(command, path=os.pathsep.join((_scripts(), search)))
        count = len(list(filter(None, search.split(os.pathsep))))
        where = f"looked in {_scripts()} and in PATH ({count} folder{'' if count == 1 else 's'})"
    if found is None:
        raise McpServerError(
            f"its command {config.redact(command)!r} was not found: {where}.",
            hint=config.redact(_advice(command)),
        )
    return found


def _advice(command: str) -> str:
    """Return what to do about a command that is not there."""
    try:
        first, *rest = shlex.split(command)
    except ValueError:  # a quotation without end, or no word at all
        first, rest = command, []
    if rest:
        args = json.dumps(rest, ensure_ascii=False)
        return f'Arguments go into \'args\': "command": {json.dumps(first)}, "args": {args}.'
    return _HINTS.get(Path(command).stem, f"Install {command!r}, or correct 'command'.")


def _limited(argv: tuple[str, ...], memory: int | None) -> tuple[str, ...]:
    """Return `argv` such that the program leaves no core file, and has so much address space."""
    prlimit = shutil.which("prlimit") if sys.platform == "linux" else None
    if prlimit is None:
        return argv
    space = () if memory is None else (f"--as={memory}",)
    return (prlimit, "--core=0", *space, "--", *argv)


def _watched(argv: tuple[str, ...], *, forked_here: bool) -> tuple[str, ...]:
    """Return `argv` such that the program is killed when we are killed, where Linux offers it.

    Args:
        argv: the program.
        forked_here: the loop's own thread forks; the signal comes when the *thread* that forked
            ends, and a worker thread ends long before we do.
    """
    if not forked_here or sys.platform != "linux":
        return argv
    setpriv = shutil.which("setpriv")
    return argv if setpriv is None else (setpriv, "--pdeathsig", "KILL", "--", *argv)
