"""Kaplan-Meier against lifelines, and where lifelines says nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from lifelines import KaplanMeierFitter

from lifecycle.analytics import kaplan_meier, quantile_time
from lifecycle.errors import DataError, UsageError

# Ties of events with censorings, an event at 0, and the last at risk censored or not.
CASES = {
    "ties": ([3, 3, 3, 5, 5, 8, 8, 13], [1, 1, 0, 1, 0, 0, 1, 0]),
    "all-events": ([1, 2, 2, 4], [1, 1, 1, 1]),
    "none": ([1, 2, 2, 4], [0, 0, 0, 0]),
    "at-zero": ([0, 0, 1.5, 7], [1, 0, 1, 1]),
    "one": ([2.5], [1]),
}


def drawn(size):
    draw = np.random.default_rng(3)
    event, seen = draw.exponential(30, size).round(1), draw.uniform(0, 60, size).round(1)
    return np.minimum(event, seen), event <= seen


@pytest.mark.parametrize("case", [*CASES, "drawn"])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_curves_are_those_of_lifelines(case, confidence):
    durations, observed = drawn(3000) if case == "drawn" else CASES[case]
    ours = kaplan_meier(pd.DataFrame({"duration": durations, "observed": observed}), confidence=confidence)
    with np.errstate(all="ignore"):
        theirs = KaplanMeierFitter(alpha=1 - confidence).fit(durations, observed)
    np.testing.assert_array_equal(ours["time"], theirs.survival_function_.index)
    np.testing.assert_allclose(ours["survival"], theirs.survival_function_.iloc[:, 0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        ours[["lower", "upper"]], theirs.confidence_interval_survival_function_, rtol=0, atol=1e-9
    )
    np.testing.assert_array_equal(ours[["at_risk", "events"]], theirs.event_table[["at_risk", "observed"]])
    assert quantile_time(ours) == theirs.median_survival_time_


@pytest.mark.parametrize("case", ["ties", "drawn"])
def test_the_plain_interval_is_greenwoods(case):
    durations, observed = drawn(3000) if case == "drawn" else CASES[case]
    ours = kaplan_meier(pd.DataFrame({"duration": durations, "observed": observed}), interval="plain")
    with np.errstate(all="ignore"):
        theirs = KaplanMeierFitter().fit(durations, observed)
    survival = theirs.survival_function_.to_numpy()[:, 0]
    error = 1.959963984540054 * survival * np.sqrt(theirs._cumulative_sq_.to_numpy())
    np.testing.assert_allclose(ours["lower"], np.clip(survival - error, 0, 1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours["upper"], np.clip(survival + error, 0, 1), rtol=0, atol=1e-9)


def test_the_median_is_reached_where_half_have_had_the_event():
    # As a product of ratios, survival after 104 of 208 events is 0.5000000000000001.
    curve = kaplan_meier(pd.DataFrame({"duration": np.arange(1, 209), "observed": True}))
    assert curve["survival"][104] > 0.5
    assert quantile_time(curve) == 104
    never = pa.table({"duration": [1, 2], "observed": [False, False]})
    assert quantile_time(kaplan_meier(never)) == np.inf


def test_groups_have_curves_of_their_own_in_arrow():
    table = pa.table({"country": ["DE", "FR", "DE"], "days": [1, 2, 3], "verified": [True, False, False]})
    made = kaplan_meier(table, duration="days", observed="verified", by=["country"])
    assert made.column_names[:5] == ["country", "time", "at_risk", "events", "censored"]
    assert made.select(["country", "time", "at_risk", "events", "censored", "survival"]).to_pylist() == [
        {"country": "DE", "time": 0.0, "at_risk": 2, "events": 0, "censored": 0, "survival": 1.0},
        {"country": "DE", "time": 1.0, "at_risk": 2, "events": 1, "censored": 0, "survival": 0.5},
        {"country": "DE", "time": 3.0, "at_risk": 1, "events": 0, "censored": 1, "survival": 0.5},
        {"country": "FR", "time": 0.0, "at_risk": 1, "events": 0, "censored": 0, "survival": 1.0},
        {"country": "FR", "time": 2.0, "at_risk": 1, "events": 0, "censored": 1, "survival": 1.0},
    ]


def test_groups_have_medians_of_their_own():
    table = pd.DataFrame({"group": ["a", "a", "b"], "duration": [5, 6, 1], "observed": [True, True, True]})
    curves = kaplan_meier(table, by=["group"])
    assert quantile_time(curves[curves["group"] == "a"]) == 5
    with pytest.raises(DataError, match="several groups"):
        quantile_time(curves)


def test_durations_must_be_known_and_not_negative():
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="1 of 2 rows have no duration of 0 or more"):
            kaplan_meier(pd.DataFrame({"duration": [1.0, wrong], "observed": [True, True]}))
    with pytest.raises(DataError, match="1 no observed"):
        kaplan_meier(pd.DataFrame({"duration": [1.0, 2.0], "observed": [True, None]}))
    with pytest.raises(DataError, match="no rows"):
        kaplan_meier(pd.DataFrame({"duration": [], "observed": []}))
    with pytest.raises(UsageError, match="Did you mean 'log-log'"):
        kaplan_meier(pd.DataFrame({"duration": [1.0], "observed": [True]}), interval="loglog")
