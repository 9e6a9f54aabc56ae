"""The pipes to a server that we start: bounded, forgiving, and never leaving a process behind.

The SDK's own transport splits lines in quadratic time, ends the session at a byte that is not
UTF-8, has no limit for a message, and leaves grandchildren alive.
"""

import subprocess
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from agentkit.mcp._diary import Diary
from agentkit.mcp._launch import MARK, Launch
from agentkit.mcp._lines import LineSplitter, Oversized
from agentkit.mcp._process import stop_tree
from agentkit.mcp._wire import from_oversized, parse_line

_CHUNK_BYTES = 65_536
_JUNK_AT_ONCE = 100
_OUTGOING = 64
"""Messages that may wait for a server that does not read; a notice of cancellation needs room."""

_ENDLESS_BYTES = 128 * 1024 * 1024
"""A line of this length will not end: the connection is dropped."""

_LAST_WORDS_SECONDS = 0.3


@dataclass(slots=True)
class Pipes:
    """How a server is started and what becomes of it.

    Attributes:
        launch: what is started.
        max_message_bytes: longest message.
        diary: takes what the server says on stderr, and on stdout beside the protocol.
        on_end: called when nothing more will come.
        grace_seconds: for it to leave by itself, and again once it was told to.
        exit_code: once the process is gone; negative for a signal.
    """

    launch: Launch
    max_message_bytes: int
    diary: Diary
    on_end: Callable[[], None]
    grace_seconds: float
    exit_code: int | None = field(default=None, init=False)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[tuple["_FromServer", "_ToServer"]]:
        """Start the server and hand out its messages; on leaving, end it with all it started.

        Raises:
            OSError: it cannot be started.
        """
        await self.diary.begin()
        process = await _start(self.launch)
        to_server, outgoing = anyio.create_memory_object_stream[bytes](_OUTGOING)
        said_all = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, process, outgoing)
            tasks.start_soon(self._listen, process, said_all)
            try:
                yield _FromServer(process, self), _ToServer(to_server)
            finally:
                to_server.close()
                # A server that is stuck writing does not notice that its input has ended.
                tasks.start_soon(_drain, process)
                # A cancelled caller must not leak the process; each wait inside is bounded.
                with anyio.CancelScope(shield=True):
                    await stop_tree(process, self.launch.env[MARK], self.grace_seconds)
                    self.exit_code = process.returncode
                    with anyio.move_on_after(_LAST_WORDS_SECONDS):
                        await said_all.wait()
                    tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await _release(process)

    async def _write(self, process: Process, outgoing: MemoryObjectReceiveStream[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - opened with a pipe
        async with outgoing:
            try:
                async for data in outgoing:
                    await process.stdin.send(data + _waiting(outgoing))
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self.on_end()  # it has closed its input: nothing can be asked any more

    async def _listen(self, process: Process, said_all: anyio.Event) -> None:
        assert process.stderr is not None  # noqa: S101 - opened with a pipe
        stderr: ByteReceiveStream = process.stderr
        try:
            while True:
                await self.diary.add(await stderr.receive(_CHUNK_BYTES))
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            # Cancelled or not, the line without end is often the one that says why.
            with anyio.CancelScope(shield=True):
                await self.diary.finish()
            said_all.set()


class _FromServer:
    """Reads messages in the task that wants them: a task of its own would double the switching."""

    def __init__(self, process: Process, pipes: Pipes) -> None:
        assert process.stdout is not None  # noqa: S101 - opened with a pipe
        self._stdout = process.stdout
        self._pipes = pipes
        self._splitter = LineSplitter(pipes.max_message_bytes)
        self._endless = max(_ENDLESS_BYTES, pipes.max_message_bytes)
        self._lines: deque[bytes | Oversized] = deque()
        self._ready: deque[SessionMessage] = deque()

    async def receive(self) -> SessionMessage:
        """Wait for the next message.

        Raises:
            anyio.EndOfStream: there will be no more.
        """
        taken = 0
        while not self._ready:
            if self._lines:  # one at a time: a chunk may hold more than the loop has time for
                self._take(self._lines.popleft())
                taken += 1
                if taken % _JUNK_AT_ONCE == 0:
                    await checkpoint()
            else:
                await self._read()
        return self._ready.popleft()

    async def _read(self) -> None:
        try:
            chunk = await self._stdout.receive(_CHUNK_BYTES)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._pipes.on_end()
            raise anyio.EndOfStream from None
        self._lines.extend(self._splitter.feed(chunk))
        if self._splitter.pending > self._endless:
            self._pipes.diary.note(b"[agentkit: a line without end; connection dropped]")
            self._pipes.on_end()
            raise anyio.EndOfStream

    def _take(self, line: bytes | Oversized) -> None:
        if isinstance(line, Oversized):
            messages = from_oversized(line, self._pipes.max_message_bytes)
        else:
            messages = parse_line(line)
        if messages is not None:
            self._ready.extend(SessionMessage(message) for message in messages)
        else:
            beside = line.head[:200] if isinstance(line, Oversized) else line
            self._pipes.diary.note(beside)

    async def aclose(self) -> None:
        """Nothing to do: the pipe is closed with the process."""


class _ToServer:
    """Encodes in the task that asks, so that what cannot be encoded fails there."""

    def __init__(self, queue: MemoryObjectSendStream[bytes]) -> None:
        self._queue = queue

    async def send(self, item: SessionMessage, /) -> None:
        """Hand a message to the writer.

        Raises:
            ValueError: it cannot be encoded: half a surrogate pair, in what a model wrote.
        """
        text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        await self._queue.send(text.encode() + b"\n")

    async def aclose(self) -> None:
        """Let the writer end."""
        self._queue.close()


def _waiting(outgoing: MemoryObjectReceiveStream[bytes]) -> bytes:
    """Return what else is to be written: of many calls at once, one write is the cheapest."""
    found: list[bytes] = []
    with suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            found.append(outgoing.receive_nowait())
    return b"".join(found)


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


async def _drain(process: Process) -> None:
    assert process.stdout is not None  # noqa: S101 - opened with a pipe
    try:
        while True:
            await process.stdout.receive(_CHUNK_BYTES)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


async def _release(process: Process) -> None:
    """Close the pipes; a descendant that we could not find may still hold the other ends."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            await stream.aclose()
    # asyncio's own transport stays open until every pipe has ended, and warns when collected.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        transport.close()
