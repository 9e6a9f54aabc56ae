"""Times in zones, as people and models ask for them."""

import zoneinfo
from datetime import UTC, datetime
from typing import Any

import pytest
from blockbuster import BlockingError

from agentkit.errors import ToolError, ToolInputError
from agentkit.protocols import Tool
from agentkit_tools import _zones
from agentkit_tools.clock import TOOLS, make_clock, make_time_elsewhere

WINTER = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
SUMMER = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)


async def ask(tool: Tool, **arguments: Any) -> str:
    return await tool.call(tool.validate(arguments))


async def now_in(zone: str, now: datetime = WINTER) -> str:
    return await ask(make_clock(lambda: now), zone=zone)


async def convert(time: str, from_zone: str, to_zone: str, now: datetime = WINTER) -> str:
    tool = make_time_elsewhere(lambda: now)
    return await ask(tool, time=time, from_zone=from_zone, to_zone=to_zone)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Asia/Tokyo", "Thursday 2026-01-15 21:00:00 in Asia/Tokyo (UTC+09:00, JST)"),
        ("America/St_Johns", "Thursday 2026-01-15 08:30:00 in America/St_Johns (UTC-03:30, NST)"),
        ("Asia/Kathmandu", "Thursday 2026-01-15 17:45:00 in Asia/Kathmandu (UTC+05:45)"),
        ("UTC", "Thursday 2026-01-15 12:00:00 in UTC (UTC+00:00)"),
        ("Pacific/Kiritimati", "Friday 2026-01-16 02:00:00 in Pacific/Kiritimati (UTC+14:00)"),
    ],
)
async def test_now_is_told_with_weekday_and_offset(zone: str, expected: str) -> None:
    assert await now_in(zone) == expected


async def test_daylight_saving_time_is_told() -> None:
    assert "UTC-02:30, NDT, daylight saving time" in await now_in("Newfoundland", SUMMER)
    assert "daylight" not in await now_in("Newfoundland", WINTER)


async def test_winter_in_ireland_is_no_daylight_saving_time() -> None:
    """Its winter time is less than its standard time: a saving of minus one hour."""
    assert (await now_in("Dublin")).endswith("(UTC+00:00, GMT)")


async def test_early_dates_have_four_digits_and_offsets_their_seconds() -> None:
    text = await convert("0999-03-04 05:06", "Berlin", "UTC")
    assert "0999-03-04 05:06:00 in Europe/Berlin (UTC+00:53:28" in text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tokyo", "Asia/Tokyo"),
        ("New York", "America/New_York"),
        ("new_york", "America/New_York"),
        ("Paris, France", "Europe/Paris"),
        ("San Francisco", "America/Los_Angeles"),
        ("Mumbai", "Asia/Kolkata"),
        ("Beijing", "Asia/Shanghai"),
        ("St. John's", "America/St_Johns"),
        ("America/St. John's", "America/St_Johns"),
        ("America/St.Johns", "America/St_Johns"),
        ("eastern time", "America/New_York"),
        ("europe/BERLIN", "Europe/Berlin"),
        ("EST", "EST (UTC-05:00"),
        ("PDT", "PDT (UTC-07:00"),
        ("UTC+2", "UTC+02:00"),
        ("GMT-3:30", "UTC-03:30"),
        ("+0545", "UTC+05:45"),
        ("Z", "UTC (UTC+00:00)"),
        ("Pacific Standard Time", "America/Los_Angeles"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("tokyo standard time", "Asia/Tokyo"),
    ],
)
async def test_cities_abbreviations_and_offsets_are_understood(name: str, meant: str) -> None:
    assert f"in {meant}" in await now_in(name)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("Asia/Tokio", "Asia/Tokyo"),
        ("Los Angelos", "America/Los_Angeles"),
        ("Berln", "Europe/Berlin"),
    ],
)
async def test_an_unknown_zone_is_answered_with_close_ones(name: str, close: str) -> None:
    with pytest.raises(ToolInputError, match=close):
        await now_in(name)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "Mars/Base", "\x00", "UTC+99", "💡", "x" * 5000]
)
async def test_nonsense_is_refused_without_touching_files(name: str) -> None:
    with pytest.raises(ToolInputError, match="No time zone"):
        await now_in(name)


async def test_local_time_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert "Asia/Tokyo" in await now_in("local")


async def test_a_machine_without_a_zone_database_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing() -> set[str]:
        return set()

    monkeypatch.setattr(_zones, "available_timezones", nothing)
    _zones._names.cache_clear()
    _zones._by_letters.cache_clear()
    with pytest.raises(ToolError) as caught:
        await now_in("Asia/Tokyo")
    assert "tzdata" in caught.value.hint
    assert "UTC+02:00" in await now_in("UTC+2")


@pytest.mark.parametrize(
    ("time", "source", "target", "expected"),
    [
        ("14:30", "Tokyo", "Berlin", "Thursday 2026-01-15 06:30:00 in Europe/Berlin (UTC+01:00"),
        ("2:30 pm", "New York", "London", "Thursday 2026-01-15 19:30:00 in Europe/London"),
        ("9am", "London", "Newfoundland", "05:30:00 in America/St_Johns (UTC-03:30"),
        ("noon", "UTC", "Tokyo", "21:00:00 in Asia/Tokyo"),
        ("2026-07-01 09:00", "Tokyo", "New York", "Tuesday 2026-06-30 20:00:00"),
        ("2026-07-01T09:00:30", "UTC", "UTC", "09:00:30"),
        ("2026-12-24 6:15 PM", "UTC", "UTC", "Thursday 2026-12-24 18:15:00"),
        ("2026-07-01T12:00+02:00", "Tokyo", "UTC", "Wednesday 2026-07-01 10:00:00 in UTC"),
        ("now", "UTC", "Tokyo", "Thursday 2026-01-15 21:00:00 in Asia/Tokyo"),
    ],
)
async def test_times_are_converted_as_people_write_them(
    time: str, source: str, target: str, expected: str
) -> None:
    assert expected in (await convert(time, source, target)).partition(" is ")[2]


async def test_today_is_the_day_in_the_zone_of_the_time() -> None:
    late = datetime(2026, 1, 15, 23, 0, tzinfo=UTC)
    assert "Friday 2026-01-16 08:30:00 in Asia/Tokyo" in await convert("8:30", "Tokyo", "UTC", late)


async def test_a_time_that_the_clocks_jump_over_is_named_and_moved() -> None:
    text = await convert("2026-03-29 02:30", "Europe/Berlin", "UTC")
    assert "2026-03-29 02:30 does not exist in Europe/Berlin" in text
    assert "Taken as 03:30" in text
    assert "01:30:00 in UTC" in text


async def test_a_time_that_happens_twice_is_given_twice() -> None:
    text = await convert("2026-10-25 02:30", "Europe/Berlin", "UTC")
    assert "happens twice" in text
    assert "00:30:00 in UTC" in text
    assert "01:30:00 in UTC" in text


@pytest.mark.parametrize(
    "time", ["", "later", "25:00", "14", "2026-02-30 10:00", "0001-01-01 00:00", "9999-12-31 23:59"]
)
async def test_a_time_that_is_none_is_refused(time: str) -> None:
    for source, target in (("Tokyo", "New York"), ("New York", "Tokyo")):
        try:
            await convert(time, source, target)
        except ToolInputError as error:
            assert repr(time) in str(error)  # noqa: PT017 - either way round, one of them fails
            return
    pytest.fail("accepted")


def test_every_zone_is_found_by_its_own_name() -> None:
    for zone in zoneinfo.available_timezones() - {"localtime"}:
        assert _zones.find_zone(zone).name


def test_every_name_of_windows_is_its_zone() -> None:
    for zone, name in _zones._WINDOWS.items():
        assert _zones.find_zone(f"{name} Standard Time").name == zone


@pytest.mark.parametrize("folders", [None, ()], ids=["of the system", "of the package"])
async def test_no_zone_is_read_in_the_loop(
    folders: tuple[str, ...] | None, request: pytest.FixtureRequest
) -> None:
    def forget() -> None:
        zoneinfo.ZoneInfo.clear_cache()
        _zones._names.cache_clear()
        _zones._by_letters.cache_clear()

    request.addfinalizer(zoneinfo.reset_tzpath)
    zoneinfo.reset_tzpath(to=folders)
    forget()
    with pytest.raises(BlockingError):  # so the guard would see it
        _zones.find_zone("Asia/Tokyo")
    forget()
    assert "in Asia/Tokyo" in await now_in("Asia/Tokyo")
    assert "in Asia/Tokyo" in await ask(make_clock(), zone="tokyo", when="tomorrow 9am")
    forget()
    assert "in Africa/Cairo" in await convert("tomorrow 9am", "Lord Howe", "Cairo")
    forget()
    assert await now_in("local")


def test_specs_are_short() -> None:
    for tool in TOOLS:
        assert len(str(tool.spec.parameters)) + len(tool.spec.description) < 450
