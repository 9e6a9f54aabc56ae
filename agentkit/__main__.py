"""The command `agentkit`, and `python -m agentkit`: hears Ctrl-C before anything heavy is loaded."""

import os
import signal
from typing import NoReturn


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, _interrupted)
    from agentkit.cli import app

    app(prog_name="agentkit")


def _interrupted(*_: object) -> NoReturn:
    """End at Ctrl-C while things still load; later the loop listens.

    A KeyboardInterrupt that comes up inside an `exec`, and imports are full of them, makes Python
    kill itself, however well it is caught.
    """
    os.write(2, b"\xe2\x9c\x97 Interrupted.\n")  # a print could come up inside another one
    raise SystemExit(130)


if __name__ == "__main__":
    main()
