"""Images, sounds and files that come in results: kept where a person, or other tools, find them."""

import base64
import mimetypes
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from anyio import to_thread

_KEPT_SECONDS = 14 * 24 * 3600.0


_MOST_BYTES = 1024**3  # of a folder
_MOST_FILES = 2_000


class Media:
    """Keeps what is no text in files for our owner's eyes, in a folder that does not grow for ever.

    Args:
        folder: where; what is older than two weeks is removed when the first is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = -1
        self._bytes = 0

    async def keep(self, data: str, media_type: str) -> Path:
        """Write what came in base64 into a file of its own, and return its path.

        Raises:
            OSError: it cannot be written, or the folder is full.
            ValueError: it is not base64.
        """
        return await to_thread.run_sync(self._keep, data, media_type)

    def _keep(self, data: str, media_type: str) -> Path:
        content = base64.b64decode(data, validate=True)
        if self._files < 0:
            self._begin()
        if self._files >= _MOST_FILES or self._bytes + len(content) > _MOST_BYTES:
            raise OSError(f"{self._folder} is full")
        # The server names a type, never a file: the ending is one that this machine knows.
        ending = mimetypes.guess_extension(media_type.partition(";")[0].strip().lower()) or ".bin"
        path = self._folder / f"{uuid4().hex[:12]}{ending}"
        path.touch(mode=0o600)
        path.write_bytes(content)
        self._files += 1
        self._bytes += len(content)
        return path

    def _begin(self) -> None:
        """Make the folder, remove what is old, and count what is left."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files = self._bytes = 0
        for path in self._folder.iterdir():
            with suppress(OSError):  # somebody else was quicker
                found = path.stat()
                if time.time() - found.st_mtime > _KEPT_SECONDS:
                    path.unlink()
                else:
                    self._files += 1
                    self._bytes += found.st_size
