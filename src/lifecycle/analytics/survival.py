"""
Kaplan-Meier: the share for whom something has not happened yet, by time, when for some it is not over.

Kaplan & Meier (1958), JASA 53; the variance is Greenwood's (1926). The log-log interval is that of Kalbfleisch &
Prentice (1980), which stays inside [0, 1]; it is the default of lifelines, with which these curves agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from lifecycle.analytics.tables import frame, like
from lifecycle.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

INTERVALS = ("log-log", "plain")
ROUNDING = 1e-10


def kaplan_meier(
    table: Any,
    *,
    duration: str = "duration",
    observed: str = "observed",
    by: Sequence[str] = (),
    interval: Literal["log-log", "plain"] = "log-log",
    confidence: float = 0.95,
) -> Any:
    """
    Return the curve of each group, as Arrow or pandas as given.

    table: one row per subject: `duration` (a number, 0 or more) and `observed`, true where the event came at that
    time and false where the subject was last seen without it (censored; taken as at risk at that very time). by:
    columns of groups. interval: "log-log", or "plain" (survival ± z standard errors, cut to [0, 1]).

    One row per group and distinct duration, and one at time 0: the columns of `by`, `time`, `at_risk`, `events`,
    `censored` int64, `survival`, `lower`, `upper` double. Raises DataError for durations that are negative or missing.
    """
    if interval not in INTERVALS:
        raise unknown("interval", interval, INTERVALS)
    if not 0 < confidence < 1:
        raise UsageError(f"confidence is {confidence}; it lies between 0 and 1, such as 0.95.")
    rows = frame(table, [*by, duration, observed])
    _check(rows, duration, observed)
    z = float(ndtri(0.5 + confidence / 2))
    groups = rows.groupby(list(by), sort=True, dropna=False) if by else [((), rows)]
    curves = []
    for value, group in groups:
        curve = _curve(group[duration].to_numpy(dtype=float), group[observed].to_numpy(dtype=bool), z, interval)
        named: dict[str, Any] = dict(zip(by, value, strict=True))
        curves.append(curve.assign(**named)[[*by, *curve.columns]])
    return like(table, pd.concat(curves, ignore_index=True))


def quantile_time(curve: Any, share: float = 0.5) -> float:
    """
    Return the first time by which the event has come for `share` (the median); infinity where it never has.

    Raises DataError for the curves of several groups at once.
    """
    rows = frame(curve, ["time", "survival"])
    if not rows["time"].is_monotonic_increasing:
        raise DataError(
            "these are the curves of several groups, and each has its own median. Take the rows of one group."
        )
    # A product of ratios that is one half may come out a few bits above it.
    reached = rows.loc[rows["survival"] <= 1 - share + ROUNDING, "time"]
    return float(reached.min()) if len(reached) else float("inf")


def _check(rows: pd.DataFrame, duration: str, observed: str) -> None:
    if rows.empty:
        raise DataError("there is nobody to follow: the table has no rows.")
    wrong = ~(np.isfinite(rows[duration].to_numpy(dtype=float, na_value=np.nan)) & ~(rows[duration] < 0))
    if wrong.any() or rows[observed].isna().any():
        raise DataError(
            f"{int(wrong.sum())} of {len(rows)} rows have no {duration} of 0 or more, and "
            f"{int(rows[observed].isna().sum())} "
            f"no {observed}. A subject without the event has the time until it was last seen, and {observed} false."
        )


def _curve(duration: Floats, observed: NDArray[np.bool_], z: float, interval: str) -> pd.DataFrame:
    times, place = np.unique(np.concatenate([[0.0], duration]), return_inverse=True)
    events = np.bincount(place[1:], weights=observed, minlength=len(times)).astype(np.int64)
    removed = np.bincount(place[1:], minlength=len(times)).astype(np.int64)
    at_risk = len(duration) - np.concatenate([[0], np.cumsum(removed)[:-1]])
    left = at_risk - events
    survival = np.cumprod(left / at_risk)
    # Where the last at risk have the event, survival is 0 and known: its term is left out.
    terms = np.divide(events, at_risk * left, out=np.zeros(len(times)), where=left > 0)
    spread = z * np.sqrt(np.cumsum(terms))
    lower, upper = (_log_log if interval == "log-log" else _plain)(survival, spread)
    return pd.DataFrame(
        {
            "time": times,
            "at_risk": at_risk,
            "events": events,
            "censored": removed - events,
            "survival": survival,
            "lower": lower,
            "upper": upper,
        }
    )


def _plain(survival: Floats, spread: Floats) -> tuple[Floats, Floats]:
    return np.clip(survival * (1 - spread), 0, 1), np.clip(survival * (1 + spread), 0, 1)


def _log_log(survival: Floats, spread: Floats) -> tuple[Floats, Floats]:
    inside = (survival > 0) & (survival < 1)
    hazard = -np.log(np.where(inside, survival, 0.5))
    lower, upper = (np.exp(-hazard * np.exp(sign * spread / hazard)) for sign in (1, -1))
    return np.where(inside, lower, survival), np.where(inside, upper, survival)
