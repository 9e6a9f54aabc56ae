"""Runs code in a process that has confined itself, as the users that this machine has for it.

A part of the tests, and by path (`python -I confined.py SETTINGS`) the process itself.
"""

import contextlib
import dataclasses
import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

SANDBOX = Path(__file__).parents[2] / "agentkit" / "sandbox"
OTHER_USER = 200_123

IMPORTS = "import ctypes, os, signal, socket, struct, threading\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Room:
    """A folder for the code, and beside it what the code must not touch."""

    folder: Path
    secret: Path
    outside: Path
    user: str
    """"same"; "dropped" from root, still reading; or "plain": never root, with /usr's Python."""

    def run(
        self, code: str, *, confined: bool = True, patch: str = "", **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run code; `options` are for `confine`, and `patch` runs before it."""
        settings = {
            "sandbox": str(SANDBOX),
            "folder": str(self.folder),
            "drop": OTHER_USER if self.user == "dropped" else 0,
            "confined": confined,
            "patch": patch,
            "options": options,
            "code": code,
        }
        plain = self.user == "plain"
        other = OTHER_USER if plain else None
        return subprocess.run(
            ["/usr/bin/python3" if plain else sys.executable, "-I", __file__],
            input=json.dumps(settings),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            cwd=self.folder,
            env={"HOME": str(self.folder), "TMPDIR": str(self.folder), "PATH": os.environ["PATH"]},
            user=other,
            group=other,
            extra_groups=[] if plain else None,
        )

    def answer(self, code: str, **options: Any) -> str:
        """Run code that works, and return what it printed."""
        done = self.run(code, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextlib.contextmanager
def make_room(user: str) -> Generator[Room]:
    # Not where the tests have theirs: that is closed to other users, and must not be why they are refused.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        top = Path(name)
        top.chmod(0o755)
        room = Room(folder=top / "work", secret=top / "secret", outside=top / "outside", user=user)
        room.secret.write_text("canary-7301", encoding="ascii")
        room.folder.mkdir()
        room.outside.mkdir()
        (room.outside / "victim").write_text("alive", encoding="ascii")
        if user != "same":
            for path in (room.folder, room.outside, room.outside / "victim"):
                os.chown(path, OTHER_USER, OTHER_USER)
        yield room


def fill(code: str, room: Room, listening: dict[str, object]) -> str:
    places = {"secret": str(room.secret), "outside": str(room.outside), "folder": str(room.folder)}
    return IMPORTS + code.format(**places, **listening)


def attempt(action: Callable[..., object], *arguments: Any) -> None:
    """Print "done" or the name of the error."""
    try:
        action(*arguments)
    except OSError as error:
        print(errno.errorcode.get(error.errno or 0, repr(error)))  # noqa: T201 - the answer
    else:
        print("done")  # noqa: T201 - the answer


def main() -> None:
    settings = json.load(sys.stdin)
    sys.path.insert(0, settings["sandbox"])
    import _confine
    import _kernel

    if settings["drop"]:
        _confine.drop_user(settings["drop"], keep_reading=True)
    os.setpgid(0, 0)  # a signal to the group must not reach the tests
    names: dict[str, object] = {"attempt": attempt, "call": _kernel.call, "_kernel": _kernel}
    exec(settings["patch"], names)
    if settings["confined"]:
        prefixes: Sequence[str] = (sys.prefix, sys.base_prefix)
        names["report"] = _confine.confine(
            read=_confine.readable_paths(
                sys.executable, prefixes, network=settings["options"].get("network", False)
            ),
            write=[settings["folder"]],
            **settings["options"],
        )
    exec(settings["code"], names)


if __name__ == "__main__":
    main()
