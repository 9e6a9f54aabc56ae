"""One connection to one server: a single task opens it, waits, and closes it."""

import math
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import cast
from uuid import uuid4

import anyio
from anyio import to_thread
from anyio.lowlevel import current_token
from mcp import Client, MCPError
from mcp.types import CONNECTION_CLOSED, METHOD_NOT_FOUND, Implementation

from agentkit.errors import McpServerError
from agentkit.mcp._config import ServerConfig
from agentkit.mcp._diary import Diary
from agentkit.mcp._gate import Gate, Sink, Source
from agentkit.mcp._http import Refusal, open_http, open_sse, refusals
from agentkit.mcp._launch import plan_launch
from agentkit.mcp._process import describe_exit
from agentkit.mcp._stdio import Pipes
from agentkit.mcp._text import one_line

_CLOSE_SECONDS = 5.0
"""For an HTTP server to take leave; a process has clocks of its own, which are shielded."""

_OURSELVES = Implementation(name="agentkit", version=version("qwen-agentkit"))
_MAX_PAGES = 50
_MAX_TOOLS = 1000
_SPARE_SECONDS = 5.0
"""A silent HTTP answer is given up this much after the call that waits for it."""


class Connection:
    """Opens, waits until it is told to end, closes; all within `run`.

    The SDK's client must be left by the task that entered it, and a reset of one request cancels
    all that its block contains. So nothing else is in that block, and callers use `client` from
    their own tasks.

    Attributes:
        client: to call through; `None` before it is open and after it has ended.
        failure: why it could not be opened.
        gate: what the server has said of its tools.
        opened: it is open, or has failed.
        ended: nothing is left of it.
    """

    def __init__(
        self,
        config: ServerConfig,
        environ: Mapping[str, str],
        *,
        connect_seconds: float | None,
        call_seconds: float | None,
        log: Path | None = None,
    ) -> None:
        self._config = config
        self._environ = environ
        self._connect_seconds = connect_seconds
        self._call_seconds = call_seconds
        self._diary = Diary(log, config.redact)
        self._pipes: Pipes | None = None
        self._transport_kind = config.transport
        self._stop = anyio.Event()
        self._clock = anyio.CancelScope()
        self._refusals: list[Refusal] = []
        self.client: Client | None = None
        self.failure: McpServerError | None = None
        self.gate = Gate()
        self.opened = anyio.Event()
        self.ended = anyio.Event()

    @property
    def usable(self) -> bool:
        """Whether calls may go through it, or wait for it to open."""
        return not self._stop.is_set() and self.failure is None

    def end(self) -> None:
        """Ask it to end, open or not; returns at once."""
        self._stop.set()
        if not self.opened.is_set():
            self._clock.cancel()

    async def run(self) -> None:
        """Open, wait, close; never raises but for a cancellation from outside."""
        refusals.set(self._refusals)
        try:
            if not await self._managed() and self._may_speak_sse():
                failure, self.failure = self.failure, None
                self._transport_kind, self._clock, self.gate = "sse", anyio.CancelScope(), Gate()
                if not await self._managed():
                    self.failure = failure  # the first tells more
        finally:
            self.client = None
            self._stop.set()
            self.opened.set()
            self.ended.set()

    async def _managed(self) -> bool:
        """Open, wait, close; return whether it was ever open."""
        try:
            await self._open_and_wait()
        except Exception as error:  # the SDK raises whatever its transports raise, in groups
            self.failure = self.failure or self._explained(error)
        return self.opened.is_set()

    def _may_speak_sse(self) -> bool:
        """Tell whether a server of the old kind would have refused like this."""
        refused = self._refusals[-1].status if self._refusals else 0
        unknown = bool(self._config.url) and not self._transport_kind
        return unknown and refused in {404, 405} and not self._stop.is_set()

    @property
    def speaks_sse(self) -> bool:
        """Whether all answers come in one stream: if that ends, no call has an answer any more."""
        return self._transport_kind == "sse"

    async def _open_and_wait(self) -> None:
        seconds = self._connect_seconds
        # One scope with a moving end: it must be left by the task and in the order it was entered.
        with self._clock as clock:
            clock.deadline = math.inf if seconds is None else anyio.current_time() + seconds
            transport = await self._transport()
            # Its own clock stays off: it starts only once a request is written, which a server
            # that does not read can put off for ever. Every request here is within one of ours.
            async with Client(
                self.gate.around(transport), client_info=_OURSELVES, cache=None
            ) as client:
                await self._list_tools(client)
                self.client = client
                clock.deadline = math.inf
                self.opened.set()
                await self._stop.wait()
                self.client = None
                clock.deadline = anyio.current_time() + _CLOSE_SECONDS
        if clock.cancelled_caught and not self.opened.is_set():
            self.failure = McpServerError(
                f"it did not answer within {seconds or 0:g} s.{self._last_words()}",
                hint="Raise 'connectSeconds' if it is slow to start.",
            )

    async def _transport(self) -> AbstractAsyncContextManager[tuple[Source, Sink]]:
        config = self._config
        if self.speaks_sse:
            return open_sse(
                config.url,
                config.headers,
                max_message_bytes=config.max_message_bytes,
                on_refusal=self.end,
            )
        if config.url:
            spare = None if self._call_seconds is None else self._call_seconds + _SPARE_SECONDS
            return open_http(
                config.url,
                config.headers,
                read_seconds=spare,
                max_message_bytes=config.max_message_bytes,
            )
        forked_here = current_token().backend_class.__module__.endswith("_asyncio")
        plan = partial(plan_launch, config, self._environ, uuid4().hex, forked_here=forked_here)
        launch = await to_thread.run_sync(plan)
        self._pipes = Pipes(launch, config.max_message_bytes, self._diary, self._stop.set)
        return self._pipes.open()

    async def _list_tools(self, client: Client) -> None:
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            try:
                page = await client.list_tools(cursor=cursor)
            except MCPError as error:
                if error.code == METHOD_NOT_FOUND and not self._refusals:
                    return  # a server of prompts and resources alone
                raise
            cursor = page.next_cursor
            if cursor is None:
                return
            if cursor in seen or len(self.gate.tools) >= _MAX_TOOLS:
                break
            seen.add(cursor)
        self.gate.notes.append("its list of tools does not end; what came until then is used")

    def _explained(self, error: Exception) -> McpServerError:
        first = _first(error)
        if isinstance(first, McpServerError):
            return first
        if isinstance(first, MCPError) and first.code == CONNECTION_CLOSED and self._pipes:
            what = f"it ended before it was ready ({describe_exit(self._pipes.exit_code)})"
        elif self._refusals:
            what = f"it refused: {self._refusals[-1].explain()}"
        else:
            what = f"{one_line(str(first)) or type(first).__name__}"
        explained = McpServerError(self._config.redact(f"{what}.{self._last_words()}"))
        explained.hint = self._advice()
        explained.__cause__ = error
        return explained

    def _advice(self) -> str:
        if self._refusals and self._refusals[-1].status in {401, 403}:
            return "Check 'headers' of this server."
        if self._config.url:
            return f"Check that a server listens at {self._config.target}."
        return f"Try it by hand: {self._config.target}"

    def _last_words(self) -> str:
        words = self._diary.tail()
        return f" It said: {words}" if words else ""

    def obituary(self) -> str:
        """Return how it ended, in words; meaningful once `ended` is set."""
        if self._pipes is None:
            return "the connection was lost"
        return f"{describe_exit(self._pipes.exit_code)}.{self._last_words()}"


def _first(error: BaseException) -> BaseException:
    """Return the first single error of nested groups."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _first(group.exceptions[0])
