"""Tools that live in memory: they answer what they are told to, and remember being called."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from jsonschema import Draft202012Validator

from agentkit.errors import ToolInputError
from agentkit.messages import JsonObject, ToolSpec

ANY_ARGUMENTS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
"""The schema of a tool that takes whatever it is given."""


class Hang(Enum):
    """A result that never comes."""

    HANG = "hang"


HANG: Final = Hang.HANG
"""Give this as a result to make a tool wait until it is cancelled."""

ToolAnswer: TypeAlias = str | BaseException | Hang
"""What one call gives: a text, an error to raise, or nothing, ever."""


class StaticTool:
    """A tool that always gives the same text.

    >>> anyio.run(StaticTool("now", "noon").call, {})
    'noon'
    """

    def __init__(
        self,
        name: str,
        result: str = "ok",
        *,
        description: str = "",
        parameters: Mapping[str, Any] = ANY_ARGUMENTS,
        timeout_seconds: float | None = None,
    ) -> None:
        self._result = result
        self._spec = ToolSpec(name, description or f"The tool {name}.", parameters, timeout_seconds)

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments if they fit the schema."""
        validator = Draft202012Validator(dict(self._spec.parameters))
        for error in validator.iter_errors(arguments):  # pyright: ignore[reportUnknownMemberType] # untyped upstream
            raise ToolInputError(f"{self._spec.name}: {error.message}.")
        return arguments

    async def call(self, arguments: JsonObject) -> str:  # noqa: ARG002 # the protocol's signature
        """Give the text."""
        await checkpoint()
        return self._result


class EchoTool(StaticTool):
    """A tool that gives back its argument `text`."""

    async def call(self, arguments: JsonObject) -> str:
        """Give back the text."""
        await checkpoint()
        return str(arguments["text"])


echo: Final = EchoTool(
    "echo",
    description="Give back the text.",
    parameters={
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
)
"""A tool that gives back its argument `text`."""


class RecordingTool(StaticTool):
    """A tool that gives its results one after another and keeps what it was called with.

    >>> tool = RecordingTool("now", results=["noon", ValueError("no clock")])
    >>> anyio.run(tool.call, {"zone": "UTC"})
    'noon'
    >>> tool.calls
    [{'zone': 'UTC'}]

    Attributes:
        calls: the arguments of each call, in order.
        cancelled: how many calls were cancelled before they gave anything.
        running: how many calls are under way.
    """

    def __init__(
        self,
        name: str,
        results: Sequence[ToolAnswer] = ("ok",),
        *,
        description: str = "",
        parameters: Mapping[str, Any] = ANY_ARGUMENTS,
        timeout_seconds: float | None = None,
        delay: float = 0.0,
    ) -> None:
        """Make the tool.

        Args:
            name: as the model calls it.
            results: one for each call; the last one is repeated.
            description: what the model is told.
            parameters: JSON schema of the arguments.
            timeout_seconds: limit of one call, as in `ToolSpec`.
            delay: seconds each call takes; free of charge under a virtual clock.
        """
        super().__init__(
            name,
            description=description,
            parameters=parameters,
            timeout_seconds=timeout_seconds,
        )
        if not results:
            raise ValueError(f"RecordingTool {name!r} needs at least one result.")
        self.calls: list[JsonObject] = []
        self.cancelled = 0
        self.running = 0
        self._results = tuple(results)
        self._delay = delay
        self._waiting: list[tuple[int, anyio.Event]] = []

    async def wait_called(self, count: int = 1) -> None:
        """Wait until the tool has been called `count` times."""
        if len(self.calls) < count:
            event = anyio.Event()
            self._waiting.append((count, event))
            await event.wait()

    async def call(self, arguments: JsonObject) -> str:
        """Give the next result."""
        answer = self._results[min(len(self.calls), len(self._results) - 1)]
        self.calls.append(dict(arguments))
        for count, event in self._waiting:
            if len(self.calls) >= count:
                event.set()
        self.running += 1
        try:
            return await self._give(answer)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _give(self, answer: ToolAnswer) -> str:
        await anyio.sleep(self._delay)
        if isinstance(answer, Hang):
            await anyio.sleep_forever()
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)
