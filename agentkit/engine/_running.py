"""The engines of this user that run now: found, asked, stopped."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from agentkit.engine._lease import Lease, connect_to
from agentkit.errors import EngineError

_ANSWER_SECONDS = 5.0  # a guard that waits for its engine's end says nothing meanwhile
_STOP_SECONDS = 30.0  # more than an engine is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An engine that runs.

    Attributes:
        profile: the name of its launch profile.
        state: "loading", "ready", "restarting", "failed" or "stopping".
        stage: what it is at while it loads.
        port: where it is to listen, 0 for any.
        url: where it listens, once it does.
        api_key: what clients have to show.
        pid: of the server's first process, 0 where there is none.
        since: when its guard was started, in seconds since 1970.
        deaths: how often it has died lately.
        log: where it writes.
        socket: of its guard.
    """

    profile: str
    state: str
    stage: str
    port: int
    url: str
    api_key: str = field(repr=False)
    pid: int
    since: float
    deaths: int
    log: Path
    socket: Path


async def find_running(state_dir: Path) -> tuple[Running, ...]:
    """Return the engines that run, by name."""
    records = await to_thread.run_sync(_read_records, state_dir)
    found = [await _look(record) for record in records]
    return tuple(sorted(filter(None, found), key=lambda one: (one.profile, one.since)))


def log_of_latest(state_dir: Path, profile: str | None) -> Path | None:
    """Return the log of the engine that was started last, of that name or of any; it may be dead."""
    logs = (state_dir.absolute() / "logs").glob(f"{profile or '*'}.*.log")
    found = sorted(logs, key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


async def stop_running(running: Running) -> None:
    """Stop an engine, whoever uses it; return when it is gone.

    Raises:
        EngineError: it does not stop.
    """
    stream = await connect_to(running.socket)
    if stream is None:
        return
    lease = Lease(stream, "The engine", _STOP_SECONDS)
    stuck = EngineError(
        f"{running.profile} did not stop within {2 * _STOP_SECONDS:.0f} s.",
        hint=f"End it by hand: kill -9 {running.pid}. A process that hangs in a driver needs a reboot.",
    )
    try:
        await lease.say(stop=True)
        with anyio.move_on_after(2 * _STOP_SECONDS) as scope:
            with suppress(EngineError):  # the guard is gone, and so is the engine
                await lease.give_back()
        if scope.cancelled_caught:
            raise stuck
    finally:
        with anyio.CancelScope(shield=True):
            await stream.aclose()


async def _look(record: Mapping[str, Any]) -> Running | None:
    socket = Path(record["socket"])
    stream = await connect_to(socket)
    if stream is None:
        return None  # its guard was killed; the record is overwritten by the next start
    status: Mapping[str, Any] = {"state": "stopping"}
    try:
        with anyio.move_on_after(_ANSWER_SECONDS):
            status = await Lease(stream, "", 0).next_status()
    except EngineError:
        return None
    finally:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
    return Running(
        profile=record["profile"],
        state=status["state"],
        stage=status.get("stage", ""),
        port=record.get("port", 0),
        url=status.get("url", ""),
        api_key=status.get("api_key", ""),
        pid=status.get("engine_pid") or 0,
        since=status.get("since", 0.0),
        deaths=status.get("deaths", 0),
        log=Path(record["log"]),
        socket=socket,
    )


def _read_records(state_dir: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for path in sorted((state_dir.absolute() / "engines").glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue  # it has just ended, or is just being written
    return found
