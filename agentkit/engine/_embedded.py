"""The embedded engine as a block: weights, process, readiness, watch, stop."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread

from agentkit.engine._autopsy import explain_death
from agentkit.engine._cores import count_cores
from agentkit.engine._lease import EngineSpec
from agentkit.engine._profiles import Profile
from agentkit.engine._values import Endpoint, ProgressCallback, ignore_progress
from agentkit.engine._watch import LossCallback, hold
from agentkit.engine._weights import ensure_weights
from agentkit.errors import EngineError

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
    on_loss: LossCallback | None = None,
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
    async with hold(
        spec,
        keep_alive=keep_alive,
        start_seconds=_LOAD_SECONDS + spec.options["stamp"][0] / _SLOW_DISK,
        progress=progress,
        on_loss=on_loss,
    ) as (lease, gate):
        yield Endpoint(
            base_url=f"{lease.status['url']}/v1",
            model=profile.model,
            api_key=lease.status["api_key"],
            backend="llamacpp",
            small=profile.small,
            quantised=profile.quantised,
            context_tokens=profile.engine.context_tokens,
            gate=gate,
        )


def _spec_of(profile: Profile, weights: Path, state_dir: Path) -> EngineSpec:
    found = weights.stat()
    options: dict[str, Any] = {
        "runner": "run_llamacpp.py",
        "weights": str(weights.resolve()),
        "stamp": [found.st_size, found.st_mtime_ns],
        "version": importlib.metadata.version("xllamacpp"),
        "model": profile.model,
        "context_tokens": profile.engine.context_tokens,
        "slots": profile.engine.slots,
        "threads": count_cores() if profile.engine.threads == "auto" else profile.engine.threads,
    }
    return EngineSpec(
        options=options,
        state_dir=state_dir.absolute(),
        profile=profile.name,
        what="The embedded engine",
        explain=explain_death,
    )
