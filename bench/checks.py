"""Checks of a free-text answer against a value that was computed, tolerant of formatting only."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import TypeAlias
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Answer:
    """What a run answered, and when it began and ended (UTC)."""

    text: str
    started: datetime
    ended: datetime

    @classmethod
    def now(cls, text: str) -> "Answer":
        """An answer given this moment."""
        now = datetime.now(UTC)
        return cls(text, now, now)


Finder: TypeAlias = Callable[[Answer], list[int]]
"""The positions at which an answer states a value."""

Check: TypeAlias = Callable[[Answer], str]
"""What is wrong with an answer, "" if nothing is."""

_NUMBER = re.compile(
    r"(?<![\w.])[-\u2212]?(?:\d{1,3}(?:(?P<gap>[,_'\u00a0\u202f\u2009 ]|\\,|\{,\})\d{3})"
    r"(?:(?P=gap)\d{3})*|\d+)(?:\.\d+)?(?!\d)"
)
_TIME = re.compile(
    r"(?<![\d:.+\-\u2212])(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2}(?:\.\d+)?)?(?![\d:])"
    r"(?:\s*(?P<half>[ap])\.?m\b\.?)?",
    re.IGNORECASE,
)
_DAY = 24 * 60


def number(value: float, tolerance: float = 0.0) -> Finder:
    """State this number: grouped or not, as an integer or with decimals.

    >>> number(1234567)(Answer.now("It is 1,234,567.")), number(12)(Answer.now("It is 123."))
    ([6], [])
    """

    def find(answer: Answer) -> list[int]:
        return [at for at, found in _numbers(answer.text) if _same(found, value, tolerance)]

    return find


def _numbers(text: str) -> Iterator[tuple[int, str]]:
    for match in _NUMBER.finditer(text):
        gap = match["gap"]
        plain = match[0].replace(gap, "") if gap else match[0]
        yield match.start(), plain.replace("\u2212", "-")


def _same(found: str, value: float, tolerance: float) -> bool:
    if isinstance(value, int) and not tolerance:  # exact, however long
        whole, _, rest = found.partition(".")
        return int(whole) == value and not rest.strip("0")
    return abs(float(found) - value) <= tolerance + 1e-9 * abs(value)


def clock_time(hour: int, minute: int) -> Finder:
    """State this time of day, as 24 hours or with am or pm."""
    return lambda answer: [at for at, found in _times(answer.text) if found == hour * 60 + minute]


def time_in(zone: str, minutes: int = 2) -> Finder:
    """State the time the zone had during the run, give or take `minutes`."""

    def find(answer: Answer) -> list[int]:
        first = answer.started.astimezone(ZoneInfo(zone)) - timedelta(minutes=minutes)
        lasted = answer.ended - answer.started + timedelta(minutes=2 * minutes)
        begin, width = first.hour * 60 + first.minute, lasted / timedelta(minutes=1)
        return [at for at, found in _times(answer.text) if (found - begin) % _DAY <= width]

    return find


def _times(text: str) -> Iterator[tuple[int, int]]:
    for match in _TIME.finditer(text):
        hour, minute, half = int(match["hour"]), int(match["minute"]), match["half"]
        if half:
            hour = hour % 12 + 12 * (half.lower() == "p")
        if hour < 24 and minute < 60:
            yield match.start(), hour * 60 + minute


def day(value: date) -> Finder:
    """State this date in one of the usual ways; a year may be missing, but not be wrong."""
    month, short = f"{value:%B}", f"{value:%b}"
    name = rf"(?:{month}|{short})\.?"
    nth = rf"0?{value.day}(?:st|nd|rd|th)?"
    year = rf"(?!,?\s*(?!{value.year})\d{{4}})"
    return matching(
        rf"\b{value.year}-0?{value.month}-0?{value.day}\b",
        rf"\b{name}\s+{nth}\b{year}",
        rf"\b{nth}\s+(?:of\s+)?{name}(?!\w){year}",
        rf"\b0?{value.month}/0?{value.day}/{value.year}\b",
        rf"\b0?{value.day}[./]0?{value.month}[./]{value.year}\b",
    )


def words(*any_of: str) -> Finder:
    """State one of these words or phrases, whole."""
    return matching(*(rf"(?<!\w){re.escape(word)}(?!\w)" for word in any_of))


def matching(*patterns: str) -> Finder:
    """Match one of these patterns, upper or lower case."""
    compiled = [re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in patterns]
    return lambda answer: [m.start() for one in compiled for m in one.finditer(answer.text)]


def weekday_in(zone: str) -> Finder:
    """Name the weekday the zone had when the run began or ended."""

    def find(answer: Answer) -> list[int]:
        moments = (answer.started, answer.ended)
        return words(*(f"{one.astimezone(ZoneInfo(zone)):%A}" for one in moments))(answer)

    return find


def date_in(zone: str) -> Finder:
    """State the date the zone had when the run began."""
    return lambda answer: day(answer.started.astimezone(ZoneInfo(zone)).date())(answer)


def days_until(then: date) -> Finder:
    """State the number of days from the day of the run (UTC), or of whole days from its moment."""

    def find(answer: Answer) -> list[int]:
        days = (then - answer.started.astimezone(UTC).date()).days
        return [*number(days)(answer), *number(days - 1)(answer)]

    return find


def says(*finders: Finder, never: Finder | None = None) -> Check:
    """Require every value, and nothing of `never`."""

    def check(answer: Answer) -> str:
        missing = [str(n) for n, find in enumerate(finders, start=1) if not find(answer)]
        if missing:
            return f"value {', '.join(missing)} of {len(finders)} is missing"
        return "says what it must not" if never is not None and never(answer) else ""

    return check


def says_each(labelled: Sequence[tuple[str, Finder]]) -> Check:
    """Require every value, each with its own label: values come in the order of the labels.

    A label that the answer leaves out keeps the place it has in `labelled`.
    """

    def check(answer: Answer) -> str:
        found = [finder(answer) for _, finder in labelled]
        missing = [label for (label, _), places in zip(labelled, found, strict=True) if not places]
        if missing:
            return f"the value of {', '.join(missing)} is missing"
        labels = [words(*label.split("|"))(answer) for label, _ in labelled]
        order = list(range(len(labelled)))
        if all(labels):
            order.sort(key=lambda n: min(labels[n]))
        rows = product(*(found[n] for n in order))
        return "" if any(list(row) == sorted(row) for row in rows) else "values are swapped"

    return check


_DECLINES = matching(
    r"\b(?:can ?not|can['\u2019]t|could ?n['\u2019o]t|could not|un(?:able|available|known|certain))\b",
    r"\bn['\u2019o]t (?:\w+ )?(?:able|possible|available|known|accessible|found|provided|given|have)\b",
    r"\b(?:do|does|did)(?: not|n['\u2019]t) (?:\w+ )?(?:have|know|exist|provide|contain|tell|give)\b",
    r"\bno (?:\w+ )?(?:way|access|tool|tools|information|data|record|answer|such)\b",
    r"\bimpossible\b",
    r"\b404\b",
    r"\bnot found\b|\berror\b",
    r"\b(?:I|you|would) need\b|\bplease (?:provide|give|tell|check|ask)\b",
)


def declines(never: str) -> Check:
    """Require that the answer says it cannot be known, and invents nothing like `never`."""

    def check(answer: Answer) -> str:
        if matching(never)(answer):
            return "invents a value"
        return "" if _DECLINES(answer) else "does not say that this cannot be known"

    return check
