"""What counts as a figure that was given, written in another way."""

import pytest

from agentkit.loop._figures import states, strange_figures


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        ("42.16 km", "42.164972"),
        ("1,267,650,600,228,229", "1267650600228229"),
        ("1234", "1234.0"),
        ("$47.8, or 47.80 euros", "47.80 euros"),
        ("17.5% of it", "17.5 percent"),
        ("It is 3:05 PM.", "15:05:11"),
        ("It is 8 pm there.", "20:00:00 in Lima"),
        ("It is 12 AM.", "00:00:10"),
        ("On 25 November 2026", "2026-11-25"),
        ("On the 25th", "2026-11-25"),
        ("11/25/2026", "2026-11-25"),
        ("UTC+05:30", "in Asia/Kolkata (UTC+05:30, IST)"),
        ("5 hours and 30 minutes ahead", "UTC+05:30"),
        ("1. Paris: 03:49\n2. Rome: 03:49", "03:49:57"),
        ("15.70 less", "-15.70"),
        ("-15.70", "\u221215.70"),
        ("2cf24dba", "2cf24dba5fb0a30e26e83b2ac5b9e29e"),
        ("See http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("H2O and a B12 pill", "water"),
        ("Nothing to see.", ""),
        ("A large number: " + "7" * 5000, "7" * 5000),
    ],
)
def test_a_figure_that_was_given_may_be_written_another_way(answer: str, given: str) -> None:
    assert strange_figures(answer, given) == ()


@pytest.mark.parametrize(
    ("answer", "given", "strange"),
    [
        ("It is 10:09:50.", "09:09:50", ("10:09:50",)),
        ("It is 10:09.", "day 10, 09:09:50", ("10:09",)),
        ("It is 9:09 PM.", "09:09:50", ("9:09",)),
        ("She was 3.", "32", ("3",)),
        ("02cf24dba", "2cf24dba", ("02cf24dba",)),
        ("573.59 euros", "573.5999999999999", ("573.59",)),
        ("43 km, not 43", "42.164972", ("43",)),
        ("1267650600228229401496703205367", "1267650600228229401496703205376", None),
        ("25 or 26 November 2026", "2026-11-25", ("26",)),
    ],
)
def test_a_figure_that_nobody_gave_is_found(
    answer: str, given: str, strange: tuple[str, ...] | None
) -> None:
    assert strange_figures(answer, given) == ((answer,) if strange is None else strange)


@pytest.mark.parametrize(
    ("answer", "result", "told"),
    [
        ("It is 2,376.", "2376", True),
        ("It is 573.60 euros.", "573.5999999999999", True),
        ("It is 237.", "2376", False),
        ("Adam, Bela and Zoe", "['Adam', 'Bela', 'Zoe']", True),
        ("Adam, then Zoe, then Bela", "['Adam', 'Bela', 'Zoe']", False),
        ("nur tiktnega emitnur", "emitnur tiktnega", False),
        ("Adam and Zoe", "['Adam', 'Bela', 'Zoe']", False),
        ("Yes, it is prime.", "True", True),
        ("It was a Tuesday.", "1", True),
        ("On Sunday, 11 May 2025", "2025-05-11 00:00:00", True),
        ("Wednesday", "Wednesday 2026-11-25 11:45:06 in Asia/Tokyo (UTC+09:00, JST)", True),
        ("It is teal.", "# Kettle K-7\n\nColour: teal", True),
    ],
)
def test_a_short_result_must_be_in_the_answer(answer: str, result: str, told: bool) -> None:
    assert states(answer, result) is told
