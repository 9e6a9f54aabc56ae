"""An engine that is held: waited for until it answers, and watched until it is let go."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import to_thread

from agentkit.engine._beside import beside, reporting
from agentkit.engine._gate import Gate
from agentkit.engine._lease import EngineSpec, Lease, open_lease
from agentkit.engine._values import Progress, ProgressCallback
from agentkit.errors import EngineError
from agentkit.resilience import deadline

LossCallback = Callable[[EngineError], None]
"""Told that an engine is lost for good."""


@asynccontextmanager
async def hold(
    spec: EngineSpec,
    *,
    keep_alive: float,
    start_seconds: float,
    progress: ProgressCallback,
    on_loss: LossCallback | None,
) -> AsyncGenerator[tuple[Lease, Gate]]:
    """Start the engine or share it, wait until it answers, and watch it until the block ends.

    Args:
        spec: the engine.
        keep_alive: seconds that it outlives this block if nobody else uses it.
        start_seconds: how long it may take to answer.
        progress: told how far it is, and of restarts.
        on_loss: told when it is lost for good; without it the block is cancelled and the error
            raised.

    Raises:
        EngineError: it cannot be started, or is lost for good.
    """
    async with open_lease(spec) as lease:
        await _wait_until_ready(lease, spec, start_seconds, progress)
        await lease.say(keep_alive=keep_alive)  # not before: one that is not wanted any more goes
        gate = Gate()
        async with _watched(lease, spec, gate, progress, on_loss):
            yield lease, gate


async def _wait_until_ready(
    lease: Lease, spec: EngineSpec, seconds: float, progress: ProgressCallback
) -> None:
    too_slow = EngineError(
        f"{spec.what} was not ready after {seconds:.0f} s. Its log: {spec.log}.",
        hint="Is the machine very busy, or short of memory? Start again, or choose a smaller model.",
    )
    start = anyio.current_time()

    def elapsed() -> Progress:
        stage = str(lease.status.get("stage", ""))
        said = (
            f"{spec.profile}, {f'{stage}, ' if stage else ''}{anyio.current_time() - start:.0f} s"
        )
        return Progress("load", detail=said, stage=stage)

    with deadline(seconds, too_slow):
        async with reporting(progress, elapsed):
            while lease.status["state"] not in ("ready", "failed"):
                await lease.next_status()
                progress(elapsed())  # a stage may be over before the next tick
    if lease.status["state"] == "failed":
        raise await _autopsy(lease.status, spec)
    progress(Progress("ready", detail=f"{spec.profile} at {lease.status['url']}"))


@asynccontextmanager
async def _watched(
    lease: Lease,
    spec: EngineSpec,
    gate: Gate,
    progress: ProgressCallback,
    on_loss: LossCallback | None,
) -> AsyncGenerator[None]:
    lost: list[EngineError] = []
    scope = anyio.CancelScope()

    async def watch() -> None:
        error = await _wait_until_lost(lease, spec, gate, progress)
        gate.lose(error)
        if on_loss is not None:
            on_loss(error)
            return
        lost.append(error)
        scope.cancel()

    async with beside(watch):
        with scope:
            yield
    if lost and scope.cancelled_caught:
        raise lost[0]


async def _wait_until_lost(
    lease: Lease, spec: EngineSpec, gate: Gate, progress: ProgressCallback
) -> EngineError:
    while True:
        try:
            status = await lease.next_status()
        except EngineError as error:
            error.hint = "It was killed or stopped from outside. Start again."
            return error
        if status["state"] == "failed":
            return await _autopsy(status, spec)
        if status["state"] == "ready":
            gate.open()
            progress(Progress("ready", detail=f"restarted at {status['url']}"))
            continue
        gate.shut()
        if status["state"] == "restarting":
            progress(Progress("load", detail=f"restarting: it died, exit status {status['code']}"))


async def _autopsy(status: dict[str, Any], spec: EngineSpec) -> EngineError:
    return await to_thread.run_sync(spec.explain, status["code"], spec.log, status["deaths"])
