"""Times of sources: exact, in UTC, rounded so that nothing is known too early."""

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.errors import UsageError
from lifecycle.pipeline.intake import moments
from lifecycle.pipeline.intake.adapter import Rejected
from lifecycle.pipeline.intake.tabular import parquet_chunks
from lifecycle.times import to_microseconds
from transformations.sources.online_retail import SOURCE

LONDON = "Europe/London"


def utc(*parts):
    return to_microseconds(datetime(*parts, tzinfo=UTC))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1_740_823_201, utc(2025, 3, 1, 10, 0, 1)),
        (Decimal("1740823201.000001"), utc(2025, 3, 1, 10, 0, 1, 1)),
        (Decimal("1740823201.000000001"), utc(2025, 3, 1, 10, 0, 1, 1)),
        (Decimal("1740823201.9999990001"), utc(2025, 3, 1, 10, 0, 2)),
        (Decimal("-0.0000005"), utc(1970, 1, 1)),
        (0, utc(1970, 1, 1)),
    ],
)
def test_unix_seconds_round_up_to_the_microsecond(given, expected):
    assert moments.from_unix(given, "created") == expected


@pytest.mark.parametrize(
    "given", [1_740_823_201_000, None, "1740823201", True, Decimal("1e400"), -(10**18), Decimal("NaN")]
)
def test_what_is_no_unix_time(given):
    with pytest.raises(Rejected) as caught:
        moments.from_unix(given, "created")
    assert caught.value.reason == "bad_time"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2025-03-01T10:00:02Z", utc(2025, 3, 1, 10, 0, 2)),
        ("2025-03-01T10:00:02.120000+00:00", utc(2025, 3, 1, 10, 0, 2, 120_000)),
        ("2025-03-01T12:00:02.5+02:00", utc(2025, 3, 1, 10, 0, 2, 500_000)),
        ("2025-03-01T10:00:02.123456001Z", utc(2025, 3, 1, 10, 0, 2, 123_457)),
        ("2025-03-01T10:00:02.123456000Z", utc(2025, 3, 1, 10, 0, 2, 123_456)),
        ("2025-03-01T10:00:02.999999999Z", utc(2025, 3, 1, 10, 0, 3)),
    ],
)
def test_iso_times_round_up_to_the_microsecond(given, expected):
    assert moments.from_iso(given, "received_at") == expected


@pytest.mark.parametrize(
    ("given", "reason"),
    [("2025-03-01T10:00:02", "no_time_zone"), ("yesterday", "bad_time"), ("2025-02-30T00:00:00Z", "bad_time")],
)
def test_what_is_no_iso_time(given, reason):
    with pytest.raises(Rejected) as caught:
        moments.from_iso(given, "received_at")
    assert caught.value.reason == reason
    assert given not in caught.value.detail


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2011-03-27 00:59:59", utc(2011, 3, 27, 0, 59, 59)),
        ("2011-03-27 02:00:00", utc(2011, 3, 27, 1, 0)),
        ("2011-10-30 00:59:59", utc(2011, 10, 29, 23, 59, 59)),
        # 01:30 stood on the clocks twice, at 00:30 and at 01:30 UTC: the later.
        ("2011-10-30 01:30:00", utc(2011, 10, 30, 1, 30)),
        ("2011-10-30T01:30:00+01:00", utc(2011, 10, 30, 0, 30)),
        ("2011-10-30 02:00:00", utc(2011, 10, 30, 2, 0)),
        ("2010-07-01", utc(2010, 6, 30, 23)),
    ],
)
def test_local_times_around_clock_changes(given, expected):
    assert moments.from_text(given, LONDON, "InvoiceDate") == expected


@pytest.mark.parametrize(
    ("given", "zone", "reason"),
    [
        ("2011-03-27 01:30:00", LONDON, "no_such_local_time"),
        ("2011-07-01T10:00:00Z", LONDON, "mixed_time_zones"),
        ("2011-07-01T10:00:00", moments.OFFSET, "no_time_zone"),
        ("0001-01-01T00:00:00", "Asia/Tokyo", "bad_time"),
        ("", LONDON, "bad_time"),
    ],
)
def test_local_times_that_cannot_be_read(given, zone, reason):
    with pytest.raises(Rejected) as caught:
        moments.from_text(given, zone, "InvoiceDate")
    assert caught.value.reason == reason


def test_a_declared_form():
    assert moments.from_text("01/12/2010 08:26", LONDON, "at", form="%d/%m/%Y %H:%M") == utc(2010, 12, 1, 8, 26)


def test_an_unknown_zone():
    with pytest.raises(UsageError, match="IANA name"):
        moments.time_zone("Europe/Londinium")


def test_nanoseconds_of_parquet_round_up(tmp_path):
    columns = dict.fromkeys(("Invoice", "StockCode", "Description", "Country"), pa.array(["x"] * 2))
    columns |= dict.fromkeys(("Quantity", "Price", "Customer ID"), pa.array([1.0] * 2))
    columns["InvoiceDate"] = pa.array([1_000_000_001, 1_000_001_000], pa.timestamp("ns"))
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")

    class Reached:
        place = 0

    [chunk] = parquet_chunks(tmp_path / "a.parquet", SOURCE, {}, Reached())
    assert chunk.table["InvoiceDate"].cast(pa.int64()).to_pylist() == [1_000_001, 1_000_001]
    assert chunk.table["#place"].to_pylist() == [1, 2]
