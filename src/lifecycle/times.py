"""Times: UTC, microseconds, and rounding that never leaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_utc(value: datetime) -> datetime:
    """Return `value` in UTC; a naive time is UTC (Feast's rule for spines)."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def to_microseconds(value: datetime) -> int:
    """Return microseconds since 1970-01-01 UTC, exactly."""
    return (to_utc(value) - EPOCH) // MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Return the UTC time of microseconds since 1970-01-01."""
    return EPOCH + timedelta(microseconds=value)


def parse(text: str) -> datetime:
    """Parse an ISO 8601 time or date into UTC; raises ValueError."""
    return to_utc(datetime.fromisoformat(text.strip()))


def iso(value: datetime) -> str:
    """Write a time as ISO 8601 in UTC, to the microsecond, ending in Z."""
    return to_utc(value).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
