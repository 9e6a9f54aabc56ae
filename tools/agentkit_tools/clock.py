"""What time it is somewhere, and what a time there is elsewhere."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from agentkit.errors import ToolInputError
from agentkit.messages import PlanExample, PlanStep
from agentkit.protocols import Tool
from agentkit.toolkit import FunctionTool, tool
from agentkit_tools._zones import Zone, find_zone

_FORMATS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I %p", "%I:%M%p", "%I%p")
_DATED = ("%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M%p", "%Y-%m-%d %I %p", "%Y-%m-%d %I%p")

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
    def clock(zone: str) -> str:
        """Tell the date and time it is now in a place, and its offset from UTC.

        Args:
            zone: city, IANA zone or "local"
        """
        found = find_zone(zone)
        return describe(now().astimezone(found.info), found)

    return clock


def make_time_elsewhere(now: Callable[[], datetime] = _now) -> FunctionTool:
    """Return the converting tool; `now` decides what today is.

    Its name does not say "convert": a small model would take it for units and dates as well.
    """

    @tool(examples=[_ELSEWHERE], effect="pure")
    def time_elsewhere(time: str, from_zone: str, to_zone: str) -> str:
        """Tell what a given time, such as 14:30, is in another zone. Not for the time now.

        Args:
            time: YYYY-MM-DD HH:MM, or HH:MM for today
            from_zone: city or IANA zone that the time is in
            to_zone: city or IANA zone to tell it in
        """
        source, target = find_zone(from_zone), find_zone(to_zone)
        given = read_time(time, now().astimezone(source.info))
        try:
            if given.tzinfo is not None:  # "now", or the text carries an offset of its own
                return _pair(given, source, target)
            return _convert(given, source, target)
        except OverflowError as error:
            raise ToolInputError(f"{time!r} is too near to the end of the calendar.") from error

    return time_elsewhere


def read_time(text: str, today: datetime) -> datetime:
    """Read a time as people write it; the date of `today` where none is given.

    >>> read_time("2:30 pm", datetime(2026, 7, 1, 9, 0))
    datetime.datetime(2026, 7, 1, 14, 30)
    >>> read_time("2026-12-24 18:00", datetime(2026, 7, 1))
    datetime.datetime(2026, 12, 24, 18, 0)

    Raises:
        ToolInputError: it cannot be read.
    """
    text = " ".join(text.split())
    if text.lower() == "now":
        return today
    if not text.isdigit():  # fromisoformat would read "14" as a year or a week
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    spelled = text.lower().replace(".", "").replace("noon", "12:00").replace("midnight", "00:00")
    for form in (*_FORMATS, *_DATED):
        try:
            read = datetime.strptime(spelled, form)  # noqa: DTZ007 - its zone is a separate argument
        except ValueError:
            continue
        return read if form in _DATED else datetime.combine(today.date(), read.time())
    raise ToolInputError(f"{text!r} is not a time. Write 14:30, 2:30 pm or 2026-03-29 14:30.")


def describe(moment: datetime, zone: Zone) -> str:
    """Return a moment in words.

    >>> describe(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), Zone("UTC", UTC))
    'Friday 2026-01-02 03:04:05 in UTC (UTC+00:00)'
    """
    saving = ", daylight saving time" if moment.dst() else ""
    short = moment.tzname() or ""
    short = f", {short}" if short.isalpha() and short != "UTC" else ""
    return f"{moment:%A %Y-%m-%d %H:%M:%S} in {zone.name} ({offset(moment)}{short}{saving})"


def offset(moment: datetime) -> str:
    """Return the distance to UTC.

    >>> from datetime import timezone
    >>> offset(datetime(2026, 1, 1, tzinfo=timezone(-timedelta(hours=3, minutes=30))))
    'UTC-03:30'
    """
    minutes = round((moment.utcoffset() or timedelta()) / timedelta(minutes=1))
    sign = "-" if minutes < 0 else "+"
    return f"UTC{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _convert(naive: datetime, source: Zone, target: Zone) -> str:
    """Convert a time on the wall, and say so where the wall skips it or shows it twice."""
    first = naive.replace(tzinfo=source.info, fold=0)
    second = naive.replace(tzinfo=source.info, fold=1)
    if first.utcoffset() == second.utcoffset():
        return _pair(first, source, target)
    real = first.astimezone(UTC).astimezone(source.info)
    if real.replace(tzinfo=None, fold=0) != naive:
        return (
            f"{naive:%Y-%m-%d %H:%M} does not exist in {source.name}: the clocks jump over it, "
            f"from {offset(first)} to {offset(second)}. Taken as {real:%H:%M}: "
            f"{_pair(real, source, target)}"
        )
    return (
        f"{naive:%Y-%m-%d %H:%M} happens twice in {source.name}: the clocks are set back. "
        f"First: {_pair(first, source, target)} Second: {_pair(second, source, target)}"
    )


def _pair(moment: datetime, source: Zone, target: Zone) -> str:
    here, there = moment.astimezone(source.info), moment.astimezone(target.info)
    return f"{describe(here, source)} is {describe(there, target)}."


clock = make_clock()
time_elsewhere = make_time_elsewhere()
TOOLS: tuple[Tool, ...] = (clock, time_elsewhere)
