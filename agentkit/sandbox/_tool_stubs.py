"""Functions of a cell that call tools of the host: one frame for each call, one for its answer.

Runs in the worker, by path, as `_worker.py` does: it imports nothing of agentkit. A call is
`{"id": cell, "call": number, "name", "arguments"}`, its answer `{"call": number, "text"}` or
`{"call": number, "error"}`, with `"interrupted": true` where an interrupt is on its way. Each call
is made by a thread of its own, and one of these reads for all: an interrupt hits the main thread
only, so it can never leave half a frame behind.
"""

from __future__ import annotations

import _thread
import json
import os
import time

TYPE_CHECKING = False  # the module that defines it would cost a start 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CALLS_PER_CELL = 1_000
"""Calls that one cell may make."""

OPEN_CALLS = 64
"""Calls under way at once; more wait for their turn."""

ARGUMENT_BYTES = 200_000
"""Longest arguments of one call, as JSON; a frame must not be much longer."""


INTERRUPT_SECONDS = 0.3
"""How long the main thread waits for an interrupt that it is told of."""


class ToolError(Exception):
    """A tool could not do its work; the text says why."""


ToolError.__module__ = "__main__"  # where cells find it


class _Call:
    """A call on its way, and whoever waits for it."""

    def __init__(self) -> None:
        self.frame: dict[str, Any] = {}
        self.done = _thread.allocate_lock()
        self.done.acquire()

    def answer(self, frame: dict[str, Any]) -> None:
        """Let whoever waits go on."""
        self.frame = frame
        self.done.release()


class ToolCalls:
    """The calls of a session, over the channel that carries its cells as well.

    Args:
        send: writes a frame.
        receive: reads the next frame, `None` at the end.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        receive: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._send = send
        self._receive = receive
        self._pid = os.getpid()
        self._main = _thread.get_ident()
        self._lock = _thread.allocate_lock()  # over what follows, and over sending
        self._waiting: dict[int, _Call] = {}
        self._made = 0
        self._cell = 0  # none runs
        self._room: Any = None
        self._reading = _thread.allocate_lock()  # held while a thread reads answers

    def begin(self, frame: dict[str, Any], namespace: dict[str, Any]) -> None:
        """Let the cell of a frame make calls, if it may; what it has defined itself stays."""
        functions = frame.get("functions")
        if not functions:
            return
        import threading  # which costs a start a millisecond

        with self._lock:
            self._room = self._room or threading.BoundedSemaphore(OPEN_CALLS)
            self._cell, self._made = frame["id"], 0
        namespace.setdefault("ToolError", ToolError)
        for one in functions:
            if one["name"] not in namespace:
                namespace[one["name"]] = self._function(one)

    def end(self) -> None:
        """Refuse calls from now on: the cell is over."""
        if os.getpid() == self._pid:  # another thread may have held the lock at a fork
            with self._lock:
                self._cell = 0

    def wait(self) -> None:
        """Wait until nothing reads the channel any more: the host answers each open call."""
        if os.getpid() == self._pid:
            with self._reading:
                return

    def _function(self, one: dict[str, str]) -> Any:
        tool = one["tool"]

        def called(given: dict[str, Any]) -> Any:
            more = given.pop("_more", {})
            return self._call(tool, {k: v for k, v in given.items() if v is not ...} | more)

        scope: dict[str, Any] = {"__name__": "__main__", "__called": called, "__given": locals}
        source = f"def {one['name']}({one['head']}): return __called(__given())"
        exec(source, scope)  # noqa: S102 - a signature of its own, which the host has checked
        function = scope[one["name"]]
        function.__doc__ = one["doc"]
        return function

    def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        if os.getpid() != self._pid:
            raise ToolError("A process that the code has started cannot call tools.")
        size = len(json.dumps(arguments))
        if size > ARGUMENT_BYTES:
            raise ToolError(f"The arguments have {size} bytes; {ARGUMENT_BYTES} at most.")
        call = _Call()
        self._room.acquire()
        try:
            _thread.start_new_thread(self._exchange, (call, name, arguments))
        except RuntimeError:  # the code has too many threads already
            self._room.release()
            raise
        call.done.acquire()
        if "interrupted" in call.frame and _thread.get_ident() == self._main:
            time.sleep(INTERRUPT_SECONDS)  # it comes another way, and ends this
        if "error" in call.frame:
            raise ToolError(call.frame["error"])
        return value_of(call.frame["text"])

    def _exchange(self, call: _Call, name: str, arguments: dict[str, Any]) -> None:
        """Send a call, and read answers if no other thread does; the body of a thread."""
        with self._lock:
            problem = self._problem()
            reads = False
            if not problem:
                self._made += 1
                self._waiting[self._made] = call
                reads = self._reading.acquire(blocking=False)
                frame = {"id": self._cell, "call": self._made, "name": name}
                self._send({**frame, "arguments": arguments})
        if problem:
            self._settle(call, {"error": problem})
        elif reads:
            self._read()

    def _problem(self) -> str:
        if not self._cell:
            return "The cell that has made this call is over."
        return f"A cell may make {CALLS_PER_CELL} calls." if self._made >= CALLS_PER_CELL else ""

    def _read(self) -> None:
        """Hand out answers until no call waits for one."""
        is_over = False
        while not is_over:
            frame = self._receive()
            with self._lock:
                if frame is None:
                    calls, frame = list(self._waiting.values()), {"error": "The host is gone."}
                    self._waiting.clear()
                else:
                    calls = [self._waiting.pop(frame["call"])]
                is_over = not self._waiting
                if is_over:
                    self._reading.release()
            for call in calls:
                self._settle(call, frame)

    def _settle(self, call: _Call, frame: dict[str, Any]) -> None:
        self._room.release()
        call.answer(frame)


def value_of(text: str) -> Any:
    """Return what a result that is a JSON object or array holds; any other text as it is."""
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
