"""Retry-After, in all its forms."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agentkit.resilience import retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 2.5 ", 2.5),
        ("0", 0.0),
        ("-7", 0.0),
        ("1e12", 120.0),
        ("99999999999999999999", 120.0),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Foo 2015 07:28:00", None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = retry_after({"retry-after": date})
    assert seconds is not None
    assert 50 < seconds <= 60


def test_no_retry_after_is_none() -> None:
    assert retry_after({}) is None
