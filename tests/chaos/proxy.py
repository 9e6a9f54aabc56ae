"""A TCP proxy that does to connections what networks do to them."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

Toxic: TypeAlias = Literal[
    "pass", "latency", "cut", "reset", "blackhole", "half_close", "corrupt", "refuse", "slow"
]
"""What happens to a connection.

- pass: nothing.
- latency: each piece of the answer comes `seconds` late.
- cut: the connection is closed in good order after `after` bytes of the answer.
- reset: it is reset after `after` bytes of the answer.
- blackhole: the request is taken, and nothing ever comes back.
- half_close: after `after` bytes of the answer nothing more comes, and the connection stays open.
- corrupt: one byte of the answer, the one at `after`, is another one.
- refuse: it is closed as soon as it has been made.
- slow: the answer comes in pieces of a few bytes.
"""


@dataclass(frozen=True)
class Plan:
    """The fate of one connection."""

    toxic: Toxic = "pass"
    after: int = 0
    seconds: float = 0.0


class Proxy:
    """Passes connections on to `port`, each as `plan` says: it is asked with their number.

    >>> Proxy(1).port
    0
    """

    def __init__(self, port: int, plan: Callable[[int], Plan] = lambda _: Plan()) -> None:
        self.port = 0
        self.plan = plan
        self.connections = 0
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        await self.drop()

    async def drop(self) -> None:
        """Close all connections there are."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(
            self._carry(reader, writer, self.plan(self.connections))
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: Plan
    ) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            if plan.toxic == "refuse":
                return
            back, onward = await asyncio.open_connection("127.0.0.1", self._target)
            up = asyncio.create_task(_pump(reader, onward))
            try:
                await self._answer(back, writer, plan)
            finally:
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
        except OSError:
            pass  # one side has gone
        finally:
            for end in filter(None, (writer, onward)):
                end.close()
            for end in filter(None, (writer, onward)):
                with suppress(OSError):
                    await end.wait_closed()

    async def _answer(
        self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: Plan
    ) -> None:
        sent = 0
        while data := await back.read(65_536):
            if plan.toxic == "blackhole":
                continue
            if plan.toxic == "latency":
                await asyncio.sleep(plan.seconds)
            if plan.toxic in {"cut", "reset", "half_close"} and sent + len(data) >= plan.after:
                writer.write(data[: plan.after - sent])
                await writer.drain()
                await _end(writer, plan.toxic)
                return
            if plan.toxic == "corrupt" and sent <= plan.after < sent + len(data):
                at = plan.after - sent
                data = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
            await _write(writer, data, 7 if plan.toxic == "slow" else len(data))
            sent += len(data)


async def _write(writer: asyncio.StreamWriter, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        writer.write(data[at : at + size])
        await writer.drain()
        await asyncio.sleep(0)


async def _end(writer: asyncio.StreamWriter, toxic: Toxic) -> None:
    if toxic == "half_close":
        await asyncio.get_running_loop().create_future()  # until the proxy is closed
    if toxic == "reset":
        ours: socket.socket | None = writer.get_extra_info("socket")
        if ours is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
