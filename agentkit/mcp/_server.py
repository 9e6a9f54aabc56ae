"""One server for the length of a session: calls go through, crashes are mended within bounds."""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from math import inf, isfinite
from typing import Any, TypeAlias, TypeVar, cast

import anyio
from anyio import to_thread
from jsonschema.protocols import Validator
from mcp import Client, MCPError
from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT, CallToolResult, RequestParamsMeta

from agentkit.errors import (
    OutcomeUnknownError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from agentkit.mcp._config import ServerConfig
from agentkit.mcp._connection import Connection
from agentkit.mcp._http import STAND_INS, Refusal, refusals
from agentkit.mcp._listing import Listing
from agentkit.mcp._oauth_account import account_of
from agentkit.mcp._offer import Offer, examine
from agentkit.mcp._pins import Pins
from agentkit.mcp._result import render
from agentkit.mcp._state import Difference
from agentkit.mcp._surroundings import Surroundings
from agentkit.mcp._text import one_line
from agentkit.messages import JsonObject
from agentkit.protocols import current_call
from agentkit.resilience import deadline

T = TypeVar("T")

_RESTARTS = 5
_WINDOW_SECONDS = 300.0
_FIRST_DELAY = 0.5
_MAX_DELAY = 8.0
_OBITUARY_SECONDS = 4.0
_CUT_OFF_SECONDS = 0.2
_LONGEST_ERROR = 100_000
_TELL_SECONDS = 0.1
"""Between two reports on how far a call is; what comes in between is left out."""


Spawn: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
"""Starts a task that outlives the call which asked for it."""


class Server:
    """Holds the connection of the moment and replaces it when it has ended.

    A call that was under way when the connection ended is never repeated: nobody knows what it
    has done. The next call starts the server again, at most 5 times in 5 minutes.

    Attributes:
        offer: its tools, as it listed them last; empty before it was ever open.
        listing: what that was made of.
        restarts: how often it was started again because it had ended by itself.
    """

    def __init__(
        self,
        config: ServerConfig,
        around: Surroundings,
        spawn: Spawn,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        clocks = around.timeouts
        self.call_seconds = clocks.mcp_call if config.call_seconds is None else config.call_seconds
        self._connect_seconds = (
            clocks.mcp_connect if config.connect_seconds is None else config.connect_seconds
        )
        self.pins = None if around.pins_dir is None else Pins(around.pins_dir, config)
        self._account = account_of(config, around.oauth_dir, around.visitor)
        self._redact = config.redact if self._account is None else self._account.redact
        self.offer = Offer()
        self.listing = Listing()
        self.restarts = 0
        self._around = around
        self._spawn = spawn
        self._on_change = on_change
        self._recent: deque[float] = deque(maxlen=_RESTARTS)
        self._busy = 0
        self._used = anyio.current_time()
        self._tokens = 0
        self._connection = self._started()

    @property
    def connection(self) -> Connection:
        """The connection of the moment, open or not."""
        return self._connection

    def connect_again(self) -> Connection:
        """Begin anew where nobody has asked for it, and return the connection to be."""
        self._connection = self._started()
        return self._connection

    async def call(self, tool: str, arguments: JsonObject, promised: Validator | None) -> str:
        """Run a tool, by the server's own name.

        Raises:
            ToolError: it failed, took too long, or the server is gone.
        """
        late = ToolTimeoutError(
            f"{tool} of the MCP server {self.config.name!r} took longer than "
            f"{self.call_seconds or 0:g} s and was cancelled; what it has done is unknown."
        )
        try:
            with deadline(self.call_seconds, late):
                result = await self._ask(partial(self._call, tool, arguments))
                text = await render(
                    result,
                    limit=self.config.max_result_chars,
                    promised=promised,
                    media=self._around.media,
                )
        except ToolError as error:
            error.args = (self._redact(str(error)),)
            raise
        return self._redact(text)

    async def request(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the server for something else than a call.

        Raises:
            ToolError: it failed, took too long, or the server is gone.
        """

        async def asked(connection: Connection, client: Client) -> T:  # noqa: ARG001
            return await ask(client)

        late = self._error(f"it did not answer within {self.call_seconds or 0:g} s.")
        with deadline(self.call_seconds, late):
            return await self._ask(asked)

    async def sleep_when_idle(self, seconds: float) -> None:
        """End the server whenever nobody has asked it for so long; the next call starts it."""
        while True:
            await anyio.sleep_until(self._used + seconds)
            idle = not self._busy and self._used + seconds <= anyio.current_time()
            if idle and self._connection.usable and self._connection.client is not None:
                self._connection.asleep = True
                self._connection.end()
            if idle or self._busy:
                self._used = anyio.current_time()

    async def _ask(self, do: Callable[[Connection, Client], Awaitable[T]]) -> T:
        self._busy += 1
        try:
            return await self._asked(do)
        finally:
            self._busy -= 1
            self._used = anyio.current_time()

    async def _asked(self, do: Callable[[Connection, Client], Awaitable[T]]) -> T:
        connection = await self._open_connection()
        client = connection.client
        if client is None:  # it has ended since; nothing was sent
            raise ToolUnavailableError(self._said(f"it ended: {await _obituary(connection)}"))
        refused: list[Refusal] = []
        token = refusals.set(refused)
        try:
            return await do(connection, client)
        except MCPError as error:
            raise await self._translated(error, connection, refused) from error
        except (ValueError, RuntimeError, OSError, anyio.BrokenResourceError) as error:
            # An answer against the protocol, or a server that asks back without end.
            raise self._error(self._brief(str(error)) or type(error).__name__) from error
        finally:
            refusals.reset(token)

    async def _call(
        self, tool: str, arguments: JsonObject, connection: Connection, client: Client
    ) -> CallToolResult:
        why = self.offer.refusal(tool)  # it may have been started anew, and offer something else
        if why:
            raise self._error(f"{tool} cannot be called: {why}.")
        self._tokens += 1
        token = self._tokens
        call = current_call()
        if call is not None:
            connection.gate.progress[token] = _Throttled(call.report)
        try:
            return await client.call_tool(tool, arguments, meta=_meta(token))
        finally:
            connection.gate.progress.pop(token, None)

    async def _translated(
        self, error: MCPError, connection: Connection, refused: list[Refusal]
    ) -> ToolError:
        if refused and (refused[-1].is_plain or error.message in STAND_INS):
            return self._refused(refused[-1], connection)
        if error.code == CONNECTION_CLOSED and self.config.url and not connection.speaks_sse:
            return await self._cut_off(error, connection)
        if error.code == CONNECTION_CLOSED:
            return await self._lost(connection)
        if error.code == REQUEST_TIMEOUT:
            return ToolTimeoutError(self._said(self._brief(error.message)))
        return self._error(self._brief(error.message))

    def _refused(self, refusal: Refusal, connection: Connection) -> ToolError:
        """Say what a refusal means: the call has done nothing, and may be worth another try."""
        if refusal.why:
            return self._error(f"{refusal.why}. {refusal.hint}")
        said = self._said(f"it refused: {refusal.explain()}.")
        if refusal.status == 404:
            connection.end()  # the session is gone: the next one takes the call
            return ToolUnavailableError(said)
        if not refusal.is_for_now:
            return ToolError(said)
        later = ToolUnavailableError(said)
        later.retry_after = refusal.seconds
        return later

    async def _lost(self, connection: Connection) -> ToolError:
        return OutcomeUnknownError(
            self._said(
                f"it ended during the call: {await _obituary(connection)} "
                "What the call has done is unknown. The next call starts the server again."
            )
        )

    async def _cut_off(self, error: MCPError, connection: Connection) -> ToolError:
        """Tell of an HTTP answer that broke off; if the connection goes too, it goes by itself."""
        with anyio.move_on_after(_CUT_OFF_SECONDS):
            await connection.ended.wait()
        what = self._brief(error.message).rstrip(".")
        return OutcomeUnknownError(self._said(f"{what}. What the call has done is unknown."))

    def _brief(self, text: str) -> str:
        """Return what a server says in one line; secrets are hidden first, while they are whole."""
        return one_line(self._redact(text[:_LONGEST_ERROR]), 500)

    def _error(self, what: str) -> ToolError:
        return ToolError(self._said(what))

    def _said(self, what: str) -> str:
        return f"MCP server {self.config.name!r}: {self._redact(what)}"

    async def _open_connection(self) -> Connection:
        ended = self._connection
        if ended.asleep:
            self._connection = self._started()
        elif not ended.usable:
            await self._restart(ended)
        connection = self._connection
        if not connection.opened.is_set():
            await connection.opened.wait()
        if connection.failure is not None:
            raise self._error(f"it could not be started again: {connection.failure}")
        return connection

    async def _restart(self, ended: Connection) -> None:
        now = anyio.current_time()
        recent = [at for at in self._recent if at > now - _WINDOW_SECONDS]
        if len(recent) >= _RESTARTS:
            wait = recent[0] + _WINDOW_SECONDS - now
            raise self._error(
                f"it has ended {_RESTARTS} times in {_WINDOW_SECONDS / 60:g} minutes and is left "
                f"alone for {wait:.0f} s. Go on without it."
            )
        if recent:
            pause = min(_MAX_DELAY, _FIRST_DELAY * 2.0 ** (len(recent) - 1))
            await anyio.sleep_until(recent[-1] + pause)
        if self._connection is ended:  # nobody else was quicker
            self._recent.append(anyio.current_time())
            self.restarts += 1
            self._connection = self._started()

    def _started(self) -> Connection:
        connection = Connection(
            self.config,
            self._around,
            self._learn,
            self._account,
            connect_seconds=self._connect_seconds,
            call_seconds=self.call_seconds,
        )
        self._spawn(connection.run)
        return connection

    async def _learn(self, listing: Listing) -> None:
        if listing != self.listing:
            await self._examine(listing)

    async def _examine(self, listing: Listing) -> None:
        self.offer = await to_thread.run_sync(examine, self.config, listing, self.pins)
        self.listing = listing
        self._on_change()

    @property
    def protocol(self) -> str:
        """The revision that is spoken with it, as far as it is known."""
        return self._connection.protocol

    async def review(self, listing: Listing) -> tuple[Difference, ...]:
        """Return what of a list is not as it was approved."""
        if self.pins is None:
            return ()
        return await to_thread.run_sync(self.pins.differences, listing)

    async def approve(self, listing: Listing) -> None:
        """Approve a list; what it offers by now may be another one.

        Raises:
            OSError: it cannot be written down.
        """
        if self.pins is not None:
            await to_thread.run_sync(self.pins.approve, listing)
            await self._examine(self.listing)


async def _obituary(connection: Connection) -> str:
    """Return how a connection ended; it may still be at it."""
    connection.end()
    with anyio.move_on_after(_OBITUARY_SECONDS):
        await connection.ended.wait()
    return connection.obituary()


class _Throttled:
    """Hands on how far a call is, but not each word of a server that tells it all the time."""

    def __init__(self, report: Callable[[float, float | None, str], None]) -> None:
        self._report = report
        self._next = -inf

    def __call__(self, done: float, total: float | None, text: str) -> None:
        now = anyio.current_time()
        if now >= self._next and isfinite(done):
            self._next = now + _TELL_SECONDS
            self._report(done, total, one_line(text))


def _meta(token: int) -> RequestParamsMeta | None:
    """Return what goes with a call: its key, and the seconds within which it is waited for."""
    call = current_call()
    if call is None:
        return None
    left = anyio.current_effective_deadline() - anyio.current_time()
    meta: JsonObject = {"agentkit/idempotencyKey": call.key, "progressToken": token}
    if isfinite(left):
        meta["agentkit/secondsLeft"] = round(max(0.0, left), 3)
    return cast("RequestParamsMeta", meta)
