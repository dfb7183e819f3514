"""From transactions to the three numbers per customer that purchase models read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lifecycle.analytics.tables import frame, like
from lifecycle.errors import DataError, UsageError

if TYPE_CHECKING:
    from datetime import date

DAY_SECONDS = 86_400


def purchase_summary(
    transactions: Any,
    *,
    observation_end: date,
    key: str = "consumer_id",
    time: str = "event_timestamp",
    amount: str | None = None,
    unit_days: float = 7.0,
    time_zone: str = "UTC",
) -> Any:
    """
    Summarise each customer's purchases up to and including the day `observation_end`.

    transactions: Arrow or pandas, one row per transaction; times without a zone are taken as they stand, others become
    dates of `time_zone`. Transactions of one customer and day are one purchase, and their amounts add up; those after
    the observation are left out. unit_days: the length of the unit of time, 7 for weeks.

    Returns one row per customer in order of the key, in the kind of table given:
    `frequency` int64, repeat purchases, that is days with a purchase after the first such day;
    `recency` double, time from the first to the last purchase (0 without a repeat); `T` double, time from the first
    purchase to `observation_end`; with `amount` also `monetary` double, the mean amount of a repeat purchase in the
    amount's unit, NaN (NULL in Arrow) without one. The first purchase is left out of it, as in Fader, Hardie & Lee
    (2005), "RFM and CLV". Raises DataError for NULL keys or times, UsageError for a unit that is not positive.
    """
    if not unit_days > 0:
        raise UsageError(f"unit_days is {unit_days}; it must be above 0: 7 for weeks, 1 for days.")
    rows = frame(transactions, [key, time, *([amount] if amount else [])])
    empty = rows[[key, time]].isna().any(axis=1)
    if empty.any():
        raise DataError(
            f"{int(empty.sum())} of {len(rows)} transactions have no {key} or no {time}. Leave them out first: a "
            "purchase of nobody belongs to no customer."
        )
    days = _days(rows, key=key, time=time, amount=amount, time_zone=time_zone)
    end = pd.Timestamp(observation_end)
    return like(
        transactions,
        _summarise(days[days["day"] <= end], key, end, unit_days * DAY_SECONDS, with_amount=amount is not None),
    )


def _days(rows: pd.DataFrame, *, key: str, time: str, amount: str | None, time_zone: str) -> pd.DataFrame:
    moments = pd.to_datetime(rows[time])
    if moments.dt.tz is not None:
        moments = moments.dt.tz_convert(time_zone).dt.tz_localize(None)
    dated = pd.DataFrame({key: rows[key], "day": moments.dt.normalize(), "amount": rows[amount] if amount else 0})
    return dated.groupby([key, "day"], sort=True)["amount"].sum().reset_index()


def _summarise(days: pd.DataFrame, key: str, end: pd.Timestamp, unit: float, *, with_amount: bool) -> pd.DataFrame:
    groups = days.groupby(key, sort=True)
    first, last = groups["day"].min(), groups["day"].max()
    made = pd.DataFrame(
        {
            "frequency": groups.size().astype(np.int64) - 1,
            "recency": (last - first).dt.total_seconds() / unit,
            "T": (end - first).dt.total_seconds() / unit,
        }
    )
    if with_amount:
        repeats = days[days["day"] > days[key].map(first)]
        made["monetary"] = repeats.groupby(key)["amount"].mean().astype(float).reindex(made.index)
    return made.rename_axis(key).reset_index()
