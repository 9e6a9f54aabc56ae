"""Frames on their way out of the host, from any number of tasks over one descriptor."""

import os

import anyio

from agentkit.messages import JsonObject
from agentkit.sandbox._frames import pack


class Outbox:
    """Sends frames whole, in the order of the calls of `send`.

    The rest of a frame whose sending was cancelled goes with the next one.
    """

    def __init__(self) -> None:
        self._unsent = bytearray()
        self._sending = anyio.Lock()

    async def send(self, fd: int, frame: JsonObject) -> None:
        """Send a frame; that nobody is there to read it is noticed by who reads the answer.

        Args:
            fd: of a socket or a pipe, that does not block.
            frame: what is sent.
        """
        self._unsent += pack(frame)
        await self.flush(fd)

    async def flush(self, fd: int) -> None:
        """Send what is left of frames whose sending was cancelled."""
        async with self._sending:
            while self._unsent:
                try:
                    del self._unsent[: os.write(fd, self._unsent)]
                except BlockingIOError:
                    await anyio.wait_writable(fd)
                except OSError:
                    return
