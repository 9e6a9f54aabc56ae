"""The embedded engine as a block: weights, process, readiness, watch, stop."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from agentkit.engine._autopsy import explain_death
from agentkit.engine._beside import beside, reporting
from agentkit.engine._cores import count_cores
from agentkit.engine._lease import EngineSpec, Lease, open_lease
from agentkit.engine._profiles import Profile
from agentkit.engine._values import Endpoint, Progress, ProgressCallback, ignore_progress
from agentkit.engine._weights import ensure_weights
from agentkit.errors import EngineError
from agentkit.resilience import deadline

_LOAD_SECONDS = 120.0  # and as long again as a slow disk needs to read the file
_SLOW_DISK = 10_000_000  # bytes a second


def embedded_available() -> str:
    """Return "" if the embedded engine can run here, else why not and how to mend it."""
    if sys.platform == "win32":
        return "The embedded engine needs Linux or macOS. Set base_url to a model server instead."
    if importlib.util.find_spec("xllamacpp") is None:
        return "xllamacpp is not installed. Install it: pip install 'qwen-agentkit[local]'."
    return ""


@asynccontextmanager
async def open_embedded(
    profile: Profile,
    *,
    cache_dir: Path,
    state_dir: Path,
    keep_alive: float = 0.0,
    progress: ProgressCallback = ignore_progress,
    on_loss: Callable[[EngineError], None] | None = None,
) -> AsyncGenerator[Endpoint]:
    """Run the profile's model in a process of its own, or share the one that runs already.

    The engine is restarted at the same address when it dies, up to twice in a row; requests fail
    meanwhile and may be repeated. It ends with the last block that uses it.

    Args:
        profile: what to run.
        cache_dir: where weights are kept.
        state_dir: where the engine's log, lock and socket are.
        keep_alive: seconds that the engine outlives this block if nobody else uses it.
        progress: told of downloads, loading and restarts.
        on_loss: told when the engine is lost for good; without it the block is cancelled and the
            error raised.

    Raises:
        EngineError: it cannot be started, or is lost for good.
        WeightsError: the weights cannot be had.
    """
    if reason := await to_thread.run_sync(embedded_available):
        raise EngineError("The embedded engine is not available.", hint=reason)
    weights = await ensure_weights(profile, cache_dir, progress)
    spec = await to_thread.run_sync(_spec_of, profile, weights, state_dir)
    async with open_lease(spec, keep_alive=keep_alive) as lease:
        await _wait_until_ready(lease, spec, profile, progress)
        async with _watched(lease, spec, progress, on_loss):
            yield _endpoint_of(profile, lease)


def _spec_of(profile: Profile, weights: Path, state_dir: Path) -> EngineSpec:
    found = weights.stat()
    options: dict[str, Any] = {
        "weights": str(weights.resolve()),
        "stamp": [found.st_size, found.st_mtime_ns],
        "version": importlib.metadata.version("xllamacpp"),
        "model": profile.model,
        "context_tokens": profile.engine.context_tokens,
        "slots": profile.engine.slots,
        "threads": count_cores() if profile.engine.threads == "auto" else profile.engine.threads,
    }
    return EngineSpec(options, state_dir.absolute())


def _endpoint_of(profile: Profile, lease: Lease) -> Endpoint:
    return Endpoint(
        base_url=f"{lease.status['url']}/v1",
        model=profile.model,
        api_key=lease.status["api_key"],
        backend="llamacpp",
        small=profile.small,
        quantised=profile.quantised,
        context_tokens=profile.engine.context_tokens,
    )


async def _wait_until_ready(
    lease: Lease, spec: EngineSpec, profile: Profile, progress: ProgressCallback
) -> None:
    seconds = _LOAD_SECONDS + spec.options["stamp"][0] / _SLOW_DISK
    too_slow = EngineError(
        f"The embedded engine was not ready after {seconds:.0f} s. Its log: {spec.log}.",
        hint="Is the machine very busy, or short of memory? Start again, or choose a smaller model.",
    )
    with deadline(seconds, too_slow):
        async with reporting(progress, _elapsed(profile.model)):
            await _until_ready_or_failed(lease)
    if lease.status["state"] == "failed":
        raise await _autopsy(lease.status, spec)
    progress(Progress("ready", detail=f"{profile.model} at {lease.status['url']}"))


async def _until_ready_or_failed(lease: Lease) -> None:
    while lease.status["state"] not in ("ready", "failed"):
        await lease.next_status()


def _elapsed(model: str) -> Callable[[], Progress]:
    start = anyio.current_time()
    return lambda: Progress("load", detail=f"{model}, {anyio.current_time() - start:.0f} s")


@asynccontextmanager
async def _watched(
    lease: Lease,
    spec: EngineSpec,
    progress: ProgressCallback,
    on_loss: Callable[[EngineError], None] | None,
) -> AsyncGenerator[None]:
    lost: list[EngineError] = []
    scope = anyio.CancelScope()

    async def watch() -> None:
        error = await _wait_until_lost(lease, spec, progress)
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
    lease: Lease, spec: EngineSpec, progress: ProgressCallback
) -> EngineError:
    while True:
        try:
            status = await lease.next_status()
        except EngineError as error:
            error.hint = "It was killed or stopped from outside. Start again."
            return error
        if status["state"] == "failed":
            return await _autopsy(status, spec)
        if status["state"] == "restarting":
            progress(Progress("load", detail=f"restarting: it died, exit status {status['code']}"))
        elif status["state"] == "ready":
            progress(Progress("ready", detail=f"restarted at {status['url']}"))


async def _autopsy(status: dict[str, Any], spec: EngineSpec) -> EngineError:
    return await to_thread.run_sync(explain_death, status["code"], spec.log, status["deaths"])
