"""A customer base scored at one midnight: models fitted to its purchases, and a table that intake can take in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa

from lifecycle.analytics.bg_nbd import BgNbd
from lifecycle.analytics.gamma_gamma import GammaGamma
from lifecycle.analytics.pareto_nbd import ParetoNbd
from lifecycle.analytics.summary import purchase_summary
from lifecycle.errors import DataError, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS: dict[str, type[BgNbd | ParetoNbd]] = {"bg_nbd": BgNbd, "pareto_nbd": ParetoNbd}
DAYS_OF_WEEK = 7


@dataclass(frozen=True)
class Scores:
    """
    What `score` found.

    table: one row per customer. purchases: the purchase model; spend: the spend model by currency; unfitted: by
    currency why there is none, for which `expected_amount` and `value` are NULL.
    """

    table: pa.Table
    purchases: BgNbd | ParetoNbd
    spend: Mapping[str, GammaGamma] = field(default_factory=dict)
    unfitted: Mapping[str, str] = field(default_factory=dict)


def score(
    transactions: pa.Table,
    *,
    at: date,
    model: str = "bg_nbd",
    weeks: int = 52,
    time_zone: str = "UTC",
    key: str = "consumer_id",
) -> Scores:
    """
    Fit the models to all purchases before the midnight at which `at` begins, and score every customer.

    transactions: columns `key`, `event_timestamp`, `amount` (whole minor units above 0) and `currency`; later ones are
    left out. weeks: how far ahead. A purchase is a customer's day of `time_zone`, in whatever currency. Amounts never
    mix: a customer's are those of the currency they bought in last, and each currency has a spend model of its own.

    The table's columns: the key, `event_timestamp` (that midnight, UTC), `horizon_days` int64, `model`, `currency`,
    `purchases` int64 (days with one), `p_alive` DECIMAL(9,6), `expected_purchases` DECIMAL(18,4), `expected_amount` and
    `value` int64, minor units of `currency`, undiscounted. It holds decimals, so that the last bits of a float, which
    differ between machines, do not make another fact of a score. Raises DataError where no model fits.
    """
    if model not in MODELS:
        raise unknown("purchase model", model, MODELS)
    midnight = datetime.combine(at, time.min, tzinfo=ZoneInfo(time_zone))
    rows = transactions.to_pandas()
    rows = rows[rows["event_timestamp"] < midnight]
    given: dict[str, Any] = {"observation_end": at - timedelta(days=1), "key": key, "time_zone": time_zone}
    summary = purchase_summary(rows, **given)
    fitted = MODELS[model].fit(summary)
    last = rows.sort_values(["event_timestamp", "currency"]).groupby(key)["currency"].last().reindex(summary[key])
    amounts, spend, unfitted = _amounts(rows[rows["currency"] == rows[key].map(last)], last, given)
    expected = pd.Series(fitted.expected_purchases(summary, float(weeks)), index=summary[key])
    count = len(summary)
    columns = {
        key: pa.array(summary[key], pa.string()),
        "event_timestamp": pa.array([midnight] * count, pa.timestamp("us", "UTC")),
        "horizon_days": pa.array([weeks * DAYS_OF_WEEK] * count, pa.int64()),
        "model": pa.array([model] * count, pa.string()),
        "currency": pa.array(last, pa.string()),
        "purchases": pa.array(summary["frequency"] + 1, pa.int64()),
        "p_alive": _decimals(fitted.p_alive(summary), 9, 6),
        "expected_purchases": _decimals(expected, 18, 4),
        "expected_amount": _minor_units(amounts),
        "value": _minor_units(amounts * expected),
    }
    return Scores(pa.table(columns), fitted, spend, unfitted)


def _amounts(
    rows: pd.DataFrame, currencies: pd.Series[Any], given: Mapping[str, Any]
) -> tuple[pd.Series[Any], dict[str, GammaGamma], dict[str, str]]:
    """Return each customer's expected amount in their currency (NaN where none fits), the models, and why not."""
    amounts = pd.Series(float("nan"), index=currencies.index)
    spend, unfitted = {}, {}
    for currency in sorted(currencies.unique()):
        summary = purchase_summary(rows[rows["currency"] == currency], amount="amount", **given)
        try:
            spend[currency] = GammaGamma.fit(summary)
        except DataError as error:
            unfitted[currency] = str(error)
            continue
        amounts[summary[given["key"]]] = spend[currency].expected_amount(summary)
    return amounts, spend, unfitted


def _decimals(values: Any, precision: int, scale: int) -> pa.Array:
    step = Decimal(1).scaleb(-scale)
    return pa.array([Decimal(repr(float(one))).quantize(step) for one in values], pa.decimal128(precision, scale))


def _minor_units(values: pd.Series[Any]) -> pa.Array:
    return pa.array([None if pd.isna(one) else round(one) for one in values], pa.int64())
