"""One server for the length of a session: calls go through, crashes are mended within bounds."""

from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias, cast

import anyio
from jsonschema.protocols import Validator
from mcp import MCPError
from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT, CallToolResult, RequestParamsMeta

from agentkit.errors import (
    OutcomeUnknownError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from agentkit.mcp._config import ServerConfig
from agentkit.mcp._connection import Connection
from agentkit.mcp._http import Refusal, refusals
from agentkit.mcp._result import render
from agentkit.mcp._text import one_line
from agentkit.messages import JsonObject
from agentkit.policies import Timeouts
from agentkit.protocols import current_call
from agentkit.resilience import deadline

_RESTARTS = 5
_WINDOW_SECONDS = 300.0
_FIRST_DELAY = 0.5
_MAX_DELAY = 8.0
_OBITUARY_SECONDS = 4.0
_CUT_OFF_SECONDS = 0.2


Spawn: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
"""Starts a task that outlives the call which asked for it."""


class Server:
    """Holds the connection of the moment and replaces it when it has ended.

    A call that was under way when the connection ended is never repeated: nobody knows what it
    has done. The next call starts the server again, at most 5 times in 5 minutes.
    """

    def __init__(
        self,
        config: ServerConfig,
        timeouts: Timeouts,
        spawn: Spawn,
        environ: Mapping[str, str],
        log: Path | None,
    ) -> None:
        self.config = config
        self.call_seconds = (
            timeouts.mcp_call if config.call_seconds is None else config.call_seconds
        )
        self._connect_seconds = (
            timeouts.mcp_connect if config.connect_seconds is None else config.connect_seconds
        )
        self._spawn = spawn
        self._environ = environ
        self._log = log
        self._restarts: deque[float] = deque(maxlen=_RESTARTS)
        self._connection = self._started()

    @property
    def connection(self) -> Connection:
        """The connection of the moment, open or not."""
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
        with deadline(self.call_seconds, late):
            result = await self._ask(tool, arguments)
        return render(result, limit=self.config.max_result_chars, promised=promised)

    async def _ask(self, tool: str, arguments: JsonObject) -> CallToolResult:
        connection = await self._open_connection()
        client = connection.client
        if client is None:
            raise await self._lost(connection)
        refused: list[Refusal] = []
        token = refusals.set(refused)
        try:
            return await client.call_tool(tool, arguments, meta=_meta())
        except MCPError as error:
            raise await self._translated(error, connection, refused) from error
        except (ValueError, RuntimeError, OSError, anyio.BrokenResourceError) as error:
            # An answer against the protocol, or a server that asks back without end.
            raise self._error(one_line(str(error)) or type(error).__name__) from error
        finally:
            refusals.reset(token)

    async def _translated(
        self, error: MCPError, connection: Connection, refused: list[Refusal]
    ) -> ToolError:
        if refused:
            said = self._said(refused[-1].explain())
            if refused[-1].status != 404:
                return ToolError(said)
            connection.end()
            return ToolUnavailableError(said)  # the session is gone: the next one takes the call
        if error.code == CONNECTION_CLOSED and self.config.url and not connection.speaks_sse:
            return await self._cut_off(error, connection)
        if error.code == CONNECTION_CLOSED:
            return await self._lost(connection)
        if error.code == REQUEST_TIMEOUT:
            return ToolTimeoutError(self._said(error.message))
        return self._error(one_line(error.message, 1000))

    async def _lost(self, connection: Connection) -> ToolError:
        connection.end()
        with anyio.move_on_after(_OBITUARY_SECONDS):
            await connection.ended.wait()
        return OutcomeUnknownError(
            self._said(
                f"it ended during the call: {connection.obituary()} "
                "What the call has done is unknown. The next call starts the server again."
            )
        )

    async def _cut_off(self, error: MCPError, connection: Connection) -> ToolError:
        """Tell of an HTTP answer that broke off; if the connection goes too, it goes by itself."""
        with anyio.move_on_after(_CUT_OFF_SECONDS):
            await connection.ended.wait()
        what = one_line(error.message).rstrip(".")
        return OutcomeUnknownError(self._said(f"{what}. What the call has done is unknown."))

    def _error(self, what: str) -> ToolError:
        return ToolError(self._said(what))

    def _said(self, what: str) -> str:
        return f"MCP server {self.config.name!r}: {self.config.redact(what)}"

    async def _open_connection(self) -> Connection:
        if not self._connection.usable:
            await self._restart(self._connection)
        connection = self._connection
        if not connection.opened.is_set():
            await connection.opened.wait()
        if connection.failure is not None:
            raise self._error(f"it could not be started again: {connection.failure}")
        return connection

    async def _restart(self, ended: Connection) -> None:
        now = anyio.current_time()
        recent = [at for at in self._restarts if at > now - _WINDOW_SECONDS]
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
            self._restarts.append(anyio.current_time())
            self._connection = self._started()

    def _started(self) -> Connection:
        connection = Connection(
            self.config,
            self._environ,
            connect_seconds=self._connect_seconds,
            call_seconds=self.call_seconds,
            log=self._log,
        )
        self._spawn(connection.run)
        return connection


def _meta() -> RequestParamsMeta | None:
    """Return what goes with a call: its key, and the seconds within which it is waited for."""
    call = current_call()
    if call is None:
        return None
    left = anyio.current_effective_deadline() - anyio.current_time()
    meta: JsonObject = {"agentkit/idempotencyKey": call.key}
    if isfinite(left):
        meta["agentkit/secondsLeft"] = round(max(0.0, left), 3)
    return cast("RequestParamsMeta", meta)
