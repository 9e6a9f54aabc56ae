"""Stands between any transport and the SDK, and lets nothing through that would harm it.

One tool with a bad schema makes the SDK refuse the whole list; an output schema makes a call fail
after the tool has run, or run a server's regular expression in the loop; a flood of notifications
becomes a flood of tasks. So the SDK sees a bare list, and the rest is kept here. Notifications are
taken where they arrive, without a task for any of them.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, cast

import anyio
from anyio.lowlevel import checkpoint
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.message import SessionMessage
from mcp.types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    PARSE_ERROR,
    REQUEST_TIMEOUT,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from agentkit.mcp._listing import Listing, mended_list

_SUBSCRIPTIONS = "notifications/subscriptions/"
_SAID_BY_SDK = "SSE stream"
"""How the SDK's own transport begins what it says in a server's place."""

_CANNOT_READ = "Failed to parse"
_DROPPED_AT_ONCE = 100
_MOST_QUESTIONS = 32
_MOST_BLOCKS = 1000


class Source(Protocol):
    """Where a transport's messages come from."""

    async def receive(self) -> SessionMessage | Exception:
        """Wait for the next."""
        ...

    async def aclose(self) -> None:
        """Let go."""
        ...


class Sink(Protocol):
    """Where a transport takes messages."""

    async def send(self, item: SessionMessage, /) -> None:
        """Hand one over."""
        ...

    async def aclose(self) -> None:
        """Let go."""
        ...


OnProgress: TypeAlias = Callable[[float, float | None, str], None]
"""Told how far a call is, of how much, and in words."""


@dataclass(slots=True)
class Gate:
    """Collects what a server says of its tools, and takes its notifications.

    Attributes:
        on_change: called when the server says that its list of tools is another one now.
        progress: who wants to know how far a call is, by the token that went with it.
    """

    on_change: Callable[[], None]
    progress: dict[str | int, OnProgress] = field(default_factory=dict[str | int, OnProgress])
    _asked: dict[RequestId, Listing] = field(default_factory=dict[RequestId, Listing])
    _asking: set[RequestId] = field(default_factory=set[RequestId])

    @asynccontextmanager
    async def around(
        self, transport: AbstractAsyncContextManager[tuple["Source", "Sink"]]
    ) -> AsyncGenerator[tuple["Incoming", "Outgoing"]]:
        """Open `transport` behind this gate."""
        async with transport as (incoming, outgoing):
            yield Incoming(incoming, self), Outgoing(outgoing, self)

    def passes(self, item: SessionMessage | Exception) -> bool:
        """Say whether the SDK may see what has come in; mends a list of tools on the way."""
        if isinstance(item, Exception):
            return True
        match item.message:
            case JSONRPCNotification() as message:
                return self._is_for_the_sdk(message)
            case JSONRPCRequest() as message:
                return self._may_ask(message.id)
            case JSONRPCResponse() as message:
                self._mend(message)
            case JSONRPCError() as message:
                _disown(message)
        return True

    def _may_ask(self, request_id: RequestId) -> bool:
        """Say whether a server may ask us something: each question costs a task until its answer."""
        if len(self._asking) >= _MOST_QUESTIONS:
            return False  # it floods us: whoever does has no use for an answer
        self._asking.add(request_id)
        return True

    def _mend(self, message: JSONRPCResponse) -> None:
        # By the SDK's own reading of ids, for which "3" is 3.
        listing = self._asked.pop(coerce_request_id(message.id), None)
        result = message.result
        if listing is not None or isinstance(result.get("tools"), list):
            message.result = mended_list(result, Listing() if listing is None else listing)
        content = result.get("content")
        if isinstance(content, list) and len(cast("list[Any]", content)) > _MOST_BLOCKS:
            kept = cast("list[Any]", content)[:_MOST_BLOCKS]
            left = len(cast("list[Any]", content)) - _MOST_BLOCKS
            kept.append({"type": "text", "text": f"[{left} further parts left out]"})
            message.result = {**result, "content": kept}

    def _is_for_the_sdk(self, message: JSONRPCNotification) -> bool:
        match message.method:
            case "notifications/tools/list_changed":
                self.on_change()
            case "notifications/progress":
                self._tell_progress(message.params or {})
            case method:
                return method == "notifications/cancelled" or method.startswith(_SUBSCRIPTIONS)
        return False

    def _tell_progress(self, params: Mapping[str, Any]) -> None:
        token = params.get("progressToken")
        listener = self.progress.get(token) if isinstance(token, str | int) else None
        done, total, text = params.get("progress"), params.get("total"), params.get("message")
        if listener is not None and isinstance(done, int | float):
            whole = float(total) if isinstance(total, int | float) else None
            listener(float(done), whole, text if isinstance(text, str) else "")

    def note_sent(self, item: SessionMessage) -> None:
        """Remember a request whose answer will be a list of tools, and which questions are answered."""
        message = item.message
        if isinstance(message, JSONRPCRequest):
            if message.method == "tools/list":
                listing = collecting.get()
                self._asked[coerce_request_id(message.id)] = (
                    Listing() if listing is None else listing
                )
        elif isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
            self._asking.discard(message.id)


collecting: ContextVar[Listing | None] = ContextVar("collecting", default=None)
"""Set around a request for tools, it collects them: the SDK asks by itself at times, which is no
news."""


def _disown(error: JSONRPCError) -> None:
    """Give an error of the server's own another code than the SDK has for the end of a connection.

    What the SDK says of an answer that it cannot read is of use to nobody.
    """
    if error.error.code == PARSE_ERROR and error.error.message.startswith(_CANNOT_READ):
        ours = error.error.message.partition(": ")[2]
        readable = ours.startswith("the answer is ")
        error.error.message = ours if readable else "The answer is no JSON-RPC message."
    own = error.error.message.startswith(_SAID_BY_SDK)
    if error.error.code in {CONNECTION_CLOSED, REQUEST_TIMEOUT} and not own:
        error.error.code = INTERNAL_ERROR


class Incoming:
    """The reading end, filtered."""

    def __init__(self, inner: Source, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self._dropped = 0

    @property
    def last_context(self) -> Any:
        """The sender's context, where a transport tells it."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        while True:
            item: SessionMessage | Exception = await self._inner.receive()
            if self._gate.passes(item):
                return item
            self._dropped += 1
            if self._dropped % _DROPPED_AT_ONCE == 0:
                await checkpoint()  # what is there already is read without a pause

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


class Outgoing:
    """The writing end, which remembers what was asked."""

    def __init__(self, inner: Sink, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    async def send(self, item: SessionMessage, /) -> None:
        self._gate.note_sent(item)
        await self._inner.send(item)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()
