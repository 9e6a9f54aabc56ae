"""What `make security` writes: what was seen, and nothing that was not."""

import pytest

from agentkit.sandbox import Isolation
from tests.sandbox.hostile import COLUMNS, PROGRAMS
from tests.sandbox.page import Seen, cells, page


def seen_at(*columns: Isolation) -> Seen:
    """Return what there is to write where every program has run at these levels."""
    return {
        one.number: {column: f"new at {column}" for column in columns if one.holds_at(column)}
        for one in PROGRAMS
    }


def test_what_was_seen_at_every_level_is_written() -> None:
    written = page(seen_at(*COLUMNS), "")
    assert cells(written, PROGRAMS[0]) == {
        "process": "not held",
        **{column: f"held: new at {column}" for column in COLUMNS[1:]},
    }


@pytest.mark.parametrize("absent", ["namespaced", "vm", "monty"])
def test_a_level_that_is_not_here_keeps_what_stands(absent: Isolation) -> None:
    stands = page(seen_at(*COLUMNS), "").replace(f"new at {absent}", "as it stood")
    others: list[Isolation] = [column for column in COLUMNS if column != absent]
    assert page(seen_at(*others), stands) == stands


def test_a_level_that_is_not_here_and_does_not_stand_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is not written: 1 \(read a private key .*at 'vm'"):
        page(seen_at("process", "confined", "namespaced", "monty"), "")


def test_a_level_that_did_not_hold_one_program_is_refused() -> None:
    stands = page(seen_at(*COLUMNS), "")
    seen = seen_at(*COLUMNS)
    del seen[13]["vm"]
    with pytest.raises(ValueError, match=r"is not written: 13 \(loop for ever\) was not held"):
        page(seen, stands)
