"""The host's side of functions that a cell calls: what they are, and what they may ask for.

Whatever comes from the worker is taken for hostile: only a frame that the worker's own stubs could
have sent reaches a tool.
"""

import builtins
import keyword
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import anyio
from anyio.abc import TaskGroup

from agentkit.messages import JsonObject, ToolSpec
from agentkit.sandbox._frames import BadFrameError
from agentkit.sandbox._tool_stubs import CALLS_PER_CELL, OPEN_CALLS

TOOL_SECONDS = 300.0
"""How long the tools of one cell may take."""

_DOC_CHARS = 2_000
_HEAD_CHARS = 120
_FINISH_SECONDS = 0.5  # patience with code that takes no answers
_STOPPED = "Stopped: the code that has made this call was interrupted, or has ended."
_RULE = "Returns text, or what it holds where that is a JSON object or array. Raises ToolError."
_TAKEN = frozenset(dir(builtins)) | {"ToolError"}


@dataclass(frozen=True, slots=True)
class Function:
    """A tool as a function of Python.

    Attributes:
        name: of the function.
        tool: name of the tool.
        head: its parameters as `def` has them; one that may be left out is `...` by default.
        doc: its docstring.
    """

    name: str
    tool: str
    head: str
    doc: str

    @property
    def signature(self) -> str:
        """Return it as a model reads it, in a short line."""
        return f"{self.name}({_short(self.head.removesuffix('**_more').rstrip(', '))})"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTools:
    """What a cell may call.

    Attributes:
        specs: the tools.
        call: does a call with arguments that nobody has checked, and returns its result; what it
            raises is a `ToolError` of the code.
        seconds: that the calls of one cell may take; while one is under way, the clock of the
            cell itself stands still.
    """

    specs: tuple[ToolSpec, ...]
    call: Callable[[str, JsonObject], Awaitable[str]]
    seconds: float = TOOL_SECONDS


def functions_of(specs: Iterable[ToolSpec]) -> tuple[Function, ...]:
    """Return tools as functions: names that Python has not taken, parameters in their order.

    >>> schema = {"properties": {"url": {}, "from": {}, "most": {}}, "required": ["url"]}
    >>> [one.signature for one in functions_of([ToolSpec("web-get", "", schema)])]
    ['web_get(url, most=...)']
    """
    found: dict[str, Function] = {}
    for spec in specs:
        name = _free_name(spec.name, found)
        found[name] = Function(name, spec.name, _head(spec.parameters), _doc(spec))
    return tuple(found.values())


def _short(head: str) -> str:
    return head if len(head) <= _HEAD_CHARS else f"{head[:_HEAD_CHARS].rpartition(',')[0]}, ..."


def _free_name(tool: str, used: Mapping[str, object]) -> str:
    name = re.sub(r"\W", "_", tool, flags=re.ASCII)
    if not name[:1].isalpha():
        name = f"tool_{name}"
    while name in used or name in _TAKEN or keyword.iskeyword(name):
        name += "_"
    return name


def _properties(schema: Mapping[str, Any]) -> JsonObject:
    properties = schema.get("properties")
    return cast("JsonObject", properties) if isinstance(properties, dict) else {}


def _head(schema: Mapping[str, Any]) -> str:
    properties = _properties(schema)
    said = schema.get("required")
    required = cast("Sequence[object]", said) if isinstance(said, list | tuple) else ()
    parts: list[str] = []
    for name in filter(_is_parameter, properties):
        needed = name in required and not any("=" in part for part in parts)
        parts.append(name if needed else f"{name}=...")
    odd = len(parts) < len(properties)
    if odd or schema.get("additionalProperties") is not False:
        parts.append("**_more")
    return ", ".join(parts)


def _is_parameter(name: str) -> bool:
    is_name = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return is_name and not name.startswith("_")


def _doc(spec: ToolSpec) -> str:
    lines = [spec.description[: _DOC_CHARS // 2], ""]
    for name, schema in _properties(spec.parameters).items():
        told = cast("JsonObject", schema).get("description") if isinstance(schema, dict) else None
        lines.append(f"{name}: {told or 'see above'}")
    return "\n".join(lines)[:_DOC_CHARS] + f"\n\n{_RULE}"


class CellClock:
    """The time of one cell: it stands still while the host works for it, but not for ever."""

    def __init__(self, seconds: float, more: float) -> None:
        now = anyio.current_time()
        self.scope = anyio.CancelScope(deadline=now + seconds)
        self._latest = now + seconds + more
        self._left = 0.0
        self._calls = 0

    def __enter__(self) -> None:
        if not self._calls:
            self._left = self.scope.deadline - anyio.current_time()
            self.scope.deadline = self._latest
        self._calls += 1

    def __exit__(self, *_: object) -> None:
        self._calls -= 1
        if not self._calls:
            self.scope.deadline = min(self._latest, anyio.current_time() + self._left)


class Channel(Protocol):
    """Where the frames of a cell come from, and go to."""

    async def send(self, frame: JsonObject) -> None:
        """Send a frame whole."""
        ...

    async def flush(self) -> None:
        """Send what is left of frames whose sending was cancelled."""
        ...

    async def receive(self) -> JsonObject | None:
        """Return the next frame, `None` if there will be none.

        Raises:
            BadFrameError: too long, or not a JSON object.
        """
        ...


class HostCalls:
    """The calls of one cell, each answered once: by its tool, or as stopped."""

    def __init__(
        self,
        tools: HostTools,
        cell: int,
        clock: CellClock,
        channel: Channel,
    ) -> None:
        self._tools = tools
        self._functions = functions_of(tools.specs)
        self._names = frozenset(one.tool for one in self._functions)
        self._cell = cell
        self._clock = clock
        self._channel = channel
        self._made = 0
        self._open: set[int] = set()
        self._stopped = False

    @property
    def described(self) -> list[JsonObject]:
        """Return the functions as the worker makes them."""
        return [
            {"name": one.name, "tool": one.tool, "head": one.head, "doc": one.doc}
            for one in self._functions
        ]

    def take(self, frame: JsonObject, tasks: TaskGroup) -> bool:
        """Begin what a frame asks for; False if no worker of ours would have sent it."""
        number, name, arguments = frame.get("call"), frame.get("name"), frame.get("arguments")
        fits = (
            set(frame) == {"id", "call", "name", "arguments"}
            and frame["id"] == self._cell
            and type(number) is int
            and number == self._made + 1 <= CALLS_PER_CELL
            and isinstance(name, str)
            and name in self._names
            and isinstance(arguments, dict)
            and len(self._open) < OPEN_CALLS
        )
        if fits:
            self._made += 1
            self._open.add(self._made)
            tasks.start_soon(self._answer, self._made, str(name), frame["arguments"])
        return fits

    async def stop(self) -> None:
        """Do no more for a cell that is interrupted, and answer what waits."""
        self._stopped = True
        await self._hang_up({"error": _STOPPED, "interrupted": True})

    async def finish(self) -> None:
        """Answer what a cell has left behind that is over; bounded, also where it is cancelled."""
        with anyio.move_on_after(_FINISH_SECONDS, shield=True):
            await self._hang_up({"error": _STOPPED})

    async def _hang_up(self, answer: JsonObject) -> None:
        for number in sorted(self._open):
            await self._reply(number, answer)
        await self._channel.flush()

    async def _answer(self, number: int, name: str, arguments: JsonObject) -> None:
        if self._stopped:  # by code that calls on while it is interrupted
            await self._reply(number, {"error": _STOPPED})
            return
        with self._clock:
            try:
                answer = {"text": await self._tools.call(name, arguments)}
            except Exception as error:  # the border to tools that are not ours
                answer = {"error": str(error) or type(error).__name__}
        await self._reply(number, answer)

    async def _reply(self, number: int, answer: JsonObject) -> None:
        self._open.discard(number)
        await self._channel.send({"call": number, **answer})


async def next_answer(
    channel: Channel, calls: HostCalls | None, tasks: TaskGroup
) -> JsonObject | None:
    """Return the next frame that is no call, `None` if there will be none; calls go on in `tasks`.

    Raises:
        BadFrameError: no frame, or a call that no cell makes.
    """
    while True:
        frame = await channel.receive()
        if frame is None or "call" not in frame:
            return frame
        if calls is None or not calls.take(frame, tasks):
            raise BadFrameError("a call that no cell makes")
