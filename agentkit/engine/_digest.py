"""The SHA-256 of a file, counted as it is read."""

import hashlib
from pathlib import Path

from anyio import from_thread

_CHUNK = 4 * 1024 * 1024


class Digest:
    """Reads a file in a worker thread; `done` may be read meanwhile.

    Attributes:
        done: bytes read so far.
    """

    def __init__(self) -> None:
        self.done = 0

    def read(self, path: Path) -> str:
        """Return the hash in hex; stops when the task that waits for it is cancelled."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                from_thread.check_cancelled()
                digest.update(chunk)
                self.done += len(chunk)
        return digest.hexdigest()
