"""A model server as a block: fitted, started or shared, watched, stopped."""

import errno
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread

from agentkit.engine._commands import command_of
from agentkit.engine._disk import count_bytes
from agentkit.engine._lease import EngineSpec
from agentkit.engine._running import find_running
from agentkit.engine._server_autopsy import explain_server_death
from agentkit.engine._server_profile import ServerProfile
from agentkit.engine._values import Endpoint, ProgressCallback, ignore_progress
from agentkit.engine._watch import LossCallback, hold
from agentkit.errors import EngineError

_START_SECONDS = 300.0  # imports, graph capture, warm-up; and as long again as a slow disk needs
_SLOW_DISK = 100_000_000  # bytes a second
_DRAIN_SECONDS = 30.0  # for a server to leave by itself; it looks every 5 s whether it is to
_KILL_SECONDS = 15.0
_LOOK_SECONDS = 5.0  # between two looks at a server that runs
_LATER = 1.1  # times: the runner says that it is late, and only if it cannot do we


@asynccontextmanager
async def open_server(
    profile: ServerProfile,
    *,
    python: Path,
    weights: Path,
    state_dir: Path,
    api_key: str = "",
    keep_alive: float = 0.0,
    progress: ProgressCallback = ignore_progress,
    on_loss: LossCallback | None = None,
) -> AsyncGenerator[Endpoint]:
    """Run the profile's server in processes of its own, or share the one that runs already.

    It is restarted at the same address when it dies or hangs, up to twice in a row; requests fail
    meanwhile and may be repeated. It ends with the last block that uses it.

    Args:
        profile: what to run.
        python: of the environment that has the server.
        weights: the model's folder.
        state_dir: where the server's log, lock and socket are.
        api_key: what clients have to show; made up where empty.
        keep_alive: seconds that the server outlives this block if nobody else uses it.
        progress: told of loading and restarts.
        on_loss: told when the server is lost for good; without it the block is cancelled and the
            error raised.

    Raises:
        EngineError: it cannot be started, or is lost for good.
    """
    spec = await to_thread.run_sync(_spec_of, profile, python, weights, state_dir, api_key)
    await _check_port(spec, profile.server.port)
    async with hold(
        spec,
        keep_alive=keep_alive,
        start_seconds=spec.options["start_seconds"] * _LATER,
        progress=progress,
        on_loss=on_loss,
    ) as (lease, gate):
        yield Endpoint(
            base_url=f"{lease.status['url']}/v1",
            model=profile.model,
            api_key=lease.status["api_key"],
            backend="vllm" if profile.server.kind == "vllm" else "sglang",
            small=profile.small,
            quantised=profile.quantised,
            context_tokens=profile.server.context_tokens,
            gate=gate,
        )


def _spec_of(
    profile: ServerProfile, python: Path, weights: Path, state_dir: Path, api_key: str
) -> EngineSpec:
    if not weights.is_dir():
        raise EngineError(
            f"There is no folder of weights {weights}.",
            hint=f"Fetch them: agentkit server pull {profile.name}; or set AGENTKIT_WEIGHTS.",
        )
    if api_key.startswith("-"):
        raise EngineError(
            "The API key begins with a dash, which servers take for an option.",
            hint="Set another AGENTKIT_API_KEY, or none: one is made up.",
        )
    command = command_of(profile, python, weights.resolve())
    options: dict[str, Any] = {
        "runner": "run_server.py",
        "profile": profile.name,
        "port": profile.server.port,
        "start_seconds": profile.server.start_seconds
        or _START_SECONDS + count_bytes(weights) / _SLOW_DISK,
        "drain_seconds": _DRAIN_SECONDS,
        "look_seconds": _LOOK_SECONDS,
        **command.as_options(),
    }
    return EngineSpec(
        options=options,
        state_dir=state_dir.absolute(),
        profile=profile.name,
        what="The model server",
        explain=explain_server_death,
        stop_seconds=_DRAIN_SECONDS + _KILL_SECONDS,
        api_key=api_key,
    )


async def _check_port(spec: EngineSpec, port: int) -> None:
    """Look at the port before the load: a server finds out that it is taken only after it.

    Raises:
        EngineError: somebody listens there, or is about to.
    """
    running = await find_running(spec.state_dir)
    if any(one.socket == spec.socket for one in running):
        return  # it is shared
    promised = [one.profile for one in running if port and one.port == port]
    reason = f"it is that of {promised[0]}" if promised else await to_thread.run_sync(_taken, port)
    if not reason:
        return
    end = f"agentkit server stop {promised[0]}" if promised else "end what listens there"
    raise EngineError(
        f"Port {port}, where the model server was to listen: {reason}.",
        hint=f"Choose another with --port or AGENTKIT_SERVER_PORT, {end}, or use it: "
        f"AGENTKIT_BASE_URL=http://127.0.0.1:{port}/v1.",
    )


def _taken(port: int) -> str:
    """Return why the port cannot be used; "" if it can."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return "it is taken" if taken else os.strerror(error.errno or 0)
    return ""
