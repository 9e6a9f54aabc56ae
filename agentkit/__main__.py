"""The command `agentkit`, and `python -m agentkit`: hears Ctrl-C before anything heavy is loaded."""

import os
import signal
from typing import NoReturn


def main() -> None:
    """Run the command line."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup, cmd &
            signal.signal(number, _interrupted)
    from agentkit.cli import app

    app(prog_name="agentkit")


def _interrupted(number: int, _frame: object) -> NoReturn:
    """End at a signal before the loop listens, and after.

    Nothing is open then. An exception would be lost where it comes up inside a callback of the
    collector, and a KeyboardInterrupt inside an `exec`, of which imports are full, makes Python
    kill itself, however well it is caught.
    """
    os.write(2, f"✗ Interrupted ({signal.Signals(number).name}).\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
