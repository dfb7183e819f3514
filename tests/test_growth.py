"""
Growth accounting, retention, value, stickiness, RFM and states on UCI's Online Retail, against pandas and sets.

Conventions, of both: an invoice that is no cancellation is a succeeded charge, zero-priced ones included; a customer
is one with a number; periods are calendar periods of UTC, weeks begin on Monday; money is pence, cancellations are not
deducted. Release 1 holds the CSV alone, which ends on 2011-12-09: the last day, week and month are partial.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.dbt_sql import variable
from tests.online_retail_lake import needs_real_data

pytestmark = needs_real_data
GRAINS = {"day": "D", "week": "W-SUN", "month": "M"}


@pytest.fixture(scope="module")
def table(retail):
    """Return what reads a query of release 1 as a pandas frame."""
    return lambda query: retail.sql(query, release=1).to_pandas()


@pytest.fixture(scope="module")
def buys(retail_invoices):
    """Return one row per invoice, with the ordinal of its day, week and month."""
    frame = retail_invoices.copy()
    local = frame["at"].dt.tz_localize(None)
    for grain, code in GRAINS.items():
        frame[grain] = local.dt.to_period(code)
    return frame


def periods(buys, grain):
    """Return every period from the first to the last, silent ones included."""
    return pd.period_range(buys[grain].min(), buys[grain].max(), freq=GRAINS[grain])


@pytest.mark.parametrize("grain", GRAINS)
def test_consumers_are_accounted_for_as_sets_say(table, buys, grain):
    found = table(f"select * from metrics.growth_accounting where grain = '{grain}' order by period")
    active = buys.groupby(grain).consumer.agg(set)
    before, ever, rows = set(), set(), []
    for period in periods(buys, grain):
        now = active.get(period, set())
        rows.append((len(now), len(now - ever), len(now & before), len(now & ever - before), len(before - now)))
        before, ever = now, ever | now
    names = ["active", "new", "returning", "resurrecting", "dormant"]
    assert found.period.tolist() == [one.start_time.date() for one in periods(buys, grain)]
    assert list(map(tuple, found[[f"{name}_consumers" for name in names]].to_numpy())) == rows
    assert found.is_partial.tolist() == [False] * (len(rows) - 1) + [True]
    assert found.ever_active_consumers.iloc[-1] == len(ever) == 4_339


@pytest.mark.parametrize("grain", GRAINS)
def test_revenue_is_accounted_for_as_a_matrix_says(table, buys, grain):
    found = table(f"select * from metrics.revenue_growth where grain = '{grain}' order by period")
    pence = buys.pivot_table(index="consumer", columns=grain, values="pence", aggfunc="sum", fill_value=0)
    there = buys.pivot_table(index="consumer", columns=grain, values="pence", aggfunc="size", fill_value=0)
    spent = pence.reindex(columns=periods(buys, grain), fill_value=0).to_numpy(dtype="int64")
    active = there.reindex(columns=periods(buys, grain), fill_value=0).to_numpy() > 0
    earlier = np.zeros((len(spent), 1), dtype="int64")
    last, was = np.hstack([earlier, spent[:, :-1]]), np.hstack([earlier > 0, active[:, :-1]])
    ever = np.logical_or.accumulate(was, axis=1)
    stayed = active & was
    expected = {
        "revenue": spent, "revenue_before": last,
        "retained": np.where(stayed, np.minimum(spent, last), 0), "new": np.where(active & ~ever, spent, 0),
        "resurrected": np.where(active & ever & ~was, spent, 0),
        "expansion": np.where(stayed, np.maximum(spent - last, 0), 0),
        "contraction": np.where(stayed, np.maximum(last - spent, 0), 0), "churned": np.where(was & ~active, last, 0),
    }  # fmt: skip
    for name, matrix in expected.items():
        assert found[name].tolist() == matrix.sum(axis=0).tolist(), name
    assert found.revenue.sum() == buys.pence.sum()


def cohorts(buys, grain):
    """Return each invoice's cohort (period of its consumer's first) and age, in periods."""
    ordinal = buys[grain].astype("int64")
    first = ordinal.groupby(buys.consumer).transform("min")
    return buys.assign(cohort=buys.groupby("consumer")[grain].transform("min"), age=ordinal - first)


@pytest.mark.parametrize("grain", ["week", "month"])
def test_cohorts_are_retained_as_sets_say(table, buys, grain):
    found = table(f"select * from metrics.retention where grain = '{grain}'").set_index(["cohort_period", "age"])
    whole = periods(buys, grain)
    count = 0
    for cohort, rows in cohorts(buys, grain).groupby("cohort"):
        size = rows.consumer.nunique()
        for age in range(len(whole) - whole.get_loc(cohort)):
            row = found.loc[(cohort.start_time.date(), age)]
            bounded, unbounded = rows[rows.age == age].consumer.nunique(), rows[rows.age >= age].consumer.nunique()
            assert (row.cohort_size, row.active_so_far) == (size, bounded)
            if cohort + age == whole[-1]:
                assert row[["active_consumers", "retained_consumers", "bounded_retention"]].isna().all()
            else:
                assert (row.active_consumers, row.retained_consumers) == (bounded, unbounded)
                assert (row.bounded_retention, row.unbounded_retention) == (bounded / size, unbounded / size)
            count += 1
    assert count == len(found)


def test_day_cohorts_are_followed_for_a_month(table, buys):
    days = variable("retention_days")
    found = table("select * from metrics.retention where grain = 'day'").set_index(["cohort_period", "age"])
    rows = cohorts(buys, "day")
    assert found.index.get_level_values("age").max() == days
    for age in (0, 1, 7, days):
        of_age = found.xs(age, level="age").query("not is_partial")
        early = rows[rows.cohort.isin(pd.DatetimeIndex(of_age.index).to_period("D"))]
        assert of_age.active_consumers.sum() == early[early.age == age].consumer.nunique()
        assert of_age.retained_consumers.sum() == early[early.age >= age].consumer.nunique()


@pytest.mark.parametrize("grain", ["week", "month"])
def test_a_cohort_s_value_adds_up_as_pandas_says(table, buys, grain):
    found = table(f"select * from metrics.cohort_value where grain = '{grain}' and not is_partial")
    assert set(found.currency) == {"gbp"}
    value = cohorts(buys, grain).groupby(["cohort", "age"]).pence.sum()
    for cohort, mine in found.groupby("cohort_period"):
        ages = mine.set_index("age").sort_index()
        expected = value[pd.Timestamp(cohort).to_period(GRAINS[grain])].reindex(ages.index, fill_value=0).cumsum()
        assert ages.cumulative_revenue.tolist() == expected.tolist()


def test_rolling_windows_count_distinct_consumers(table, buys):
    found = table("select * from metrics.stickiness order by day").set_index("day")
    active = buys.groupby("day").consumer.agg(set)
    every = [active.get(day, set()) for day in periods(buys, "day")]
    for name, width in (("dau", 1), ("wau", 7), ("mau", 30)):
        expected = [
            len(set().union(*every[i + 1 - width : i + 1])) if i + 1 >= width else None for i in range(len(every))
        ]
        assert [None if pd.isna(one) else int(one) for one in found[name]] == expected, name


def test_rfm_cuts_fifths_as_pandas_orders_them(table, buys):
    found = table("select * from metrics.rfm").set_index("consumer_id")
    own = buys.groupby("consumer").agg(at=("at", "max"), charges=("at", "size"), pence=("pence", "sum")).reset_index()
    orders = {
        "recency_score": ["at", "consumer"],
        "frequency_score": ["charges", "at", "consumer"],
        "monetary_score": ["pence", "at", "consumer"],
    }
    for name, order in orders.items():
        # numpy's array_split, as SQL's NTILE, makes the first groups the larger ones.
        for score, fifth in enumerate(np.array_split(own.sort_values(order).consumer.to_numpy(), 5), start=1):
            assert (found.loc[fifth, name] == score).all()
    assert len(found) == len(own) == 4_339


@pytest.mark.parametrize("date", ["2011-03-01", "2011-06-30", "2011-12-09 12:50"])
def test_a_date_s_states_follow_from_each_consumer_s_invoices(table, buys, date):
    moment = pd.Timestamp(date, tz="UTC")
    dormant, churned = (pd.Timedelta(days=variable(f"{name}_after_days")) for name in ("dormant", "churned"))
    expected = {}
    for consumer, times in buys[buys["at"] <= moment].groupby("consumer")["at"]:
        at = sorted(set(times))
        silence = moment - at[-1]
        if silence >= dormant:
            state = "churned" if silence >= churned else "dormant"
        elif len(at) == 1:
            state = "activated" if len(times) == 1 else "active"
        else:
            again = at[-1] - at[-2] >= dormant and (times == at[-1]).sum() == 1
            state = "resurrected" if again else "active"
        expected[consumer] = state
    query = """
        select consumer_id, state from core.lifecycle_states
        where valid_from <= timestamptz '{0}' and (valid_to is null or valid_to > timestamptz '{0}')
    """
    found = table(query.format(moment)).set_index("consumer_id").state.to_dict()
    assert found == expected
    assert found == table(f"from core.lifecycle_as_of('{moment}')").set_index("consumer_id").state.to_dict()
