"""Finds out which levels of isolation hold on this machine, by trying to break them.

What a kernel says it can do and what it does inside this container are two things. So a session
is started at the level, and code in it does what must not be possible. The findings are kept for
as long as nothing they depend on changes: the boot, the kernel, the user, bubblewrap, this code.
"""

import json
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from anyio import CancelScope, to_thread
from platformdirs import user_cache_path

from agentkit.errors import SandboxUnavailableError, ToolError
from agentkit.sandbox._bwrap import find_bubblewrap
from agentkit.sandbox._levels import LEVELS, Level
from agentkit.sandbox._session import Outcome, Session
from agentkit.sandbox._setup import Setup

_SECONDS = 10.0
_CODE = Path(__file__).parent
_ATTEMPTS = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
broken = []
def attempt(what, action):
    try:
        done = action()
    except (OSError, ValueError, AttributeError):
        return
    if done != -1:
        broken.append(what)
def connect(family, address):
    with socket.socket(family) as client:
        client.settimeout(2)
        client.connect(address)
attempt("reads files outside its folder", lambda: open({secret!r}).read())
attempt("writes files outside its folder", lambda: open({target!r}, "w").write("x"))
attempt("reaches the network", lambda: connect(socket.AF_INET, ("127.0.0.1", {port})))
if {abstract!r}:
    attempt("reaches sockets of the host", lambda: connect(socket.AF_UNIX, {abstract!r}))
if {host} != os.getpid():
    attempt("signals the host", lambda: os.kill({host}, 0))
attempt("makes namespaces of its own", lambda: libc.unshare(0x10000000))
attempt("leaves its process group", lambda: os.setpgid(0, 0))
broken
"""

_known: dict[str, dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found on this machine.

    Attributes:
        bubblewrap: path of the program, empty where there is none.
        reasons: why a level does not hold, by level; empty if it holds. What was not tried is not
            in it.
    """

    bubblewrap: str
    reasons: dict[str, str]

    def highest(self, minimum: Level) -> Level | None:
        """Return the strongest level that holds, none if that is below the minimum."""
        wanted = LEVELS[LEVELS.index(minimum) :]
        return next((level for level in reversed(wanted) if self.reasons.get(level) == ""), None)


async def choose_level(wanted: Level | None, minimum: Level) -> tuple[Level, str]:
    """Return the level that a session is to have, and the path of bubblewrap.

    Args:
        wanted: this one and no other; the strongest that holds where it is `None`.
        minimum: what is below it is refused, where none is wanted.

    Raises:
        SandboxUnavailableError: no such level holds here; says why.
    """
    if wanted is not None:
        findings = await probe((wanted,))
        level = wanted if findings.reasons.get(wanted) == "" else None
    else:
        findings = await probe(reversed(LEVELS[LEVELS.index(minimum) :]))
        level = findings.highest(minimum)
    if level is None:
        raise SandboxUnavailableError(
            _refusal(wanted or minimum, findings),
            hint="Install bubblewrap, use a container (AGENTKIT_CODE_ISOLATION=vm) or pure "
            "computation (monty), or allow less on purpose: AGENTKIT_CODE_MINIMUM=process.",
        )
    return level, findings.bubblewrap


def _refusal(level: Level, findings: Findings) -> str:
    reasons = [f"{name}: {why}" for name, why in findings.reasons.items() if why]
    return (
        f"Code is not run: isolation of level {level!r} does not hold on this machine "
        f"({'; '.join(reasons) or 'it is below the minimum'})."
    )


async def probe(levels: Iterable[Level] = LEVELS[::-1]) -> Findings:
    """Try levels, from the strongest down, until one holds; what is known already is not tried.

    Raises:
        OSError: there is no folder for what is tried.
    """
    bubblewrap, key = await to_thread.run_sync(_circumstances)
    known = _known.get(key)
    if known is None:
        known = _known[key] = await to_thread.run_sync(_read, key)
    for level in levels:
        if level not in known:
            known[level] = await why_not(level, bubblewrap)
            await to_thread.run_sync(_write, key, known)
        if not known[level]:
            break
    return Findings(bubblewrap, dict(known))


async def why_not(level: Level, bubblewrap: str) -> str:
    """Return why a level does not hold here; empty if it does."""
    if level == "namespaced" and not bubblewrap:
        return "bubblewrap is not installed"
    if not _is_known(level):
        return f"{platform.system()} has nothing that holds it"
    await to_thread.run_sync(_compile)
    stack = ExitStack()
    try:
        attempts, target = await to_thread.run_sync(_set_traps, stack)
        code = "[]" if level == "process" else attempts
        outcome = await _try(Setup(level=level, bubblewrap=bubblewrap), code)
        if isinstance(outcome, str):
            return outcome
        reached = outcome.value != "[]" or await to_thread.run_sync(target.exists)
        return f"code in it {outcome.value}" if reached else ""
    finally:
        with CancelScope(shield=True):  # a folder with two small files
            await to_thread.run_sync(stack.close)


def _compile() -> None:
    """Compile what a session imports: inside, where nothing can be kept, each start would."""
    if not sys.dont_write_bytecode:
        from compileall import compile_dir  # needed once a boot

        with suppress(OSError):  # installed where we must not write: starts take longer
            compile_dir(_CODE, maxlevels=0, quiet=2)


def _is_known(level: Level) -> bool:
    """Tell whether this system has what a level is made of; macOS has Seatbelt, untried so far."""
    known = LEVELS if sys.platform == "linux" else LEVELS[: 2 if sys.platform == "darwin" else 1]
    return level in known


async def _try(setup: Setup, code: str) -> Outcome | str:
    """Return what became of code in a session of its own, or why there was none."""
    session = Session(setup)
    try:
        outcome = await session.run(code, _SECONDS)
    except ToolError as error:
        return str(error)
    finally:
        await session.aclose()
    if outcome.killed_by or outcome.timed_out or outcome.error:
        return (outcome.stderr or outcome.error or outcome.killed_by or "it hangs").strip()
    return outcome


def _set_traps(stack: ExitStack) -> tuple[str, Path]:
    """Put out what the code must not reach; return the code, and what it must not write."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentkit-probe-")))
    secret, target = folder / "secret", folder / "target"
    secret.write_text("secret", encoding="utf-8")
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    abstract = f"\0agentkit-{uuid4().hex}" if sys.platform == "linux" else ""
    if abstract:
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(abstract)
        local.listen()
    attempts = _ATTEMPTS.format(
        secret=str(secret),
        target=str(target),
        port=listener.getsockname()[1],
        abstract=abstract,
        host=os.getpid(),
    )
    return attempts, target


def _circumstances() -> tuple[str, str]:
    """Return the path of bubblewrap, and a name for all that the findings depend on."""
    bubblewrap = find_bubblewrap()
    facts = (*_of_this_process(), *_seen(bubblewrap), os.getuid())
    return bubblewrap, sha256(repr(facts).encode()).hexdigest()[:32]


@cache
def _of_this_process() -> tuple[object, ...]:
    """Return what stays as it is while this process lives: the boot, the kernel, this code."""
    facts: list[object] = [platform.uname(), sys.executable, sys.version]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    for path in sorted(map(str, _CODE.glob("*.py"))):
        facts += _seen(path)
    return tuple(facts)


def _seen(path: str) -> tuple[object, ...]:
    try:
        seen = os.stat(path)  # noqa: PTH116 - of a path that may be empty
    except OSError:
        return ()
    return path, seen.st_mtime_ns, seen.st_size


def _file() -> Path:
    return user_cache_path("agentkit") / "sandbox.json"


def _read(key: str) -> dict[str, str]:
    with suppress(OSError, ValueError, AttributeError):
        kept = json.loads(_file().read_text(encoding="utf-8"))
        if kept["key"] == key:
            return {str(level): str(why) for level, why in kept["levels"].items()}
    return {}


def _write(key: str, known: dict[str, str]) -> None:
    """Keep what holds; what does not is tried again by the next process: it may be mended."""
    with suppress(OSError):  # found again next time
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"key": key, "levels": {level: why for level, why in known.items() if not why}}
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(kept), encoding="utf-8")
        new.replace(path)
