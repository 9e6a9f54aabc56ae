"""A server ends at its first signal, whatever it is doing."""

import signal
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskStatus

STOP_SECONDS = 10
"""From a signal until the process ends, whatever blocks it."""

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


async def until_signal(work: Callable[[], Awaitable[None]], seconds: int = STOP_SECONDS) -> int:
    """Do the work until it is over, or a signal comes that the caller does not have us ignore.

    Returns:
        The exit code: 0, or that of the signal.

    Raises:
        Exception: what the work raises, as itself.
    """
    ending = _Ending(seconds)
    failure: Exception | None = None
    before = {number: signal.getsignal(number) for number in ending.numbers}
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(ending.listen)
            with ending.scope:
                try:
                    await work()
                except Exception as error:
                    failure = error
            tasks.cancel_scope.cancel()
    finally:
        signal.alarm(0)
        for number, handler in before.items():  # the loop leaves Python's own, which raise anywhere
            signal.signal(number, handler)
    if failure is not None:
        raise failure
    return ending.code


class _Ending:
    """Hears signals; the first one cancels the work, and later ones do not hurry it."""

    def __init__(self, seconds: int) -> None:
        self.numbers = [n for n in _SIGNALS if signal.getsignal(n) not in {signal.SIG_IGN, None}]
        self.scope = anyio.CancelScope()
        self.code = 0
        self._seconds = seconds

    async def listen(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hear signals until cancelled."""
        with anyio.open_signal_receiver(*self.numbers) as signals:
            task_status.started()
            async for number in signals:
                if self.code:
                    continue
                self.code = 128 + number
                # Writing to a client that does not read cannot be cancelled; this can end it.
                signal.alarm(self._seconds)
                self.scope.cancel()
