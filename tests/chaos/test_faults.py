"""Each fault is made, and the page about them says what is seen."""

import os
from pathlib import Path

import anyio
import pytest

from tests.chaos.faults import ROWS, Rig, Row

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
WRITES = bool(os.environ.get("AGENTKIT_TEST_WRITE_FAULTS"))
HEAD = """\
# Faults

What a run survives, and how. Each row is made to happen by a test (`tests/chaos/faults.py`), which holds the outcome to what is
expected and this page to what it has seen. `make chaos` writes it anew, and then lets 200 runs go side by side while all of it happens at
once, ten times over, each time from another seed (`tests/chaos/test_storm.py`). There every run has to end in its answer or a named
stop, no effect may come twice, and no text may reach a consumer twice.

| what goes wrong | fault | expected | seen |
|---|---|---|---|
"""

seen: dict[int, str] = {}


def line_of(row: Row, outcome: str) -> str:
    cells = (row.area, row.fault, row.expected, outcome.replace("|", "\\|").replace("\n", " "))
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.fault for row in ROWS])
async def test_a_fault_is_survived_as_the_page_says(number: int, tmp_path: Path) -> None:
    row = ROWS[number]
    seen[number] = await row.happen(Rig(tmp_path / "rig"))
    if not WRITES:
        lines = (await anyio.Path(PAGE).read_text(encoding="utf-8")).splitlines()
        assert line_of(row, seen[number]) in lines, "make chaos writes docs/faults.md anew"


def test_the_page_has_these_faults_and_no_others() -> None:
    if WRITES:
        assert len(seen) == len(ROWS), "not all faults have been seen: see the failures before"
        lines = [line_of(row, seen[number]) for number, row in enumerate(ROWS)]
        PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    assert len(text.removeprefix(HEAD).splitlines()) == len(ROWS)
