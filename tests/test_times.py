from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.times import from_microseconds, iso, parse, to_microseconds, to_utc

MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29),  # noqa: DTZ001 # hypothesis takes naive bounds
    timezones=st.timezones(), allow_imaginary=False,
)  # fmt: skip


@given(MOMENTS)
def test_microseconds_are_exact_both_ways(moment):
    assert from_microseconds(to_microseconds(moment)) == to_utc(moment)


@given(MOMENTS)
def test_iso_is_read_back_exactly(moment):
    assert parse(iso(moment)) == to_utc(moment)
    assert len(iso(moment)) == len("2025-01-01T00:00:00.000000Z")


@given(st.integers(-62135596800_000_000, 253402300799_999_999))
def test_every_microsecond_has_its_own_number(value):
    assert to_microseconds(from_microseconds(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-03-01T10:00:02.120000Z", datetime(2025, 3, 1, 10, 0, 2, 120000, UTC)),
        (" 2025-03-01 10:00:02+02:00 ", datetime(2025, 3, 1, 8, 0, 2, 0, UTC)),
        ("2025-03-01T10:00:02", datetime(2025, 3, 1, 10, 0, 2, 0, UTC)),
        ("2025-03-01", datetime(2025, 3, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read_into_utc(text, expected):
    assert parse(text) == expected
    assert parse(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2025-02-30"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_the_microsecond_before_the_epoch_is_minus_one():
    assert to_microseconds(datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)) == -1


def test_a_naive_time_is_utc_and_an_aware_one_is_moved():
    east = timezone(timedelta(hours=2))
    assert to_utc(datetime(2025, 1, 1, 12)) == datetime(2025, 1, 1, 12, tzinfo=UTC)  # noqa: DTZ001 # the point
    assert to_utc(datetime(2025, 1, 1, 12, tzinfo=east)) == datetime(2025, 1, 1, 10, tzinfo=UTC)
