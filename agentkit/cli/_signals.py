"""Ctrl-C once stops after the step, twice stops now, a third time stops everything."""

import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from agentkit.cli._exit import Exit, exit_of_signal

if TYPE_CHECKING:
    from agentkit.loop import Run

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopper:
    """Hears signals and stops what is going on: the run, or everything if there is none.

    Attributes:
        numbers: the signals that are heard; one that the caller has us ignore, as nohup does, is not.
        heard: the signal that came last, 0 if none did.
        run: what to stop first.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self.numbers = [n for n in _SIGNALS if signal.getsignal(n) not in {signal.SIG_IGN, None}]
        self.heard = 0
        self.run: Run | None = None
        self.scope = anyio.CancelScope()
        self._note = note
        self._times = 0

    def begin(self, run: "Run") -> None:
        """Take note of a run that signals shall stop."""
        self.run = run
        self._times = 0

    def over(self) -> None:
        """Take note that the run is over."""
        self.run = None

    async def listen(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hear signals until cancelled."""
        with anyio.open_signal_receiver(*self.numbers) as signals:
            task_status.started()
            async for number in signals:
                self._hear(number)

    def _hear(self, number: int) -> None:
        self.heard = number
        self._times += 1
        if self.run is None:
            self.scope.cancel()
        elif number == signal.SIGINT and self._times == 1:
            self._note("Stopping after this step. Press Ctrl-C again to stop now.")
            self.run.stop_after_step()
        elif self._times <= 2:
            self._note("Stopping now.")
            self.run.cancel()
        else:
            self.scope.cancel()


async def until_signalled(
    work: Callable[[Stopper], Awaitable[Exit]], note: Callable[[str], None]
) -> Exit:
    """Do the work while hearing signals, and return its code, or that of the signal.

    Raises:
        Exception: what the work raises, as itself.
    """
    stopper = Stopper(note)
    code: Exit | None = None
    failure: Exception | None = None
    before = {number: signal.getsignal(number) for number in stopper.numbers}
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(stopper.listen)
            with stopper.scope:
                try:
                    code = await work(stopper)
                except Exception as error:
                    failure = error
            tasks.cancel_scope.cancel()
    finally:
        for number, handler in before.items():  # the loop leaves Python's own, which raise anywhere
            signal.signal(number, handler)
    if failure is not None:
        raise failure
    if code is None:
        note(f"✗ Interrupted ({signal.Signals(stopper.heard).name}).")
        return exit_of_signal(stopper.heard)
    return code
