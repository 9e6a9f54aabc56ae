"""How long a server asks to be left alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

LONGEST_WAIT = 120.0
"""Seconds; a server that asks for more is asked again after this."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, within 0 and `LONGEST_WAIT`.

    >>> [retry_after({"retry-after": value}) for value in ("2.5", "-3", "1e9", "soon", "nan")]
    [2.5, 0.0, 120.0, None, None]
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _seconds_in(value.strip())
    return None if seconds is None else max(0.0, min(seconds, LONGEST_WAIT))


def _seconds_in(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value)
    return seconds if isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - datetime.now(UTC)).total_seconds()
