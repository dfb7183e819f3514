"""Funnels: the macros against nested loops and lifelines, the loan funnel on the BPI Challenge 2012 log."""

from __future__ import annotations

import os
import random
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import median_survival_times

from lifecycle import config
from lifecycle.lake import Lake
from lifecycle.pipeline.build import run_dbt
from lifecycle.pipeline.intake import ingest
from tests.conftest import ROOT
from tests.dbt_sql import render

STEPS = {"started": "start", "checked": "check", "paid": "pay", "paid_again": "pay"}
NAMES = list(STEPS)
DAYS = 2
WINDOW = DAYS * 86_400
OBSERVED = 6 * 86_400


REAL = os.environ.get("LIFECYCLE_REAL_DATA", "")
LOAN_STEPS = {
    "submitted": "A_SUBMITTED", "preaccepted": "A_PREACCEPTED", "accepted": "A_ACCEPTED", "offer_sent": "O_SENT",
    "offer_returned": "O_SENT_BACK", "approved": "A_APPROVED",
}  # fmt: skip


@pytest.fixture(scope="module")
def con():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
    yield connection
    connection.close()


def seconds(column):
    return f"epoch_us({column}) // 1000000"


def random_events(seed, entities=150):
    """Events at few distinct times, so that ties, window edges and open windows are common."""
    rng = random.Random(seed)
    kinds = ["start", "check", "pay", "pay", "pay", "leave", "other"]
    times = [0, 1, 3600, WINDOW, WINDOW + 1, OBSERVED - WINDOW, OBSERVED - 5, OBSERVED, *range(0, OBSERVED, 40_000)]
    made = [
        (
            rng.choice([f"e{number}", None]) if rng.random() < 0.02 else f"e{number}",
            rng.choice(kinds),
            rng.choice(times),
        )
        for number in range(entities)
        for _ in range(rng.randrange(20))
    ]
    return made, {f"e{number}": rng.choice(["north", "south"]) for number in range(entities)}


def way(events, entity):
    """Return one entity's times of the steps and of leaving, by nested loops; None if it never entered."""
    mine = [(step, at) for who, step, at in events if who == entity]
    entries = [at for step, at in mine if step == "start"]
    if not entries:
        return None
    taken = [min(entries)]
    for name in NAMES[1:]:
        kind = STEPS[name]
        after = [taken[i] for i, before in enumerate(NAMES[: len(taken)]) if STEPS[before] == kind]
        found = [
            at for step, at in mine
            if taken[-1] is not None and step == kind and taken[-1] <= at <= taken[0] + WINDOW
            and all(at > earlier for earlier in after)
        ]  # fmt: skip
        taken.append(min(found, default=None))
    left = min((at for step, at in mine if step == "leave" and at >= taken[0]), default=None)
    return [*taken, left]


def load(con, events, regions):
    con.execute("CREATE OR REPLACE TEMP TABLE happened (entity VARCHAR, step VARCHAR, happened_at TIMESTAMPTZ)")
    con.executemany("INSERT INTO happened VALUES (?, ?, make_timestamptz(?::BIGINT * 1000000))", events)
    con.execute("CREATE OR REPLACE TEMP TABLE regions (entity VARCHAR, region VARCHAR)")
    con.executemany("INSERT INTO regions VALUES (?, ?)", list(regions.items()))
    ways = render(f'funnel_times("happened", {STEPS}, {DAYS}, left_by="leave")')
    con.execute(f"""CREATE OR REPLACE TEMP TABLE times AS
        SELECT way.*, region, make_timestamptz({OBSERVED * 1_000_000}::BIGINT) AS observed_until
        FROM ({ways}) AS way JOIN regions USING (entity)""")


@pytest.fixture(scope="module", params=[1, 2, 3])
def generated(con, request):
    events, regions = random_events(request.param)
    load(con, events, regions)
    ways = {entity: way(events, entity) for entity in regions}
    return con, regions, {entity: times for entity, times in ways.items() if times is not None}


def test_each_way_equals_nested_loops(generated):
    con, _, ways = generated
    columns = ", ".join(seconds(f"{name}_at") for name in NAMES)
    found = con.execute(f"SELECT entity, {columns}, {seconds('left_at')} FROM times").fetchall()
    assert {entity: list(times) for entity, *times in found} == ways
    assert sum(times[3] is not None for times in ways.values()) > 3


def durations(ways, number, origin):
    """Return (seconds, reached) of step `number` (from 1) from the step before (1) or the entry (0)."""
    made = []
    for times in ways:
        start = times[number - 1] if origin else times[0]
        if start is not None:
            end = times[number] if times[number] is not None else min(times[0] + WINDOW, OBSERVED)
            made.append((max(end - start, 0), times[number] is not None))
    return made


def km_median(made):
    """Return lifelines' median, or None where the curve does not fall to half."""
    fitter = KaplanMeierFitter().fit([one for one, _ in made], [done for _, done in made])
    median = median_survival_times(fitter.survival_function_)
    return None if median == float("inf") else median


def median(made):
    done = sorted(one for one, happened in made if happened)
    return done[(len(done) - 1) // 2] if done else None


@pytest.mark.parametrize("by", [[], ["region"]], ids=["all", "by region"])
def test_the_counts_rates_and_medians_equal_nested_loops_and_lifelines(generated, by):
    con, regions, ways = generated
    relation = con.execute(render(f'funnel_steps("times", {STEPS}, {DAYS}, by={by})'))
    names = [column[0] for column in relation.description]
    rows = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
    groups = sorted(set(regions.values())) if by else [None]
    assert len(rows) == len(groups) * len(STEPS)
    for row in rows:
        mine = [times for entity, times in ways.items() if not by or regions[entity] == row["region"]]
        number = row["step_number"] - 1
        before = [times for times in mine if times[max(number - 1, 0)] is not None]
        reached = [times for times in mine if times[number] is not None]
        open_ones = [
            times for times in before if times[number] is None and times[4] is None and times[0] + WINDOW > OBSERVED
        ]
        counted = (row["entered"], row["reached_before"], row["reached"], row["under_way"])
        assert counted == (len(mine), len(before), len(reached), len(open_ones))
        assert row["overall_rate"] == len(reached) / len(mine)
        assert row["step_rate"] == (len(reached) / len(before) if before else None)
        for origin, name in ((1, "before"), (0, "entry")):
            made = durations(mine, number, origin) if number else []
            assert row[f"median_seconds_from_{name}"] == median(made)
            assert row[f"km_median_seconds_from_{name}"] == (km_median(made) if made else None)


def test_survival_agrees_with_lifelines(con):
    rng = random.Random(8)
    estimate = render('kaplan_meier("durations_frame", ["team"])')
    made = [(rng.randrange(400), rng.random() < 0.6, group) for group in "ab" for _ in range(2_000)]
    made += [(5, True, "c"), (9, True, "c"), (3, False, "d")]
    frame = pd.DataFrame(made, columns=["seconds", "happened", "team"])
    con.register("durations_frame", frame)
    found = con.execute(f"SELECT * FROM ({estimate}) ORDER BY team, seconds").fetch_df()
    con.unregister("durations_frame")
    for team, mine in frame.groupby("team"):
        fitter = KaplanMeierFitter().fit(mine["seconds"], mine["happened"])
        ours = found[found["team"] == team].set_index("seconds")
        table = fitter.event_table[fitter.event_table["observed"] > 0]
        assert list(ours.index) == list(table.index)
        expected = fitter.survival_function_["KM_estimate"].reindex(ours.index)
        assert ((ours["survival"] - expected).abs() < 1e-9).all()
        assert (ours["at_risk"] == table["at_risk"]).all()
        assert (ours["happened"] == table["observed"]).all()


def test_the_median_of_kaplan_and_meier_is_the_median_where_nobody_is_censored(con):
    estimate = render('kaplan_meier("complete", ["size"])')
    con.execute("""CREATE OR REPLACE TEMP TABLE complete AS
        SELECT sizes.range AS size, seconds.range AS seconds, true AS happened
        FROM range(1, 60) AS sizes JOIN range(1, 60) AS seconds ON seconds.range <= sizes.range""")
    median = render("km_median_seconds()")
    found = con.execute(f"SELECT size, {median} FROM ({estimate}) GROUP BY size ORDER BY size").fetchall()
    assert found == [(size, (size + 1) // 2) for size in range(1, 60)]


def _log():
    return Path(REAL) / "bpi2012_loan_applications" / "bpi2012_events.csv.gz"


@pytest.fixture(scope="module")
def loans(tmp_path_factory):
    """The log through intake and dbt: the rows of loan_funnel_steps and of loan_funnel."""
    settings = config.load(ROOT, home=tmp_path_factory.mktemp("loans"))
    lake = Lake(settings.lake)
    [batch] = ingest(settings, lake, "bpi2012", [_log()])
    run_dbt(settings, lake, "run", "--select", "+loan_funnel_steps")
    connection = lake.connect()
    steps = connection.execute("SELECT * FROM lake.metrics.loan_funnel_steps ORDER BY step_number").fetch_df()
    applications = connection.execute("SELECT * FROM lake.metrics.loan_funnel").fetch_df()
    connection.close()
    return batch, steps, applications.set_index("application_id").sort_index()


@pytest.fixture(scope="module")
def log():
    """What the log says, read without us: completed activities, times in whole microseconds."""
    rows = pd.read_csv(_log(), dtype=str)
    rows["at"] = pd.to_datetime(rows["event_ts"], utc=True).astype("datetime64[us, UTC]").astype("int64")
    return rows


@pytest.mark.real
@pytest.mark.skipif(not REAL, reason="LIFECYCLE_REAL_DATA names no folder of real data")
def test_the_loan_funnel_has_the_log_s_own_counts(loans, log):
    batch, steps, applications = loans
    assert (batch.landed, batch.accepted, len(applications)) == (262_200, 262_200, 13_087)
    # No approved application skipped a step or came out of order, so a step's count is its activity's.
    cases = log[log.lifecycle == "COMPLETE"].groupby("activity").application_id.nunique()
    assert steps["reached"].tolist() == [cases[activity] for activity in LOAN_STEPS.values()]
    assert steps["reached"].tolist() == [13_087, 7_367, 5_113, 5_015, 3_254, 2_246]
    outcomes = applications["outcome"].value_counts().to_dict()
    assert outcomes == {"declined": 7_635, "canceled": 2_807, "approved": 2_246, "undecided": 399}
    assert steps["under_way"].sum() == outcomes["undecided"]


@pytest.mark.real
@pytest.mark.skipif(not REAL, reason="LIFECYCLE_REAL_DATA names no folder of real data")
def test_the_loan_funnel_s_times_equal_pandas_and_lifelines(loans, log):
    _, steps, _ = loans
    done = log[log.lifecycle == "COMPLETE"]
    first = {name: done[done.activity == activity].groupby("application_id")["at"].min()
             for name, activity in LOAN_STEPS.items()}  # fmt: skip
    times = pd.DataFrame(first)
    end = log["at"].max()
    for number, row in enumerate(steps.itertuples()):
        if number == 0:
            continue
        name, before = list(LOAN_STEPS)[number], list(LOAN_STEPS)[number - 1]
        for origin, column in ((before, "from_before"), ("submitted", "from_entry")):
            some = times[times[origin].notna()]
            waited = (some[name].fillna(end) - some[origin]) // 1_000_000
            reached = some[name].notna()
            assert getattr(row, f"median_seconds_{column}") == waited[reached].quantile(0.5, interpolation="lower")
            expected = median_survival_times(KaplanMeierFitter().fit(waited, reached).survival_function_)
            found = getattr(row, f"km_median_seconds_{column}")
            assert pd.isna(found) if expected == float("inf") else found == expected
