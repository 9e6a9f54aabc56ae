"""Stands between any transport and the SDK, and lets nothing through that would harm it.

One tool with a bad schema makes the SDK refuse the whole list; an output schema makes a call fail
after the tool has run, or run a server's regular expression in the loop; a flood of notifications
becomes a flood of tasks. So the SDK sees a bare list, and the rest is kept here. Notifications are
taken where they arrive, without a task for any of them.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, cast

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, RequestId

from agentkit.messages import Effect

_MAX_TOOLS_A_PAGE = 1000
_DEFINING = ("title", "description", "inputSchema", "outputSchema", "annotations")
_SUBSCRIPTIONS = "notifications/subscriptions/"


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


@dataclass(frozen=True, slots=True)
class RawTool:
    """A tool as its server describes it; nothing is checked but the types.

    Attributes:
        definition: all of it that a model is told or that decides about a call.
    """

    name: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    effect: Effect = "once"
    definition: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Listing:
    """What a server says that it offers.

    Attributes:
        tools: by the server's own names, in its order.
        notes: tools that were left out, and why.
    """

    tools: dict[str, RawTool] = field(default_factory=dict[str, RawTool])
    notes: list[str] = field(default_factory=list[str])


OnProgress: TypeAlias = Callable[[float, float | None, str], None]
"""Told how far a call is, of how much, and in words."""


@dataclass(slots=True)
class Gate:
    """Collects what a server says of its tools, and takes its notifications.

    Attributes:
        on_change: called when the server says that its list of tools is another one now.
        progress: who wants to know how far a call is, by the token that went with it.
        listing: collects the tools of the answers that come in.
    """

    on_change: Callable[[], None]
    progress: dict[str | int, OnProgress] = field(default_factory=dict[str | int, OnProgress])
    listing: Listing = field(default_factory=Listing)
    _asked: set[RequestId] = field(default_factory=set[RequestId])

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
        message = item.message
        if isinstance(message, JSONRPCNotification):
            return self._is_for_the_sdk(message)
        if self._asked and isinstance(message, JSONRPCResponse) and message.id in self._asked:
            self._asked.discard(message.id)
            message.result = self._mended(message.result)
        return True

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

    def note_request(self, item: SessionMessage) -> None:
        """Remember a request whose answer will be a list of tools."""
        message = item.message
        if isinstance(message, JSONRPCRequest) and message.method == "tools/list":
            self._asked.add(message.id)

    def _mended(self, result: dict[str, Any]) -> dict[str, Any]:
        listed: object = result.get("tools")
        tools = cast("list[Any]", listed)[:_MAX_TOOLS_A_PAGE] if isinstance(listed, list) else []
        bare = [tool for raw in tools if (tool := self._bare(raw)) is not None]
        cursor = result.get("nextCursor")
        mended = {**result, "tools": bare}
        if not isinstance(cursor, str):
            mended.pop("nextCursor", None)
        return mended

    def _bare(self, raw: object) -> dict[str, Any] | None:
        tools, notes = self.listing.tools, self.listing.notes
        tool = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
        name = tool.get("name")
        if not isinstance(name, str) or not name:
            notes.append("a tool without a name was left out")
            return None
        if name in tools:
            notes.append(f"tool {name!r} is listed twice; the first is used")
            return None
        schema = tool.get("inputSchema")
        if not isinstance(schema, dict | None):
            notes.append(f"tool {name!r} was left out: its inputSchema is not an object")
            return None
        if _needs_a_task(tool.get("execution")):
            notes.append(f"tool {name!r} was left out: it can only be run as a task")
            return None
        output = tool.get("outputSchema")
        tools[name] = RawTool(
            name=name,
            description=_description(tool),
            input_schema=cast("dict[str, Any]", schema or {}),
            output_schema=cast("dict[str, Any]", output) if isinstance(output, dict) else None,
            effect=_effect(tool.get("annotations")),
            definition={key: tool[key] for key in _DEFINING if key in tool},
        )
        return {"name": name, "inputSchema": _headers_only(tools[name].input_schema)}


def _needs_a_task(execution: object) -> bool:
    """Say whether a tool answers plain calls with an error."""
    if not isinstance(execution, dict):
        return False
    return cast("dict[str, Any]", execution).get("taskSupport") == "required"


def _description(tool: dict[str, Any]) -> str:
    every = (tool.get("description"), tool.get("title"))
    return next((text for text in every if isinstance(text, str) and text.strip()), "")


def _headers_only(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what the SDK needs of a schema: which arguments it repeats as HTTP headers."""
    properties: object = schema.get("properties")
    if not isinstance(properties, dict):
        return {"type": "object"}
    marked: dict[str, Any] = {
        name: value
        for name, value in cast("dict[str, Any]", properties).items()
        if isinstance(value, dict) and "x-mcp-header" in value
    }
    return {"type": "object", "properties": marked} if marked else {"type": "object"}


class Incoming:
    """The reading end, filtered."""

    def __init__(self, inner: Source, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    @property
    def last_context(self) -> Any:
        """The sender's context, where a transport tells it."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        while True:
            item: SessionMessage | Exception = await self._inner.receive()
            if self._gate.passes(item):
                return item

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
        self._gate.note_request(item)
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


def _effect(annotations: object) -> Effect:
    """Return what a server says that a tool changes; whether to believe it is decided elsewhere.

    >>> _effect({"readOnlyHint": True}), _effect({"idempotentHint": True}), _effect(None)
    ('pure', 'idempotent', 'once')
    """
    if not isinstance(annotations, dict):
        return "once"
    hints = cast("dict[str, Any]", annotations)
    if hints.get("readOnlyHint") is True:
        return "pure"
    return "idempotent" if hints.get("idempotentHint") is True else "once"
