"""Time zones by the names people and models use: IANA, cities, abbreviations, Windows, offsets."""

import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from agentkit.errors import ToolError, ToolInputError

_REGIONS = (
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
)
_OFFSET = re.compile(r"(?:utc|gmt)?\s*([+-])(\d{1,2})(?::?([0-5]\d))?", re.IGNORECASE)

# Abbreviations are offsets, all year; what a place does in summer only its IANA name knows.
_ABBREVIATIONS = {
    "utc": 0,
    "gmt": 0,
    "z": 0,
    "zulu": 0,
    "est": -5,
    "edt": -4,
    "cst": -6,
    "cdt": -5,
    "mst": -7,
    "mdt": -6,
    "pst": -8,
    "pdt": -7,
    "nst": -3.5,
    "ndt": -2.5,
    "bst": 1,
    "cet": 1,
    "cest": 2,
    "eet": 2,
    "eest": 3,
    "msk": 3,
    "ist": 5.5,
    "jst": 9,
    "kst": 9,
    "aest": 10,
    "aedt": 11,
    "nzst": 12,
    "nzdt": 13,
}

# Cities and countries with one zone that are no IANA name.
_PLACES = {
    "America/Chicago": "dallas, houston, austin, san antonio, minneapolis, ct, central",
    "America/Denver": "salt lake city, mt, mountain",
    "America/Los_Angeles": "san francisco, seattle, san diego, silicon valley, las vegas, la, "
    "portland, pt, pacific, california",
    "America/New_York": "boston, washington, washington dc, miami, atlanta, philadelphia, nyc, "
    "et, eastern, new york city",
    "America/Sao_Paulo": "rio de janeiro, rio, brasilia",
    "America/St_Johns": "newfoundland, st. john's, st john's",
    "America/Toronto": "ottawa, montreal, quebec",
    "Asia/Dubai": "abu dhabi, uae",
    "Asia/Kolkata": "india, mumbai, bombay, delhi, new delhi, bangalore, bengaluru, chennai, "
    "hyderabad, pune",
    "Asia/Seoul": "south korea, korea, busan",
    "Asia/Shanghai": "china, beijing, peking, shenzhen, guangzhou, hangzhou",
    "Asia/Ho_Chi_Minh": "vietnam, hanoi",
    "Asia/Bangkok": "thailand",
    "Asia/Kathmandu": "nepal",
    "Asia/Tokyo": "japan, osaka, kyoto",
    "Europe/Berlin": "germany, munich, frankfurt, hamburg, cologne",
    "Europe/London": "uk, england, manchester, edinburgh, united kingdom",
    "Europe/Madrid": "spain, barcelona",
    "Europe/Moscow": "st petersburg, saint petersburg",
    "Europe/Paris": "france, lyon, marseille",
    "Europe/Rome": "italy, milan, naples",
    "Europe/Zurich": "switzerland, geneva, basel",
    "Pacific/Auckland": "new zealand, wellington",
    "Pacific/Honolulu": "hawaii",
}

# What Windows calls the common zones, as Unicode's CLDR maps them; each ends in "Standard Time",
# also in summer.
_WINDOWS = {
    "Africa/Cairo": "egypt",
    "Africa/Johannesburg": "south africa",
    "Africa/Lagos": "w. central africa",
    "Africa/Nairobi": "e. africa",
    "America/Anchorage": "alaskan",
    "America/Argentina/Buenos_Aires": "argentina",
    "America/Bogota": "sa pacific",
    "America/Caracas": "venezuela",
    "America/Chicago": "central",
    "America/Denver": "mountain",
    "America/Halifax": "atlantic",
    "America/Los_Angeles": "pacific",
    "America/New_York": "eastern",
    "America/Phoenix": "us mountain",
    "America/Regina": "canada central",
    "America/Santiago": "pacific sa",
    "America/Sao_Paulo": "e. south america",
    "America/St_Johns": "newfoundland",
    "Asia/Baghdad": "arabic",
    "Asia/Bangkok": "se asia",
    "Asia/Dhaka": "bangladesh",
    "Asia/Dubai": "arabian",
    "Asia/Jerusalem": "israel",
    "Asia/Karachi": "pakistan",
    "Asia/Kathmandu": "nepal",
    "Asia/Kolkata": "india",
    "Asia/Riyadh": "arab",
    "Asia/Seoul": "korea",
    "Asia/Shanghai": "china",
    "Asia/Singapore": "singapore",
    "Asia/Taipei": "taipei",
    "Asia/Tehran": "iran",
    "Asia/Tokyo": "tokyo",
    "Atlantic/Reykjavik": "greenwich",
    "Australia/Adelaide": "cen. australia",
    "Australia/Brisbane": "e. australia",
    "Australia/Darwin": "aus central",
    "Australia/Perth": "w. australia",
    "Australia/Sydney": "aus eastern",
    "Europe/Berlin": "w. europe",
    "Europe/Bucharest": "gtb",
    "Europe/Budapest": "central europe",
    "Europe/Istanbul": "turkey",
    "Europe/Kyiv": "fle",
    "Europe/London": "gmt",
    "Europe/Moscow": "russian",
    "Europe/Paris": "romance",
    "Europe/Warsaw": "central european",
    "Pacific/Auckland": "new zealand",
    "Pacific/Honolulu": "hawaiian",
}


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone and what to call it."""

    name: str
    info: tzinfo


def find_zone(name: str) -> Zone:
    """Return the zone somebody means; reads the disk.

    >>> find_zone("new york").name, find_zone("UTC+5:30").name
    ('America/New_York', 'UTC+05:30')

    Raises:
        ToolInputError: no such zone; the message lists what is close.
        ToolError: this machine has no time zone database.
    """
    wanted = " ".join(name.replace("_", " ").split()).lower()
    if wanted in {"local", "here", "", "localtime"}:
        return _local()
    fixed = _fixed(wanted)
    if fixed is not None:
        return fixed
    names = _names()
    for key in (wanted, wanted.partition(",")[0].strip(), wanted.removesuffix(" time")):
        if key in names:
            return Zone(names[key], ZoneInfo(names[key]))
    spelled = _by_letters().get(_letters(wanted))
    if spelled is not None:  # "America/St. John's"
        return Zone(spelled, ZoneInfo(spelled))
    close = get_close_matches(wanted, names, n=4, cutoff=0.6)
    close += get_close_matches(wanted.rpartition("/")[2], names, n=3, cutoff=0.75)
    candidates = list(dict.fromkeys(names[key] for key in close))[:4]
    advice = f" Did you mean {' or '.join(candidates)}?" if candidates else ""
    raise ToolInputError(f"No time zone {name!r}. Use an IANA name or a large city.{advice}")


def _fixed(wanted: str) -> Zone | None:
    hours = _ABBREVIATIONS.get(wanted)
    if hours is not None:
        label = "UTC" if hours == 0 else wanted.upper()
        return Zone(label, timezone(timedelta(hours=hours), label))
    match = _OFFSET.fullmatch(wanted)
    if match is None or int(match[2]) > 23:
        return None
    delta = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    info = timezone(delta if match[1] == "+" else -delta)
    return Zone(str(info) if delta else "UTC", info)


def _local() -> Zone:
    """Return the zone of this machine, by name where it has one."""
    zones = available_timezones()
    target = str(Path("/etc/localtime").resolve())
    for name in (os.environ.get("TZ", "").lstrip(":"), target.partition("zoneinfo/")[2]):
        if name in zones:
            return Zone(name, ZoneInfo(name))
    info = datetime.now().astimezone().tzinfo
    if info is None:  # pragma: no cover - astimezone() always sets one
        raise ToolError("The local time zone of this machine is unknown.")
    return Zone("local time", info)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter in "/+-")


@lru_cache(maxsize=1)
def _by_letters() -> dict[str, str]:
    return {_letters(name): zone for name, zone in _names().items()}


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Return every name in lower case with its IANA name; cities, then places, then zones win."""
    zones = sorted(available_timezones())
    if not zones:
        raise ToolError(
            "This machine has no time zone database.", hint="Install it: pip install tzdata"
        )
    names = {zone.rpartition("/")[2].replace("_", " ").lower(): zone for zone in reversed(zones)}
    cities = [zone for zone in zones if zone.startswith(_REGIONS) and "/" in zone]
    names |= {zone.rpartition("/")[2].replace("_", " ").lower(): zone for zone in reversed(cities)}
    for zone, places in _PLACES.items():
        names |= dict.fromkeys(places.split(", "), zone)
    names |= {f"{windows} standard time": zone for zone, windows in _WINDOWS.items()}
    return names | {zone.replace("_", " ").lower(): zone for zone in zones}
