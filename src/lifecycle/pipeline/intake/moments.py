"""
Reading times of sources: exact, in microseconds since 1970-01-01 UTC, and never before they could be true.

- Digits beyond the microsecond round up.
- A local time that a clock change makes happen twice is read as the later of the two.
- A local time that a clock change skips does not exist and is rejected.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import lru_cache
from math import isfinite
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lifecycle.errors import UsageError
from lifecycle.pipeline.intake.adapter import Rejected
from lifecycle.times import EPOCH, MICROSECOND

SECOND = 1_000_000
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
OFFSET = "offset"
MOST_DIGITS = 38
_FRACTION = re.compile(r"([.,])(\d{6})(\d+)")
_PLAIN_LENGTH = 27  # 2025-03-01T10:00:02.123456Z: nothing beyond the microsecond fits


def from_unix(seconds: object, what: str) -> int:
    """Read Unix seconds, whole or fractional (Decimal for exactness); `what` names the field in a rejection."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, Decimal)) or not isfinite(seconds):
        raise Rejected("bad_time", f"{what} is no number of Unix seconds")
    if not -LATEST < seconds < LATEST:  # before a huge power of ten is written out in full
        return _in_range(LATEST + 1, what)
    if isinstance(seconds, int):
        value = seconds * SECOND
    else:
        value = int((Decimal(seconds) * SECOND).to_integral_value(ROUND_CEILING))
    return _in_range(value, what)


def from_iso(text: str, what: str) -> int:
    """Read an ISO 8601 time with its offset; without one it is rejected as `no_time_zone`."""
    moment, up = _parse(text, what)
    if moment.tzinfo is None:
        raise Rejected("no_time_zone", f"{what} has no offset from UTC")
    return from_aware(moment, what) + up


def from_text(text: str, zone: str, what: str, *, form: str | None = None) -> int:
    """
    Read a source's time by the zone it declares, or with zone "offset" by each time's own offset.

    With a declared zone, a time with an offset is taken only where the offset is the zone's own at that moment:
    else it is rejected as `mixed_time_zones`, for one of the two statements is wrong. `form` is a `strptime` form
    for times that are not ISO 8601.
    """
    moment, up = _parse(text, what, form)
    if zone == OFFSET:
        if moment.tzinfo is None:
            raise Rejected("no_time_zone", f'{what} has no offset, but the source declares time_zone = "offset"')
        return from_aware(moment, what) + up
    if moment.tzinfo is None:
        return localise(moment, zone, what) + up
    if moment.utcoffset() != moment.astimezone(time_zone(zone)).utcoffset():
        raise Rejected(
            "mixed_time_zones",
            f"{what} has an offset that is not that of the declared time zone {zone}; where each time carries its "
            'own offset, declare time_zone = "offset"',
        )
    return from_aware(moment, what) + up


def from_aware(moment: datetime, what: str) -> int:
    """Read a time that knows its offset."""
    return _in_range((moment - EPOCH) // MICROSECOND, what)


def localise(moment: datetime, zone: str, what: str) -> int:
    """Read a naive time in a zone: the later of two, and none that the clocks skip."""
    known = time_zone(zone)
    try:
        aware = moment.replace(tzinfo=known, fold=1)
        utc = aware.astimezone(UTC)
        # A skipped time comes back changed from UTC.
        if utc.astimezone(known).replace(tzinfo=None) != moment:
            raise Rejected("no_such_local_time", f"{what} does not exist in {zone}: the clocks skipped it")
    except OverflowError as error:
        raise Rejected("bad_time", f"{what} is outside the years 1 to 9999") from error
    return (utc - EPOCH) // MICROSECOND


@lru_cache(maxsize=64)
def time_zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name; UsageError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"time_zone {name!r} is no time zone. Write an IANA name such as 'Europe/London' or 'UTC', or "
            "'offset' where each time carries its own offset."
        ) from error


def _parse(text: str, what: str, form: str | None = None) -> tuple[datetime, int]:
    """Return the time cut to microseconds, and 1 where digits beyond them are lost, else 0."""
    text, up = text.strip(), 0
    if len(text) >= _PLAIN_LENGTH and (found := _FRACTION.search(text)):
        up = int(found[3].strip("0") != "")
        text = text[: found.start(3)] + text[found.end(3) :]
    try:
        return (datetime.strptime(text, form) if form else datetime.fromisoformat(text)), up  # noqa: DTZ007  zone later
    except ValueError as error:
        raise Rejected(
            "bad_time", f"{what} is no {'time of the declared form' if form else 'ISO 8601 time'}"
        ) from error


def _in_range(value: int, what: str) -> int:
    if not EARLIEST <= value <= LATEST:
        raise Rejected("bad_time", f"{what} is outside the years 1 to 9999; is it in milliseconds?")
    return value


def decimal(text: str, what: str) -> Decimal:
    """Read an exact decimal number."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation as error:
        raise Rejected("bad_number", f"{what} is no number") from error
    if not value.is_finite() or abs(value.adjusted()) > MOST_DIGITS or len(value.as_tuple().digits) > MOST_DIGITS:
        raise Rejected("bad_number", f"{what} is no number of at most {MOST_DIGITS} digits")
    return value
