"""The pipes to a server that we start: bounded, forgiving, and never leaving a process behind.

The SDK's own transport splits lines in quadratic time, ends the session at a byte that is not
UTF-8, has no limit for a message, and leaves grandchildren alive.
"""

import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCRequest

from agentkit.mcp._diary import Diary
from agentkit.mcp._launch import MARK, Launch
from agentkit.mcp._lines import LineSplitter, Oversized
from agentkit.mcp._process import stop_tree
from agentkit.mcp._wire import error_answer, from_oversized, parse_line

_CHUNK_BYTES = 65_536
_OUTGOING = 64
"""Messages that may wait for a server that does not read; a notice of cancellation needs room."""

_ENDLESS_BYTES = 128 * 1024 * 1024
"""A line of this length will not end: the connection is dropped."""

_LAST_WORDS_SECONDS = 0.3

_Incoming = MemoryObjectSendStream[SessionMessage | Exception]
_Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@dataclass(slots=True)
class Pipes:
    """How a server is started and what becomes of it.

    Attributes:
        launch: what is started.
        max_message_bytes: longest message.
        diary: takes what the server says on stderr, and on stdout beside the protocol.
        on_end: called when nothing more will come.
        exit_code: once the process is gone; negative for a signal.
    """

    launch: Launch
    max_message_bytes: int
    diary: Diary
    on_end: Callable[[], None]
    exit_code: int | None = field(default=None, init=False)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[_Streams]:
        """Start the server and hand out its messages; on leaving, end it with all it started.

        Raises:
            OSError: it cannot be started.
        """
        process = await _start(self.launch)
        to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](16)
        to_server, outgoing = anyio.create_memory_object_stream[SessionMessage](_OUTGOING)
        said_all = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, process, to_session)
            tasks.start_soon(self._write, process, outgoing, to_session)
            tasks.start_soon(self._listen, process, said_all)
            try:
                yield incoming, to_server
            finally:
                incoming.close()
                to_server.close()
                # A cancelled caller must not leak the process; each wait inside is bounded.
                with anyio.CancelScope(shield=True):
                    await stop_tree(process, self.launch.env[MARK])
                    self.exit_code = process.returncode
                    with anyio.move_on_after(_LAST_WORDS_SECONDS):
                        await said_all.wait()
                    tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await _release(process)

    async def _read(self, process: Process, deliver: _Incoming) -> None:
        assert process.stdout is not None  # noqa: S101 - opened with a pipe
        splitter = LineSplitter(self.max_message_bytes)
        endless = max(_ENDLESS_BYTES, self.max_message_bytes)
        async with deliver:
            try:
                while splitter.pending <= endless:
                    chunk = await process.stdout.receive(_CHUNK_BYTES)
                    for line in splitter.feed(chunk):
                        await self._deliver(line, deliver)
                self.diary.note(b"[agentkit: a line without end; the connection was dropped]\n")
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the server is gone, or the session is
            finally:
                self.on_end()

    async def _deliver(self, line: bytes | Oversized, deliver: _Incoming) -> None:
        if isinstance(line, Oversized):
            messages = from_oversized(line, self.max_message_bytes)
        else:
            messages = parse_line(line)
        if messages is None:
            beside = line.head[:200] if isinstance(line, Oversized) else line
            self.diary.note(beside + b"\n")
            return
        for message in messages:
            await deliver.send(SessionMessage(message))

    async def _write(
        self,
        process: Process,
        outgoing: MemoryObjectReceiveStream[SessionMessage],
        deliver: _Incoming,
    ) -> None:
        assert process.stdin is not None  # noqa: S101 - opened with a pipe
        async with outgoing:
            try:
                async for item in outgoing:
                    data = _encode(item)
                    if data is not None:
                        await process.stdin.send(data)
                    elif isinstance(item.message, JSONRPCRequest):
                        answer = error_answer(item.message.id, "The request cannot be encoded.")
                        await deliver.send(SessionMessage(answer))
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                deliver.close()  # it has closed its input: nothing can be asked any more
                self.on_end()

    async def _listen(self, process: Process, said_all: anyio.Event) -> None:
        assert process.stderr is not None  # noqa: S101 - opened with a pipe
        stderr: ByteReceiveStream = process.stderr
        try:
            while True:
                await self.diary.add(await stderr.receive(_CHUNK_BYTES))
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            said_all.set()


async def _start(launch: Launch) -> Process:
    # Cancelled halfway, the process would run and nobody know of it. Starting is bounded.
    with anyio.CancelScope(shield=True):
        return await anyio.open_process(
            launch.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=launch.env,
            cwd=launch.cwd,
            start_new_session=True,
        )
    raise AssertionError("a shielded scope is never cancelled")


def _encode(item: SessionMessage) -> bytes | None:
    try:
        return item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError:  # half a surrogate pair, in arguments that a model wrote
        return None


async def _release(process: Process) -> None:
    """Close the pipes; a descendant that we could not find may still hold the other ends."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            await stream.aclose()
    # asyncio's own transport stays open until every pipe has ended, and warns when collected.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        transport.close()
