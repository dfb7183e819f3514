"""
A charge against what its consumer, card and device did before: request-time features of a fraud model.

Each function takes an Arrow table of its inputs and returns an Arrow array per feature. A feature is NULL where one
of its inputs is, and where there is no habit to compare with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Mapping

    Columns = Mapping[str, Any]

DAYS_90_IN_HOURS = 90 * 24


def against_habit(rows: pa.Table) -> Columns:
    """Return the charge's amount as a multiple of the mean and of the greatest of 90 days, and its z-score."""
    amount = _double(rows["amount"])
    above = pc.subtract(amount, rows["mean_charge_90d"])
    return {
        "amount_to_mean_90d": _ratio(amount, rows["mean_charge_90d"]),
        "amount_to_max_90d": _ratio(amount, rows["max_charge_90d"]),
        "amount_z_90d": _ratio(above, rows["std_charge_90d"]),
    }


def countries(rows: pa.Table) -> Columns:
    """Return whether the countries of IP address, card and profile differ from each other."""
    return {
        "ip_card_country_differ": pc.not_equal(rows["ip_country"], rows["card_country"]),
        "ip_profile_country_differ": pc.not_equal(rows["ip_country"], rows["country"]),
        "card_profile_country_differ": pc.not_equal(rows["card_country"], rows["country"]),
    }


def devices(rows: pa.Table) -> Columns:
    """Return whether the charge's device is another than that of the last charge, and of the last login."""
    return {
        "device_differs_from_last_charge": pc.not_equal(rows["device_id"], rows["last_charge_device"]),
        "device_differs_from_last_login": pc.not_equal(rows["device_id"], rows["session_device_id"]),
    }


def velocities(rows: pa.Table) -> Columns:
    """Return how much faster than in 90 days the consumer and the card paid in the last hour and day (1: as fast)."""
    made = {}
    for stem in ("charges", "card_charges"):
        for window, hours in (("1h", 1), ("24h", 24)):
            usual = pc.divide(_double(rows[f"{stem}_90d"]), DAYS_90_IN_HOURS / hours)
            made[f"{stem}_velocity_{window}"] = _ratio(_double(rows[f"{stem}_{window}"]), usual)
    return made


def verification(rows: pa.Table) -> Columns:
    """Return the hours since the consumer was last verified, and whether that was within a day."""
    hours = pc.divide(rows["seconds_since_verified_all"], 3600.0)
    return {"hours_since_verified": hours, "verified_within_24h": pc.less_equal(hours, 24.0)}


def _double(column: Any) -> Any:
    # Whole numbers beyond 2**53 round to the nearest double.
    return column.cast(pa.float64(), safe=False)


def _ratio(above: Any, below: Any) -> Any:
    """Divide as doubles; NULL where the divisor is 0."""
    divisor = _double(below)
    return pc.divide(above, pc.if_else(pc.equal(divisor, 0.0), pa.scalar(None, pa.float64()), divisor))
