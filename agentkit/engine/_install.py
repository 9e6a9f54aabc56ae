"""SGLang in an environment of its own: found, or installed there.

Never agentkit's own: SGLang 0.5.23 pins openai 2.8, torch and transformers.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.text import TextReceiveStream

from agentkit.engine._alone import alone
from agentkit.engine._autopsy import read_tail
from agentkit.engine._disk import check_space, count_bytes
from agentkit.engine._values import Progress, ProgressCallback
from agentkit.errors import ConfigurationError, EngineError

SGLANG_VERSION = "0.5.23"
INSTALLED_BYTES = 12_000_000_000  # with torch for CUDA

_SHOWN = 200
_TOLD = ("Collecting", "Downloading", "Using cached", "Installing", "Successfully", "Building")


def find_sglang(given: Path | None, data_dir: Path) -> Path | None:
    """Return the python that starts a server; `None` if there is none.

    Args:
        given: an environment, or its python, with a server of one's own choice.
        data_dir: where `install_sglang` puts it.

    Raises:
        ConfigurationError: there is no python in what was given.
    """
    if given is not None:
        return _python_in(given.expanduser().absolute())
    folder = environment_dir(data_dir)
    return folder / "bin" / "python" if (folder / _STAMP).is_file() else None


def environment_dir(data_dir: Path, version: str = SGLANG_VERSION) -> Path:
    """Return where that version is installed."""
    return data_dir / f"sglang-{version}"


async def install_sglang(
    data_dir: Path,
    progress: ProgressCallback,
    *,
    version: str = SGLANG_VERSION,
    requirements: Sequence[str] = (),
    need: int = INSTALLED_BYTES,
) -> Path:
    """Install SGLang, or go on with an installation that was broken off, and return its python.

    Args:
        data_dir: where environments are kept.
        progress: told what is being fetched.
        version: of SGLang.
        requirements: what pip is to install instead of `sglang==version`.
        need: bytes of disk.

    Raises:
        EngineError: it cannot be installed; with the last words of pip.
    """
    folder = environment_dir(data_dir, version)
    log = data_dir / "logs" / "install-sglang.log"
    await to_thread.run_sync(_prepare, folder, log)

    def waiting() -> None:
        progress(Progress("install", detail="another process is installing it"))

    async with alone(folder, waiting):
        python = folder / "bin" / "python"
        if await anyio.Path(folder / _STAMP).is_file():
            return python
        await to_thread.run_sync(_check_room, folder, need)
        if not await anyio.Path(folder / "bin" / "pip").is_file():  # none yet, or half of one
            progress(Progress("install", detail=f"an environment in {folder}"))
            await _run([sys.executable, "-m", "venv", "--clear", str(folder)], log, progress)
        wanted = requirements or (f"sglang=={version}",)
        installer = await to_thread.run_sync(_installer, python)
        await _run([*installer, *wanted], log, progress)
        stamp = json.dumps({"version": version, "installed": list(wanted)})
        await anyio.Path(folder / _STAMP).write_text(stamp, encoding="utf-8")
        progress(Progress("install", detail=f"done: {folder}"))
        return python


_STAMP = "installed.json"  # written last: without it an installation is not whole


def _python_in(given: Path) -> Path:
    for path in (given, given / "bin" / "python"):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise ConfigurationError(
        f"There is no python in {given}, which is to start the model server.",
        hint="AGENTKIT_SERVER_PYTHON names an environment, or its python, that has SGLang or vLLM.",
    )


def _installer(python: Path) -> list[str]:
    uv = shutil.which("uv")  # where it is there, it is many times quicker
    if uv is not None:
        return [uv, "pip", "install", "--python", str(python)]
    return [
        str(python),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar=off",
    ]


async def _run(command: Sequence[str], log: Path, progress: ProgressCallback) -> None:
    """Run a command whose words go into the log; it ends with the caller."""
    async with await anyio.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            if process.stdout is not None:
                await _listen(process.stdout, log, progress)
            code = await process.wait()
        finally:
            _kill(process)
    if code != 0:
        last = await to_thread.run_sync(read_tail, log)
        error = next(
            (line for line in reversed(last) if "error" in line.lower()), "no reason given"
        )
        raise EngineError(
            f"SGLang could not be installed: {error.strip()} (the whole story: {log})",
            hint="Call it again to go on from there. A mirror is set in pip's configuration.",
        )


async def _listen(stream: ByteReceiveStream, log: Path, progress: ProgressCallback) -> None:
    rest = ""
    async with await anyio.open_file(log, "a", encoding="utf-8") as file:
        async for piece in TextReceiveStream(stream, errors="replace"):
            await file.write(piece)
            *lines, rest = (rest + piece).split("\n")
            for line in lines:
                if line.strip().startswith(_TOLD):
                    said = line.strip()[:_SHOWN]
                    progress(Progress("install", detail=said, stage=said))


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):  # what pip has started ends with it
        os.killpg(process.pid, signal.SIGKILL)


def _prepare(folder: Path, log: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"The folder {folder} cannot be made: {error}.",
            hint="Point AGENTKIT_DATA_DIR at a folder you can write to.",
        ) from error


def _check_room(folder: Path, need: int) -> None:
    check_space("SGLang", folder, need - count_bytes(folder), variable="AGENTKIT_DATA_DIR")
