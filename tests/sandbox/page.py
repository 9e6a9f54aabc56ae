"""`docs/security.md`: written from what tests have seen of attacks, and held to it."""

import os
from pathlib import Path

from tests.tools.test_fetch_attacks import ATTACKS, Attack

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
WRITES = bool(os.environ.get("AGENTKIT_TEST_WRITE_SECURITY"))

HEAD = """# Security

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

**Held** is: the host is unharmed, the cell ends in bounded time with words that say what happened, and the next cell works. The rows
are tried as root and as a plain user. "not held" is what a level does not promise.

| # | what is tried | process | confined | namespaced |
|---|---|---|---|---|
"""
TAIL = """
Not held by any of them: faults of the kernel in the calls that remain (seccomp here is a list of what is denied, not of what is
allowed), side channels of the processor, and its share of it. Memory of all processes together, and their number where the kernel does
not hold it, are looked at ten times a second; files are counted twice a second where they lie on the host's disk. Names, sizes and
times of files outside can be seen at level "confined". For more, `AGENTKIT_CODE_ISOLATION=vm`.
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

_SEEN: dict[tuple[int, str], dict[str, str]] = {}


def note(number: int, name: str, level: str, seen: str) -> None:
    """Remember what became of a program at a level."""
    _SEEN.setdefault((number, name), {})[level] = seen


def line_of(number: int, name: str, seen: dict[str, str]) -> str:
    """Return the row of a program."""
    cells = (f"held: {seen[level]}" if level in seen else "not held" for level in _LEVELS)
    return f"| {number} | {name} | {' | '.join(cells)} |"


_LEVELS = ("process", "confined", "namespaced")


def fetch_row(attack: Attack) -> str:
    """Return the row of an attack on fetch."""
    outcome = f"{'read, bounded' if attack.is_read else 'refused'}: {attack.outcome}"
    return f"| {attack.name} | {attack.tries} | {outcome} |".replace("\n", " ")


def page() -> str:
    """Return the whole page, where all programs were noted."""
    attacks = "\n".join(map(fetch_row, ATTACKS))
    return f"{HEAD}{chr(10).join(code_rows())}\n{TAIL}{FETCH}{attacks}\n{FETCH_TAIL}"


def code_rows() -> list[str]:
    """Return the rows of all programs that were noted."""
    return [line_of(number, name, seen) for (number, name), seen in sorted(_SEEN.items())]
