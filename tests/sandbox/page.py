"""`docs/security.md`: written from what tests have seen of attacks, and held to it."""

import os
from pathlib import Path
from typing import TypeAlias

from tests.sandbox.hostile import COLUMNS, PROGRAMS, Program
from tests.tools.test_fetch_attacks import ATTACKS, Attack

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
WRITES = bool(os.environ.get("AGENTKIT_TEST_WRITE_SECURITY"))

GVISOR = "gVisor 0.0~20221219.0"
"""Whose words stand at "vm": another version, or a container, must hold as much and may say else."""

HEAD = f"""# Security

What hostile code and hostile pages try, and what becomes of it. Each row is tried by a test, which holds the outcome and this page
to what it has seen; `make security` writes the page anew. What none of it stops is at the end of each part.

## Code

Model-written code runs at the strongest of these levels that holds on the machine, which agentkit finds out by trying to break it
(`agentkit doctor` tells; so does every call in the trace). Nothing is run below `AGENTKIT_CODE_MINIMUM`, "confined" where it is not set.

| level | what it adds | needs |
|---|---|---|
| process | a process tree with limits, watched and killed as a whole | any POSIX |
| confined | Landlock and seccomp; a user of its own where agentkit is root | Linux 5.13, no root, no package |
| namespaced | bubblewrap: nothing else is there, and one kill ends all of it | `apt install bubblewrap` |
| vm | on request: gVisor, a kernel in a process that answers all system calls; of this machine it shows the folders of Python, its packages and the system's libraries (`/usr` where Python is from there), and the inputs, read-only | `apt install runsc` |
| monty | on request: another interpreter, for pure computation, that has no files, network, processes or most modules | `pip install "qwen-agentkit[monty]"`, any system |

**Held** is: the host is unharmed, the cell ends in bounded time with words that say what happened, and the next cell works. The rows
are tried as root and as a plain user. "not held" is what a level does not promise. The column "vm" tells of {GVISOR}; other
versions, and docker or podman where it is not installed, run the same programs and may end them with other words.

| # | what is tried | process | confined | namespaced | vm | monty |
|---|---|---|---|---|---|---|
"""
TAIL = """
Not held by any of them: faults of the kernel in the calls that remain (seccomp here is a list of what is denied, not of what is
allowed), side channels of the processor, and its share of it. Memory of all processes together, and their number where the kernel does
not hold it, are looked at ten times a second in a cell and each second between two; files are counted twice a second where they lie on the host's disk. Names, sizes and
times of files outside can be seen at level "confined". For more, `AGENTKIT_CODE_ISOLATION=vm`.

Not held by "vm": faults of gVisor, whose process has the rights of the user, and its share of the processor. Code can have rights over
that kernel, and end it, which ends its session and nothing else. Memory, of processes and of gVisor for them, and the numbers of
processes and files are looked at several times a second; a container of docker or podman holds memory and processes at once, but stands
on the machine's own kernel.

Not held by "monty": faults of the interpreter, whose process has the rights of the user and nothing around it. Where the host is killed
during a cell, that process goes on for a minute at most. Variables of more than 16 MB are not copied: a cell that has to be stopped
costs them, and that is said.
"""

FETCH = """
## Fetch

What a page, a name server or a model can try to turn `fetch` inward or to make it costly. Each row is tried against a real server on
loopback by `tests/tools/test_fetch_attacks.py`, which holds the outcome to what stands here, and asserts for each of them that the secret
inside never shows, that the server inside is not asked, that each name is looked up once, and that memory stays bounded.

| what is tried | how | outcome |
|---|---|---|
"""
FETCH_TAIL = """
Not stopped: what a page says (see [untrusted.md](untrusted.md)), text that only a style sheet hides, an allowed host that carries out what
an address holds, and what a proxy of yours reaches on its own.
"""

Seen: TypeAlias = dict[int, dict[str, str]]
"""What became of programs, by number and column."""

SEEN: Seen = {}
"""In these tests, so far."""


def note(one: Program, column: str, seen: str) -> None:
    """Remember what became of a program at a level."""
    SEEN.setdefault(one.number, {})[column] = seen


def read_page() -> str:
    return PAGE.read_text(encoding="utf-8")


def cells(text: str, one: Program) -> dict[str, str]:
    """Return what a page says of a program by column; nothing if it does not know it."""
    for line in text.splitlines():
        if line.startswith(f"| {one.number} | {one.name} |"):
            return dict(zip(COLUMNS, line.strip("| ").split(" | ")[2:], strict=False))
    return {}


def code_rows(seen: Seen, text: str) -> list[str]:
    """Return a row for each program: what was seen, and what stands where a level was not tried.

    Raises:
        ValueError: a level was tried with some programs only, or nothing stands there.
    """
    tried = {column for columns in seen.values() for column in columns}
    return [_row(one, tried, seen.get(one.number, {}), cells(text, one)) for one in PROGRAMS]


def _row(one: Program, tried: set[str], seen: dict[str, str], stands: dict[str, str]) -> str:
    row = [str(one.number), one.name]
    for column in COLUMNS:
        if column in seen:
            row.append(f"held: {seen[column]}")
        elif not one.holds_at(column):
            row.append("not held")
        elif column not in tried and column in stands:
            row.append(stands[column])
        else:
            raise ValueError(
                f"docs/security.md is not written: {one.number} ({one.name}) was not held, or not "
                f"tried, at {column!r}. Run make security where that level holds."
            )
    return f"| {' | '.join(row)} |"


def fetch_row(attack: Attack) -> str:
    """Return the row of an attack on fetch."""
    outcome = f"{'read, bounded' if attack.is_read else 'refused'}: {attack.outcome}"
    return f"| {attack.name} | {attack.tries} | {outcome} |".replace("\n", " ")


def page(seen: Seen, text: str) -> str:
    """Return the whole page, with what was seen, and what stands where a level was not tried."""
    attacks = "\n".join(map(fetch_row, ATTACKS))
    return f"{HEAD}{chr(10).join(code_rows(seen, text))}\n{TAIL}{FETCH}{attacks}\n{FETCH_TAIL}"
