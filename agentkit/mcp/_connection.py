"""One connection to one server: a single task opens it, waits, and closes it."""

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.metadata import version
from typing import cast
from uuid import uuid4

import anyio
from anyio import to_thread
from anyio.lowlevel import current_token
from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost
from mcp.types import CONNECTION_CLOSED, METHOD_NOT_FOUND, Implementation
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from agentkit.errors import McpServerError
from agentkit.mcp._config import ServerConfig
from agentkit.mcp._diary import Diary
from agentkit.mcp._gate import Gate, Sink, Source, collecting
from agentkit.mcp._http import STAND_INS, Refusal, open_http, open_sse, refusals
from agentkit.mcp._launch import plan_launch
from agentkit.mcp._listing import Listing
from agentkit.mcp._oauth import provider_for
from agentkit.mcp._oauth_account import Account
from agentkit.mcp._process import describe_exit
from agentkit.mcp._questions import callbacks_for
from agentkit.mcp._stdio import Pipes
from agentkit.mcp._surroundings import Surroundings
from agentkit.mcp._text import one_line

_LEAVE_SECONDS = 5.0
"""For an HTTP server to take leave; a process has clocks of its own, which are shielded."""

_GRACE_SECONDS = 1.0
"""For a program to leave by itself after its input has ended, and again after SIGTERM."""

_OURSELVES = Implementation(name="agentkit", version=version("qwen-agentkit"))
_MAX_PAGES = 50
_MAX_TOOLS = 1000
_SPARE_SECONDS = 5.0
"""A silent HTTP answer is given up this much after the call that waits for it."""

_SETTLE_SECONDS = 0.2
"""After a change of the list of tools: more changes that follow within it are one with it."""

_REST_SECONDS = 1.0
"""Between two readings of a list that changes all the time."""

_LONGEST_REST = 60.0


class Connection:
    """Opens, waits until it is told to end, closes; all within `run`.

    The SDK's client must be left by the task that entered it, and a reset of one request cancels
    all that its block contains. So nothing else is in that block, and callers use `client` from
    their own tasks.

    Attributes:
        client: to call through; `None` before it is open and after it has ended.
        failure: why it could not be opened.
        gate: takes what the server says of its tools, and how far calls are.
        asleep: it was ended because nobody needed it.
        protocol: the revision that is spoken; empty before it was open.
        opened: it is open, or has failed.
        ended: nothing is left of it.
    """

    def __init__(
        self,
        config: ServerConfig,
        around: Surroundings,
        learn: Callable[[Listing], Awaitable[None]],
        account: Account | None,
        *,
        connect_seconds: float | None,
        call_seconds: float | None,
    ) -> None:
        self._config = config
        self._around = around
        self._learn = learn
        self._account = account
        self._redact = config.redact if account is None else account.redact
        self._callbacks = callbacks_for(config, around.answerer)
        self._connect_seconds = connect_seconds
        self._call_seconds = call_seconds
        self._diary = Diary(around.log_of(config.name), config.redact)
        self._pipes: Pipes | None = None
        self._transport_kind = config.transport
        self._stop = anyio.Event()
        self._clock = anyio.CancelScope()
        self._refusals: list[Refusal] = []
        self.client: Client | None = None
        self.failure: McpServerError | None = None
        self._changed = anyio.Event()
        self.gate = Gate(self._note_change)
        self.asleep = False
        self.protocol = ""
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
                self._transport_kind, self._clock = "sse", anyio.CancelScope()
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
                self.gate.around(transport),
                client_info=_OURSELVES,
                cache=None,
                **self._callbacks,
            ) as client:
                await self._learn(await self._list_tools(client))
                self.client, self.protocol = client, client.protocol_version
                clock.deadline = math.inf
                self.opened.set()
                async with anyio.create_task_group() as beside:
                    beside.start_soon(self._follow, client)
                    await self._stop.wait()
                    beside.cancel_scope.cancel()
                self.client = None
                clock.deadline = anyio.current_time() + (
                    self._config.close_seconds or _LEAVE_SECONDS
                )
        if clock.cancelled_caught and not self.opened.is_set():
            self.failure = McpServerError(
                f"it did not answer within {seconds or 0:g} s.{self._last_words()}",
                hint="Raise 'connectSeconds' if it is slow to start.",
            )

    async def _transport(self) -> AbstractAsyncContextManager[tuple[Source, Sink]]:
        config = self._config
        account = self._account
        if self.speaks_sse:
            return open_sse(
                config.url,
                config.headers,
                auth=None if account is None else provider_for(config, account, self.end),
                max_message_bytes=config.max_message_bytes,
                on_refusal=self.end,
            )
        if config.url:
            spare = None if self._call_seconds is None else self._call_seconds + _SPARE_SECONDS
            return open_http(
                config.url,
                config.headers,
                auth=None if account is None else provider_for(config, account),
                read_seconds=spare,
                max_message_bytes=config.max_message_bytes,
            )
        forked_here = current_token().backend_class.__module__.endswith("_asyncio")
        plan = partial(
            plan_launch,
            config,
            self._around.environ,
            uuid4().hex,
            self._around.session,
            forked_here=forked_here,
        )
        launch = await to_thread.run_sync(plan)
        self._pipes = Pipes(
            launch,
            config.max_message_bytes,
            self._diary,
            self._stop.set,
            config.close_seconds or _GRACE_SECONDS,
        )
        return self._pipes.open()

    def _note_change(self) -> None:
        self._changed.set()

    async def _list_tools(self, client: Client) -> Listing:
        listing = Listing()
        token = collecting.set(listing)
        try:
            await self._read_pages(client, listing)
        finally:
            collecting.reset(token)
            listing.notes += self._account.notes if self._account is not None else ()
        return listing

    async def _read_pages(self, client: Client, listing: Listing) -> None:
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            try:
                page = await client.list_tools(cursor=cursor)
            except MCPError as error:
                if error.code == METHOD_NOT_FOUND and error.message not in STAND_INS:
                    return  # a server of prompts and resources alone
                raise
            cursor = page.next_cursor
            if cursor is None:
                return
            if cursor in seen or len(listing.tools) >= _MAX_TOOLS:
                break
            seen.add(cursor)
        listing.note("its list of tools does not end; what came until then is used")

    async def _follow(self, client: Client) -> None:
        """Read the list of tools anew whenever the server says that it has changed."""
        async with anyio.create_task_group() as tasks:
            if client.protocol_version in MODERN_PROTOCOL_VERSIONS and _tells_changes(client):
                tasks.start_soon(self._subscribe, client)
            while True:
                await self._changed.wait()
                await anyio.sleep(_SETTLE_SECONDS)
                self._changed = anyio.Event()
                await self._read_again(client)
                await anyio.sleep(_REST_SECONDS)

    async def _read_again(self, client: Client) -> None:
        try:
            with anyio.fail_after(self._connect_seconds):
                listing = await self._list_tools(client)
        except Exception as error:  # the SDK raises whatever its transports raise
            self._diary.note(f"[agentkit: no new list of tools: {_first(error)}]".encode())
        else:
            await self._learn(listing)

    async def _subscribe(self, client: Client) -> None:
        """Keep a stream open in which a server of the newest protocol tells of changes."""
        rest = _REST_SECONDS
        while True:
            try:
                async with client.listen(tools_list_changed=True) as stream:
                    rest = _REST_SECONDS
                    self._note_change()  # what was told before was told to nobody
                    async for _ in stream:
                        pass  # the gate has seen it already
            except MCPError as error:
                if error.code == METHOD_NOT_FOUND:
                    return
            except (SubscriptionLost, TimeoutError):
                pass
            await anyio.sleep(rest)
            rest = min(rest * 2, _LONGEST_REST)

    def _explained(self, error: Exception) -> McpServerError:
        first = _first(error)
        if isinstance(first, McpServerError):
            return first
        if isinstance(first, MCPError) and first.code == CONNECTION_CLOSED and self._pipes:
            what = f"it ended before it was ready ({describe_exit(self._pipes.exit_code)})"
        elif self._refusals and (self._refusals[-1].why or str(first) in STAND_INS):
            refusal = self._refusals[-1]
            what = refusal.why or f"it refused: {refusal.explain()}"
        else:  # it may have refused before, the way in that was tried first
            what = f"{one_line(str(first)) or type(first).__name__}"
        explained = McpServerError(self._redact(f"{what}.{self._last_words()}"))
        explained.hint = self._advice()
        explained.__cause__ = error
        return explained

    def _advice(self) -> str:
        refusal = self._refusals[-1] if self._refusals else None
        if refusal is not None and refusal.hint:
            return refusal.hint
        if refusal is not None and refusal.status in {401, 403}:
            return 'Check \'headers\' of this server, or give it "auth": "oauth".'
        if self._config.url:
            return f"Check that a server listens at {self._config.target}."
        return f"Try it by hand: {self._config.target}"

    def _last_words(self) -> str:
        words = self._diary.tail()
        return f" It said: {words}" if words else ""

    def obituary(self) -> str:
        """Return how it ended, in words; meaningful once `ended` is set."""
        if self._pipes is None:
            refused = f": {self._refusals[-1].explain()}" if self._refusals else ""
            return f"the connection was lost{refused}."
        return f"{describe_exit(self._pipes.exit_code)}.{self._last_words()}"


def _first(error: BaseException) -> BaseException:
    """Return the first single error of nested groups."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _first(group.exceptions[0])


def _tells_changes(client: Client) -> bool:
    capabilities = client.server_capabilities
    return bool(capabilities.tools and capabilities.tools.list_changed)
