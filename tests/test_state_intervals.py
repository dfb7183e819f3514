"""Consumers' states as intervals (macros/state_intervals.sql) against nested loops over random facts."""

from __future__ import annotations

from functools import cache

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dbt_sql import render, variable

STEP_DAYS = 10  # every time in these tests is a whole number of such steps
LAST = 13
DORMANT = variable("dormant_after_days") // STEP_DAYS
CHURNED = variable("churned_after_days") // STEP_DAYS
STANDING = ["worst", "bad"]
RULES = {"before": "before", "standing": STANDING}
T, KNOWN = "(select t from moments)", "(select known from moments)"
COLUMNS = ("consumer_id", "case_id", "fact", "position", "at", "known", "until", "sequence", "event_id")
FIELDS = """consumer_id VARCHAR, case_id VARCHAR, fact VARCHAR, position INTEGER, event_timestamp TIMESTAMPTZ,
    known_from TIMESTAMPTZ, known_until TIMESTAMPTZ, sequence BIGINT, event_id VARCHAR, content_hash VARCHAR"""
LIFECYCLE = {"signed_up": 1, "verified": 1, "charged": 1, "closed": 2}
CASES = {"seen": 0, "bad": 1, "worst": 1, "good": 1, "over": 1}


def when(column):
    return f"make_timestamptz({column}::BIGINT * {STEP_DAYS * 86_400_000_000})"


def steps(column):
    return f"epoch_us({column}) // {STEP_DAYS * 86_400_000_000}"


@st.composite
def facts(draw, kinds):
    """Versions of a few facts of two consumers: late, amended, withdrawn, at one moment."""
    rows = []
    for number in range(draw(st.integers(0, 7))):
        begins = sorted(draw(st.lists(st.integers(0, LAST), min_size=1, max_size=3)))
        for known, until in zip(begins, [*begins[1:], None], strict=True):
            if draw(st.integers(0, 4)) == 0:
                continue  # withdrawn: this version only ended the one before
            fact = draw(st.sampled_from(sorted(kinds)))
            case = draw(st.sampled_from(["x", "y"])) if kinds is CASES else ""
            at, sequence = draw(st.integers(0, LAST)), draw(st.sampled_from([None, 1]))
            consumer = draw(st.sampled_from("ab"))
            rows.append((consumer, case, fact, kinds[fact], at, known, until, sequence, f"e{number}"))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def con():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'America/New_York'; SET threads = 1")  # no session's zone changes an answer
    yield connection
    connection.close()


def load(con, rows):
    con.execute(f"CREATE OR REPLACE TEMP TABLE facts ({FIELDS})")
    line = f"(?, ?, ?, ?, {when('?')}, {when('?')}, {when('?')}, ?, ?, 'h')"
    if rows:
        values = [row[column] for row in rows for column in COLUMNS]
        con.execute(f"INSERT INTO facts VALUES {', '.join([line] * len(rows))}", values)


def in_force(rows, consumer, known):
    """Return the consumer's facts as known then, in their order."""
    mine = [
        row
        for row in rows
        if row["consumer_id"] == consumer and row["known"] <= known and (row["until"] is None or known < row["until"])
    ]
    return sorted(mine, key=lambda r: (r["at"], r["position"], r["known"], r["sequence"] or 0, r["event_id"]))


def silent(state, charged, t):
    """Return what silence since the last charge makes of the state at t."""
    if state in {"activated", "active", "resurrected", "dormant"} and t >= charged + DORMANT:
        return "churned" if t >= charged + CHURNED else "dormant"
    return state


def lifecycle(rows, t):
    """Return the lifecycle state at t, fact by fact."""
    state, charged = None, None
    for row in (row for row in rows if row["at"] <= t):
        state = silent(state, charged, row["at"])
        if row["fact"] == "charged":
            again = "active" if state in {"activated", "active", "resurrected"} else "resurrected"
            state, charged = ("activated" if charged is None else again), row["at"]
        elif row["fact"] == "closed" or state in {None, "closed"} or (row["fact"], state) == ("verified", "signed_up"):
            state = row["fact"]
    return silent(state, charged, t)


def of_cases(rows, t):
    """Return the state that follows from the cases' last facts at t."""
    told = [row for row in rows if row["at"] <= t and row["position"] > 0]
    if not told:
        return "before" if any(row["at"] <= t for row in rows) else None
    cases = {row["case_id"]: row["fact"] for row in told}
    return next((state for state in STANDING if state in cases.values()), told[-1]["fact"])


@cache
def rendered(call):
    return render(call)


def as_of(con, call, t, known):
    con.execute(f"CREATE OR REPLACE TEMP TABLE moments AS SELECT {when(t)} AS t, {when(known)} AS known")
    found = con.execute(f"SELECT consumer_id, state FROM ({rendered(call)})").fetchall()
    assert len({consumer for consumer, _ in found}) == len(found)
    return dict(found)


@settings(max_examples=150, deadline=None)
@given(rows=facts(LIFECYCLE), t=st.integers(0, LAST), known=st.integers(0, LAST))
def test_a_lifecycle_is_what_its_facts_and_silence_make_it(con, rows, t, known):
    load(con, rows)
    call = f'states_as_of("lifecycle", "{T}", "{KNOWN}", "facts", {RULES})'
    expected = {one: lifecycle(in_force(rows, one, known), t) for one in "ab"}
    assert as_of(con, call, t, known) == {one: state for one, state in expected.items() if state}


@settings(max_examples=150, deadline=None)
@given(rows=facts(CASES), t=st.integers(0, LAST), known=st.integers(0, LAST))
def test_a_state_of_cases_is_the_worst_that_stands_or_the_last(con, rows, t, known):
    load(con, rows)
    call = f'states_as_of("cases", "{T}", "{KNOWN}", "facts", {RULES})'
    expected = {one: of_cases(in_force(rows, one, known), t) for one in "ab"}
    assert as_of(con, call, t, known) == {one: state for one, state in expected.items() if state}


@pytest.mark.parametrize("kinds", [LIFECYCLE, CASES], ids=["lifecycle", "cases"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_intervals_have_no_gap_and_one_end(con, kinds, data):
    rows = [row for row in data.draw(facts(kinds)) if row["until"] is None]
    load(con, rows)
    subject = "lifecycle" if kinds is LIFECYCLE else "cases"
    query = rendered(f'state_intervals("{subject}", "facts", {RULES})')
    found = con.execute(f"""
        SELECT consumer_id, state, {steps("valid_from")}, {steps("valid_to")}, known_at >= valid_from
        FROM ({query}) ORDER BY consumer_id, valid_from""").fetchall()
    for row, after in zip(found, [*found, (None,) * 5][1:], strict=True):
        if row[0] == after[0]:
            assert row[3] == after[2] > row[2]
            assert row[1] != after[1]
        else:
            assert row[3] is None
    assert all(row[4] for row in found)
    truth = lifecycle if kinds is LIFECYCLE else of_cases
    for one in "ab":
        for t in range(LAST + 1):
            at_t = [row[1] for row in found if row[0] == one and row[2] <= t and (row[3] is None or t < row[3])]
            expected = truth(in_force(rows, one, LAST), t)
            assert at_t == ([expected] if expected else [])
