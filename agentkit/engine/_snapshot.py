"""A model's folder on this machine: found, or fetched from a hub, file by file, and verified."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from agentkit.engine._alone import alone
from agentkit.engine._beside import reporting
from agentkit.engine._digest import Digest
from agentkit.engine._disk import check_space, count_bytes
from agentkit.engine._server_profile import ServerProfile, Source
from agentkit.engine._values import Progress, ProgressCallback
from agentkit.errors import WeightsError

_FETCH = Path(__file__).with_name("fetch_snapshot.py")
_LINE_BYTES = 4 * 1024 * 1024  # the list of a repository's files
_STAMP = ".whole"  # written last: without it a folder is not whole
_ROOM = 1.05
_WAYS_ON = (
    "Three ways on: set AGENTKIT_WEIGHTS to a folder that you have; let Hugging Face be reached "
    "(HF_ENDPOINT names a mirror, HF_TOKEN who you are); or take ModelScope: AGENTKIT_HUB=modelscope."
)


def folder_of(source: Source, cache_dir: Path) -> Path:
    """Return where a repository is kept.

    >>> folder_of(Source(repo="Qwen/Qwen3-14B"), Path("cache")).as_posix()
    'cache/weights/Qwen--Qwen3-14B'
    """
    name = source.repo.replace("/", "--")
    if source.revision != "main":
        name += f"-{source.revision}"
    return cache_dir / "weights" / re.sub(r"[^\w.-]", "-", name)


def find_snapshot(profile: ServerProfile, cache_dir: Path) -> Path | None:
    """Return the folder of the profile's weights if it is here and whole."""
    if profile.weights is not None:
        return profile.weights if profile.weights.is_dir() else None
    if profile.source is None:
        return None
    folder = folder_of(profile.source, cache_dir)
    return folder if (folder / _STAMP).is_file() else None


async def ensure_snapshot(
    profile: ServerProfile, cache_dir: Path, progress: ProgressCallback, *, hub: str | None = None
) -> Path:
    """Return the folder of the profile's weights, fetched and verified if they are not here.

    An interrupted download is resumed by the next call, file by file.

    Args:
        profile: what is wanted.
        cache_dir: where weights are kept.
        progress: told how far it is.
        hub: "huggingface" or "modelscope" instead of the profile's.

    Raises:
        WeightsError: there is no source, no space, no permission, or a file is wrong.
    """
    if (found := await to_thread.run_sync(find_snapshot, profile, cache_dir)) is not None:
        return found
    source = profile.source
    if source is None or profile.weights is not None:
        raise WeightsError(
            f"There is no folder of weights for {profile.name}: {profile.weights or 'none is named'}.",
            hint="Set AGENTKIT_WEIGHTS to the model's folder: config.json, *.safetensors, tokenizer.",
        )
    if hub is not None:
        source = source.model_copy(update={"hub": hub})
    folder = folder_of(source, cache_dir)

    def waiting() -> None:
        progress(Progress("download", detail=f"{source.repo}: another process is fetching it"))

    try:
        async with alone(folder, waiting):
            if not await anyio.Path(folder / _STAMP).is_file():
                await _fetch(source, folder, progress)
    except OSError as error:
        raise WeightsError(
            f"{folder} cannot be written: {error}.",
            hint="Free space there, or point AGENTKIT_CACHE_DIR at a folder you can write to.",
        ) from error
    return folder


async def _fetch(source: Source, folder: Path, progress: ProgressCallback) -> None:
    order = json.dumps({**source.model_dump(), "folder": str(folder)})
    async with await anyio.open_process(  # killed when the caller is cancelled
        [sys.executable, str(_FETCH), order],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"},
    ) as process:
        if (
            process.stdout is None or process.stdin is None
        ):  # pragma: no cover - they were asked for
            raise WeightsError("The hub: no pipe.")
        lines = BufferedByteReceiveStream(process.stdout)
        files = (await _hear(lines, source))["files"]
        total = sum(int(file["size"]) for file in files)
        await to_thread.run_sync(_check_room, source, folder, total)
        await process.stdin.send(b"go\n")
        detail = f"{source.repo} from {source.hub}"

        def measure() -> Progress:
            return Progress("download", min(total, count_bytes(folder)), total, detail)

        async with reporting(progress, measure, blocks=True):
            await _hear(lines, source)
    for file in files:
        await _verify(folder / file["path"], file, progress)
    await anyio.Path(folder / _STAMP).write_text(json.dumps(files), encoding="utf-8")


async def _verify(path: Path, file: Mapping[str, Any], progress: ProgressCallback) -> None:
    wanted: str | None = file["sha256"]
    size = (await anyio.Path(path).stat()).st_size
    found = ""
    if wanted is not None:
        digest = Digest()
        async with reporting(progress, lambda: Progress("verify", digest.done, size, path.name)):
            found = await to_thread.run_sync(digest.read, path)
    if size == file["size"] and found == (wanted or ""):
        return
    await anyio.Path(path).unlink()
    raise WeightsError(
        f"{path} is not what the hub says it is ({size:,} bytes, SHA-256 {found or 'not given'}); "
        "it was removed.",
        hint="Fetch it again. If that gives the same, the source is wrong or was tampered with.",
    )


async def _hear(lines: BufferedByteReceiveStream, source: Source) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(await lines.receive_until(b"\n", _LINE_BYTES))
    except (anyio.EndOfStream, anyio.IncompleteRead) as error:
        raise WeightsError(f"Fetching {source.repo} broke off.", hint=_WAYS_ON) from error
    if "error" in said:
        raise WeightsError(
            f"{source.repo} cannot be fetched from {source.hub}: {said['error']}",
            hint=str(said.get("hint") or _WAYS_ON),
        )
    return said


def _check_room(source: Source, folder: Path, total: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    check_space(source.repo, folder, int(total * _ROOM) - count_bytes(folder))
