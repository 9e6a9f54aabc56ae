"""What time it is somewhere, was or will be, and what a time there is elsewhere."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from agentkit.errors import ToolInputError
from agentkit.messages import PlanExample, PlanStep
from agentkit.protocols import Tool
from agentkit.toolkit import FunctionTool, tool
from agentkit_tools._when import read_when
from agentkit_tools._zones import Zone, find_zone

_NOW = PlanExample("What time is it in Oslo?", (PlanStep("time now in Oslo", "clock"),))
_ELSEWHERE = PlanExample(
    "A train leaves Rome at 7:15. Convert that to Perth time.",
    (PlanStep("7:15 in Rome as time in Perth", "time_elsewhere"),),
)


def _now() -> datetime:
    return datetime.now(UTC)


def make_clock(now: Callable[[], datetime] = _now) -> FunctionTool:
    """Return the clock tool; `now` gives the present as an aware datetime."""

    # Sync on purpose: a zone is read from disk, so this belongs into a thread.
    @tool(examples=[_NOW], effect="pure")
    def clock(zone: str, when: str = "now") -> str:
        """Tell the date and time it is now in a place, and its offset from UTC.

        Args:
            zone: city, IANA zone or "local"
            when: only if not now: "tomorrow 9am", "in 3 hours", "last Friday"
        """
        found = find_zone(zone)
        here = now().astimezone(found.info)
        if when.strip().lower() in {"now", ""}:
            return describe(here, found)
        note, moments = _read(when, here, found)
        return note + " ".join(
            f"{describe(one, found)}, {_distance(here, one)}." for one in moments
        )

    return clock


def make_time_elsewhere(now: Callable[[], datetime] = _now) -> FunctionTool:
    """Return the converting tool; `now` decides what today is.

    Its name does not say "convert": a small model would take it for units and dates as well.
    """

    @tool(examples=[_ELSEWHERE], effect="pure")
    def time_elsewhere(time: str, from_zone: str, to_zone: str) -> str:
        """Tell what a given time, such as 14:30, is in another zone. Not for the time now.

        Args:
            time: YYYY-MM-DD HH:MM, HH:MM, "tomorrow 9am"
            from_zone: city or IANA zone that the time is in
            to_zone: city or IANA zone to tell it in
        """
        source, target = find_zone(from_zone), find_zone(to_zone)
        note, moments = _read(time, now().astimezone(source.info), source)
        try:
            pairs = [_pair(moment, source, target) for moment in moments]
        except OverflowError as error:
            raise _beyond(time) from error
        if len(pairs) == 1:
            return note + pairs[0]
        return f"{note}First: {pairs[0]} Second: {pairs[1]}"

    return time_elsewhere


def describe(moment: datetime, zone: Zone) -> str:
    """Return a moment in words.

    >>> describe(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), Zone("UTC", UTC))
    'Friday 2026-01-02 03:04:05 in UTC (UTC+00:00)'
    """
    # Ireland's winter time is less than its standard time; that is no daylight saving either.
    saving = ", daylight saving time" if (moment.dst() or timedelta()) > timedelta() else ""
    short = moment.tzname() or ""
    short = f", {short}" if short.isalpha() and short != "UTC" else ""
    return f"{moment:%A} {_wall(moment)} in {zone.name} ({offset(moment)}{short}{saving})"


def offset(moment: datetime) -> str:
    """Return the distance to UTC.

    >>> from datetime import timezone
    >>> offset(datetime(2026, 1, 1, tzinfo=timezone(-timedelta(hours=3, minutes=30))))
    'UTC-03:30'
    """
    seconds = round((moment.utcoffset() or timedelta()).total_seconds())
    minutes, rest = divmod(abs(seconds), 60)
    odd = f":{rest:02}" if rest else ""  # before there were zones
    return f"UTC{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}{odd}"


def _read(text: str, now: datetime, zone: Zone) -> tuple[str, tuple[datetime, ...]]:
    """Return the moments a time means in a zone, two where it happens twice, and what to say."""
    try:
        given = read_when(text, now)
        return ("", (given.astimezone(zone.info),)) if given.tzinfo else _on_the_wall(given, zone)
    except OverflowError as error:
        raise _beyond(text) from error


def _beyond(text: str) -> ToolInputError:
    return ToolInputError(f"{text!r} is too near to an end of the calendar: years 1 to 9999.")


def _on_the_wall(naive: datetime, zone: Zone) -> tuple[str, tuple[datetime, ...]]:
    """Find the moments when a clock shows a time: none (then the one it jumps to), one or two."""
    first = naive.replace(tzinfo=zone.info, fold=0)
    second = naive.replace(tzinfo=zone.info, fold=1)
    if first.utcoffset() == second.utcoffset():
        return "", (first,)
    real = first.astimezone(UTC).astimezone(zone.info)
    if real.replace(tzinfo=None, fold=0) == naive:
        note = f"{_short(naive)} happens twice in {zone.name}: the clocks are set back. "
        return note, (first, second)
    skipped = (second.utcoffset() or timedelta()) - (first.utcoffset() or timedelta())
    what = "the clocks jump over it" if skipped < timedelta(1) else "the whole day is left out"
    taken = f"{real:%H:%M}" if real.date() == naive.date() else _short(real)
    return (
        f"{_short(naive)} does not exist in {zone.name}: {what}, from {offset(first)} to "
        f"{offset(second)}. Taken as {taken}: "
    ), (real,)


def _short(moment: datetime) -> str:
    return _wall(moment).removesuffix(":00")


def _wall(moment: datetime) -> str:
    """Return what calendar and clock show; `%Y` would write the year 999 without its zero."""
    return moment.replace(tzinfo=None, microsecond=0).isoformat(" ")


def _distance(now: datetime, moment: datetime) -> str:
    """Return how far a moment is from now, both in one zone: days of the calendar, real hours."""
    days = (moment.date() - now.date()).days
    side = "after" if days > 0 else "before"
    day = f"{_count(abs(days), 'day')} {side} today" if days else "today"
    # In UTC: Python subtracts times of one zone as if no clock were ever changed.
    seconds = round((moment.astimezone(UTC) - now.astimezone(UTC)).total_seconds())
    return f"{day}, {_duration(abs(seconds))} {'ago' if seconds < 0 else 'from now'}"


def _duration(seconds: int) -> str:
    if seconds < 60:
        return _count(seconds, "second")
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = (_count(hours, "hour") if hours else "", _count(minutes, "minute") if minutes else "")
    return " ".join(filter(None, parts))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _pair(moment: datetime, source: Zone, target: Zone) -> str:
    here, there = moment.astimezone(source.info), moment.astimezone(target.info)
    return f"{describe(here, source)} is {describe(there, target)}."


clock = make_clock()
time_elsewhere = make_time_elsewhere()
TOOLS: tuple[Tool, ...] = (clock, time_elsewhere)
