"""Times as people write them: of a clock, of a day seen from today, or so long from now."""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import NoReturn

from agentkit.errors import ToolInputError

LONGEST = 100
"""Characters of a time that are read."""

_FORMS = (
    "Write 14:30, 2:30 pm, 2026-03-29 14:30, tomorrow 9am, next Friday 14:30, end of month, "
    "in 3 hours or 2 days ago."
)
_CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I %p", "%I:%M%p", "%I%p")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_NEAR = {
    "day before yesterday": -2,
    "yesterday": -1,
    "today": 0,
    "tomorrow": 1,
    "day after tomorrow": 2,
}
# Days, weeks and months are counted on the calendar, the rest on a stopwatch: where clocks are
# changed, tomorrow at this time is 23 or 25 hours away.
_CALENDAR = {"day": (0, 1), "week": (0, 7), "month": (1, 0), "year": (12, 0)}
_SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "h": 3600}

_NUMBER = rf"(?:\d{{1,6}}(?:\.\d{{1,3}})?|{'|'.join(_NUMBERS)})"
_UNIT = rf"(?:{'|'.join((*_CALENDAR, *_SECONDS))})"
_PARTS = re.compile(rf"({_NUMBER}) ?({_UNIT})s?(?![a-z])")
_PART = rf"{_NUMBER} ?{_UNIT}s?(?![a-z])"
_SPAN = rf"{_PART}(?:(?: and)? ?{_PART})*"
_ANCHOR = (
    rf"(?:in (?P<after>{_SPAN})|(?P<later>{_SPAN}) from now|(?P<before>{_SPAN}) ago"
    rf"|(?:the )?(?P<near>{'|'.join(_NEAR)})"
    r"|(?:on )?(?:(?P<which>next|last|this) )?(?P<weekday>mon(?:day)?|tue(?:s(?:day)?)?"
    r"|wed(?:nesday)?|thu(?:r(?:s(?:day)?)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
    r"|(?P<end>(?:the )?(?:end|last day) of (?:the |this )?month))"
)
_LEADING = re.compile(rf"{_ANCHOR}(?: (?P<time>.+))?")
_TRAILING = re.compile(rf"(?P<time>.+?) {_ANCHOR}")
_DATED = re.compile(r"(\d{4}-\d{2}-\d{2}) (.+)")


def read_when(text: str, now: datetime) -> datetime:
    """Read a time as people write it, seen from `now`, an aware moment in the zone of the time.

    Returns what a clock on the wall shows, without a zone, or a moment with one: for what is
    counted in hours, and where the text says its offset. A day without a time is at the time it
    is now; "next Friday" is the first one after today.

    >>> now = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
    >>> read_when("2:30 pm", now), read_when("next Friday 8:15", now)
    (datetime.datetime(2026, 1, 15, 14, 30), datetime.datetime(2026, 1, 16, 8, 15))
    >>> read_when("in 3 hours", now)
    datetime.datetime(2026, 1, 15, 15, 0, tzinfo=datetime.timezone.utc)

    Raises:
        ToolInputError: it cannot be read, or means more than one time.
        OverflowError: it is beyond the years 1 to 9999.
    """
    plain = " ".join(text[: LONGEST + 1].split())
    if len(text) > LONGEST:
        _refuse(f"{plain[:40]}...")
    if not plain.isdigit():  # fromisoformat would read "14" as a year or a week
        try:
            return datetime.fromisoformat(plain)
        except ValueError:
            pass
    found = _in_words(_plainer(plain), now.replace(microsecond=0))
    return _refuse(text) if found is None else found


def _refuse(text: str) -> NoReturn:
    raise ToolInputError(f"{text!r} is not a time, or has more than one meaning. {_FORMS}")


def _plainer(text: str) -> str:
    text = re.sub(r"\b([ap])\.m\.?(?![a-z])", r"\1m", text.lower()).replace(",", " ")
    text = re.sub(r"(?:^| )at ", " ", text).replace("half an hour", "30 minutes")
    return " ".join(text.split())


def _in_words(text: str, now: datetime) -> datetime | None:
    if text in {"now", "today"}:
        return now
    match = _LEADING.fullmatch(text) or _TRAILING.fullmatch(text)
    if match is None:
        return _on_a_date(text, now)
    at = None
    if match["time"]:
        at = _time_of(match["time"])
        if at is None:
            return None
    for way, span in ((1, match["after"] or match["later"]), (-1, match["before"])):
        if span:
            return _so_long_from(now, way, span, at)
    return datetime.combine(_day_of(match, now.date()), at or now.time())


def _on_a_date(text: str, now: datetime) -> datetime | None:
    day, spelled = now.date(), text
    if dated := _DATED.fullmatch(text):
        try:
            day, spelled = date.fromisoformat(dated[1]), dated[2]
        except ValueError:
            return None
    elif text == "midnight":  # of a named day it could be either end
        spelled = "00:00"
    at = _time_of(spelled)
    return None if at is None else datetime.combine(day, at)


def _time_of(spelled: str) -> time | None:
    if spelled == "noon":
        return time(12)
    for form in _CLOCKS:
        try:
            return datetime.strptime(spelled, form).time()  # noqa: DTZ007 - its zone is a separate argument
        except ValueError:
            continue
    return None


def _day_of(match: re.Match[str], today: date) -> date:
    if match["near"]:
        return today + timedelta(days=_NEAR[match["near"]])
    if match["end"]:
        return today.replace(day=monthrange(today.year, today.month)[1])
    return _weekday(match["weekday"], match["which"], today)


def _weekday(name: str, which: str | None, today: date) -> date:
    number = next(n for n, day in enumerate(_WEEKDAYS) if day.lower().startswith(name[:3]))
    ahead = (number - today.weekday()) % 7
    if which == "last":
        return today + timedelta(days=ahead - 7)
    if ahead == 0 and which != "next":
        day = _WEEKDAYS[number]
        raise ToolInputError(
            f"Today, {today}, is a {day}: write today, next {day} or last {day} instead of {day}."
        )
    return today + timedelta(days=ahead or 7)


def _so_long_from(now: datetime, way: int, span: str, at: time | None) -> datetime | None:
    """Go the days first, on the calendar, then the hours, as they pass."""
    months = days = seconds = 0.0
    on_calendar = False
    for count, unit in _PARTS.findall(span):
        number = float(_NUMBERS.get(count, 0) or count)
        if unit in _SECONDS:
            seconds += number * _SECONDS[unit]
            continue
        if number % 1:  # half a day: of 24 hours, or of this one?
            return None
        on_calendar = True
        months += number * _CALENDAR[unit][0]
        days += number * _CALENDAR[unit][1]
    if seconds and at is not None:
        return None
    start = now
    if on_calendar:
        day = _months_from(now.date(), way * int(months)) + timedelta(days=way * days)
        wall = datetime.combine(day, at or now.time())
        if not seconds:
            return wall
        start = wall.replace(tzinfo=now.tzinfo)
    return (start.astimezone(UTC) + timedelta(seconds=way * seconds)).astimezone(now.tzinfo)


def _months_from(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not date.min.year <= year <= date.max.year:
        raise OverflowError
    last = monthrange(year, month + 1)[1]
    if day.day > last:
        raise ToolInputError(
            f"There is no {year:04}-{month + 1:02}-{day.day}: that month has {last} days. "
            "Write the date that you mean."
        )
    return date(year, month + 1, day.day)
