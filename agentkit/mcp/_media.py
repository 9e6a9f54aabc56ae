"""Images, sounds and files that come in results: kept where a person, or other tools, find them."""

import base64
import mimetypes
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from anyio import to_thread

_KEPT_SECONDS = 14 * 24 * 3600.0


async def keep_media(folder: Path, data: str, media_type: str) -> Path:
    """Write what came in base64 into a file of its own, and return its path.

    Raises:
        OSError: it cannot be written.
        ValueError: it is not base64.
    """
    return await to_thread.run_sync(_keep, folder, data, media_type)


def _keep(folder: Path, data: str, media_type: str) -> Path:
    content = base64.b64decode(data, validate=True)
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
    _tidy_up(folder)
    # The server names a type, never a file: the ending is one that this machine knows.
    ending = mimetypes.guess_extension(media_type.partition(";")[0].strip().lower()) or ".bin"
    path = folder / f"{uuid4().hex[:12]}{ending}"
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def _tidy_up(folder: Path) -> None:
    """Remove what is old."""
    for old in folder.iterdir():
        with suppress(OSError):  # somebody else was quicker
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                old.unlink()
