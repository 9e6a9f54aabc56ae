"""Weights from a model hub, fetched by huggingface_hub in a process that can be stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from agentkit.engine._beside import reporting
from agentkit.engine._disk import count_bytes
from agentkit.engine._profiles import HubSource
from agentkit.engine._values import Progress, ProgressCallback
from agentkit.errors import WeightsError

_FETCH = Path(__file__).with_name("fetch_from_hub.py")
_LINE_BYTES = 65_536


async def fetch_from_hub(
    source: HubSource, folder: Path, sha256: str | None, progress: ProgressCallback
) -> tuple[Path, str]:
    """Return the fetched file, unverified, and the hash it should have.

    Where `sha256` is `None` the hub's own hash is taken.

    Raises:
        WeightsError: the hub cannot be reached in a few seconds, or has another file.
    """
    detail = f"from the hub, {source.repo}"
    order = json.dumps({**source.model_dump(), "folder": str(folder)})
    async with await anyio.open_process(  # killed when the caller is cancelled
        [sys.executable, "-P", str(_FETCH), order],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"},
    ) as process:
        if process.stdout is None:  # pragma: no cover - it was asked for
            raise WeightsError("The hub: no pipe.")
        lines = BufferedByteReceiveStream(process.stdout)
        known = await _hear(lines, source)
        wanted = _agree(sha256, known.get("sha256"), source)

        def measure() -> Progress:
            return Progress("download", count_bytes(folder), known.get("size"), detail)

        async with reporting(progress, measure, blocks=True):
            done = await _hear(lines, source)
    return Path(done["path"]), wanted


async def _hear(lines: BufferedByteReceiveStream, source: HubSource) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(await lines.receive_until(b"\n", _LINE_BYTES))
    except (anyio.EndOfStream, anyio.IncompleteRead) as error:
        raise WeightsError(f"The hub: fetching {source.repo}/{source.file} broke off.") from error
    if "error" in said:
        raise WeightsError(f"The hub: {source.repo}/{source.file}: {said['error']}")
    return said


def _agree(ours: str | None, theirs: str | None, source: HubSource) -> str:
    if ours is not None and theirs is not None and ours != theirs:
        raise WeightsError(
            f"The hub: {source.repo}/{source.file} has the SHA-256 {theirs}, but {ours} was expected."
        )
    wanted = ours or theirs
    if wanted is None:
        raise WeightsError(f"The hub: {source.repo}/{source.file} has no known hash.")
    return wanted
