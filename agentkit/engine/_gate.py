"""Open while an engine answers: who wants to ask it waits here meanwhile."""

import anyio

from agentkit.errors import EngineError


class Gate:
    """Shut while an engine starts again; raises once it is lost for good."""

    def __init__(self) -> None:
        self.is_open = True
        self._lost: EngineError | None = None
        self._changed = anyio.Event()

    def open(self) -> None:
        """Let everybody through."""
        self.is_open = True
        self._tell()

    def shut(self) -> None:
        """Let nobody through until it opens again."""
        self.is_open = False
        self._tell()

    def lose(self, error: EngineError) -> None:
        """Raise for everybody, from now on."""
        self._lost, self.is_open = error, False
        self._tell()

    async def wait(self) -> None:
        """Wait until the engine answers.

        Raises:
            EngineError: it will not any more.
        """
        while not self.is_open:
            if self._lost is not None:
                raise self._lost
            await self._changed.wait()

    async def wait_for_news(self, seconds: float) -> None:
        """Wait until it opens or shuts, but not for long."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
