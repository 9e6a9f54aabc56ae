"""Times seen from today: days are counted on the calendar, hours on a stopwatch."""

import re
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import ToolInputError
from agentkit_tools._when import read_when
from agentkit_tools.clock import make_clock, make_time_elsewhere

ZONES = sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})
WALLS = st.datetimes(*map(datetime.fromisoformat, ("1900-01-01", "2100-01-01")))
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MOMENT = r"\w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) in \S+ \(UTC([+-][\d:]+)[^)]*\)"
_PAIR = re.compile(rf"{_MOMENT} is {_MOMENT}\.")


def told(when: str, zone: str, now: str) -> str:
    """What the clock says of a time, where the clock on the wall shows `now`."""
    here = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo(zone))
    return make_clock(lambda: here)(zone=zone, when=when)


def seen(when: str, now: str = "2026-01-15 12:00") -> str:
    """The date and time that is read on a Thursday."""
    moment = read_when(when, datetime.fromisoformat(now).replace(tzinfo=UTC))
    return f"{moment:%a %m-%d %H:%M}"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("tomorrow 9am", "Fri 01-16 09:00"),
        ("Tomorrow, at 9 a.m.", "Fri 01-16 09:00"),
        ("2:30 pm tomorrow", "Fri 01-16 14:30"),
        ("yesterday", "Wed 01-14 12:00"),
        ("today 14:30", "Thu 01-15 14:30"),
        ("the day after tomorrow at noon", "Sat 01-17 12:00"),
        ("day before yesterday 00:00", "Tue 01-13 00:00"),
        ("in 3 hours", "Thu 01-15 15:00"),
        ("in 1h30min", "Thu 01-15 13:30"),
        ("in half an hour", "Thu 01-15 12:30"),
        ("1.5 hours from now", "Thu 01-15 13:30"),
        ("90 minutes ago", "Thu 01-15 10:30"),
        ("2 days ago", "Tue 01-13 12:00"),
        ("two days ago at 8:15", "Tue 01-13 08:15"),
        ("in a week", "Thu 01-22 12:00"),
        ("in 2 days and 3 hours", "Sat 01-17 15:00"),
        ("in 1 month", "Sun 02-15 12:00"),
        ("1 year ago", "Wed 01-15 12:00"),
        ("Friday", "Fri 01-16 12:00"),
        ("on wed 9:00", "Wed 01-21 09:00"),
        ("next Friday", "Fri 01-16 12:00"),
        ("next Thursday", "Thu 01-22 12:00"),
        ("last Thursday", "Thu 01-08 12:00"),
        ("last Monday 8:15", "Mon 01-12 08:15"),
        ("18:00 this Sunday", "Sun 01-18 18:00"),
        ("end of month", "Sat 01-31 12:00"),
        ("the last day of the month 17:00", "Sat 01-31 17:00"),
        ("2026-12-24 noon", "Thu 12-24 12:00"),
    ],
)
def test_days_and_hours_are_seen_from_now(when: str, expected: str) -> None:
    assert seen(when) == expected


@pytest.mark.parametrize(
    "when",
    [
        "next week",
        "this month",
        "tonight",
        "tomorrow morning",
        "tomorrow midnight",
        "in 1.5 days",
        "in 3 hours at 9am",
        "9am in 3 hours",
        "tomorrow yesterday",
        "tomorrow 25:00",
        "2026-02-30 9am",
        "in hours",
        "9",
        "in 3 hours " * 30,
    ],
)
def test_what_has_no_one_meaning_is_answered_with_the_forms_there_are(when: str) -> None:
    with pytest.raises(ToolInputError, match=r"tomorrow 9am, next Friday 14:30.* in 3 hours"):
        seen(when)


@pytest.mark.parametrize("when", ["Thursday", "this thu 18:00"])
def test_the_weekday_of_today_is_asked_back(when: str) -> None:
    with pytest.raises(ToolInputError, match="write today, next Thursday or last Thursday"):
        seen(when)


def test_a_month_that_has_no_such_day_is_named() -> None:
    with pytest.raises(ToolInputError, match="no 2026-02-31: that month has 28 days"):
        seen("in 1 month", "2026-01-31 12:00")


def test_a_year_after_a_leap_day_is_asked_back() -> None:
    with pytest.raises(ToolInputError, match="no 2029-02-29"):
        seen("in 1 year", "2028-02-29 12:00")


@pytest.mark.parametrize(
    ("when", "now"),
    [
        ("yesterday", "0001-01-01 12:00"),
        ("1 hour ago", "0001-01-01 00:30"),
        ("1 month ago", "0001-01-15 12:00"),
        ("tomorrow", "9999-12-31 12:00"),
        ("in 1 hour", "9999-12-31 23:30"),
        ("next Monday", "9999-12-31 12:00"),
        ("in 999999 weeks", "2026-01-15 12:00"),
        ("in 999999 years", "2026-01-15 12:00"),
    ],
)
def test_beyond_the_calendar_is_refused(when: str, now: str) -> None:
    with pytest.raises(ToolInputError, match="years 1 to 9999"):
        told(when, "UTC", now)


def test_tomorrow_is_not_in_24_hours_where_the_clocks_change() -> None:
    before = "2026-03-28 12:00"
    tomorrow = told("tomorrow", "Europe/Berlin", before)
    later = told("in 24 hours", "Europe/Berlin", before)
    assert tomorrow.startswith("Sunday 2026-03-29 12:00:00")
    assert tomorrow.endswith(", 1 day after today, 23 hours from now.")
    assert later.startswith("Sunday 2026-03-29 13:00:00")
    assert later.endswith(", 1 day after today, 24 hours from now.")
    back = told("yesterday", "Europe/Berlin", "2026-10-25 12:00")
    assert back.endswith(", 1 day before today, 25 hours ago.")


def test_a_day_and_hours_are_the_day_first() -> None:
    text = told("in 1 day 3 hours", "Europe/Berlin", "2026-03-28 01:30")
    assert text.startswith("Sunday 2026-03-29 05:30:00")


def test_a_time_tomorrow_that_happens_twice_is_told_twice() -> None:
    text = told("tomorrow 02:30", "Europe/Berlin", "2026-10-24 12:00")
    assert "2026-10-25 02:30 happens twice" in text
    assert "(UTC+02:00, CEST, daylight saving time), 1 day after today, 14 hours 30 min" in text
    assert "(UTC+01:00, CET), 1 day after today, 15 hours 30 min" in text


def test_half_an_hour_of_saving_is_told() -> None:
    spring = told("tomorrow 2:15", "Australia/Lord_Howe", "2026-10-03 12:00")
    assert "jump over it, from UTC+10:30 to UTC+11:00. Taken as 02:45" in spring
    autumn = told("tomorrow 1:45", "Australia/Lord_Howe", "2026-04-04 12:00")
    assert "happens twice" in autumn
    assert "13 hours 45 minutes from now" in autumn
    assert "14 hours 15 minutes from now" in autumn


@pytest.mark.parametrize(
    ("when", "zone", "now", "taken"),
    [
        ("tomorrow 00:00", "Africa/Cairo", "2026-04-23 12:00", "01:00"),
        ("next Sunday 00:30", "America/Sao_Paulo", "2018-11-01 12:00", "01:30"),
        ("today 23:30", "America/Nuuk", "2026-03-28 12:00", "2026-03-29 00:30"),
    ],
)
def test_a_midnight_that_the_clocks_jump_over_is_told(
    when: str, zone: str, now: str, taken: str
) -> None:
    text = told(when, zone, now)
    assert "the clocks jump over it" in text
    assert f"Taken as {taken}: " in text


def test_a_day_that_was_left_out_is_told() -> None:
    text = told("tomorrow 9am", "Pacific/Apia", "2011-12-29 12:00")
    assert text.startswith("2011-12-30 09:00 does not exist in Pacific/Apia: the whole day")
    assert "Taken as 2011-12-31 09:00: Saturday 2011-12-31 09:00:00" in text
    assert text.endswith("2 days after today, 21 hours from now.")


def test_days_are_counted_where_the_time_is() -> None:
    now = datetime(2026, 1, 15, 23, 0, tzinfo=UTC)  # Friday in Tokyo
    elsewhere = make_time_elsewhere(lambda: now)
    text = elsewhere(time="tomorrow 8:30", from_zone="Tokyo", to_zone="UTC")
    assert text.startswith("Saturday 2026-01-17 08:30:00 in Asia/Tokyo")
    assert "is Friday 2026-01-16 23:30:00 in UTC" in text


@settings(deadline=None)  # a zone is read from disk
@given(st.dates(date(1, 1, 9), date(9999, 12, 23)), st.integers(0, 6))
def test_next_and_last_are_the_nearest_that_are_not_today(today: date, number: int) -> None:
    now = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
    following = read_when(f"next {WEEKDAYS[number]}", now)
    gone = read_when(f"last {WEEKDAYS[number]}", now)
    assert following.weekday() == gone.weekday() == number
    assert 1 <= (following.date() - today).days <= 7
    assert 1 <= (today - gone.date()).days <= 7


@settings(deadline=None)  # a zone is read from disk
@given(
    WALLS,
    st.sampled_from(ZONES),
    st.integers(0, 999_999),
)
def test_hours_there_and_back_are_none(wall: datetime, zone: str, minutes: int) -> None:
    info = ZoneInfo(zone)
    now = wall.replace(tzinfo=UTC, microsecond=0).astimezone(info)
    later = read_when(f"in {minutes} minutes", now)
    assert later.astimezone(UTC) - now.astimezone(UTC) == timedelta(minutes=minutes)
    assert read_when(f"{minutes} min ago", later).astimezone(UTC) == now.astimezone(UTC)


@settings(deadline=None)  # a zone is read from disk
@given(WALLS, st.integers(0, 99_999))
def test_days_there_and_back_are_none(wall: datetime, days: int) -> None:
    now = wall.replace(tzinfo=ZoneInfo("Europe/Berlin"), microsecond=0)
    later = read_when(f"in {days} days", now)
    assert later.time() == now.time()
    back = read_when(f"{days} days ago", later.replace(tzinfo=now.tzinfo))
    assert back == now.replace(tzinfo=None)


@settings(deadline=None)  # a zone is read from disk
@given(
    WALLS,
    st.sampled_from(ZONES),
    st.sampled_from(ZONES),
)
def test_a_time_there_and_back_is_itself_but_where_the_clocks_change(
    wall: datetime, source: str, target: str
) -> None:
    wall = wall.replace(microsecond=0)
    _holds_there_and_back(str(wall), source, target)


@settings(deadline=None)  # a zone is read from disk
@given(st.integers(-120, 120), st.sampled_from(ZONES))
def test_it_is_itself_next_to_every_change_of_the_clocks_too(minutes: int, target: str) -> None:
    for change in ("2026-03-29 02:30", "2026-10-25 02:30"):
        near = datetime.fromisoformat(change) + timedelta(minutes=minutes)
        _holds_there_and_back(str(near), "Europe/Berlin", target)


def _holds_there_and_back(wall: str, source: str, target: str) -> None:
    text = _converted(wall, source, target)
    pairs = _PAIR.findall(text)
    twice = "happens twice" in text
    assert len(pairs) == 1 + twice
    if "does not exist" in text:
        # It is never shown: no offset of the zone leads to it.
        assert all(here != wall for here, *_ in pairs)
    else:
        assert {here for here, *_ in pairs} == {wall}
        assert len({offset for _, offset, *_ in pairs}) == len(pairs)
    for here, offset, there, _ in pairs:
        back = [(shown, shift) for _, _, shown, shift in _back(there, target, source)]
        assert (here, offset) in back


def _back(wall: str, source: str, target: str) -> list[tuple[str, str, str, str]]:
    text = _converted(wall, source, target)
    assert "does not exist" not in text  # it was just told of a clock there
    return _PAIR.findall(text)


def _converted(wall: str, source: str, target: str) -> str:
    tool = make_time_elsewhere(lambda: datetime(2026, 1, 15, 12, 0, tzinfo=UTC))
    return tool(time=wall, from_zone=source, to_zone=target)
