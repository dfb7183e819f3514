"""Macros in dbt_project/macros/states.sql against nested loops over random versions."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dbt_sql import render

LAST = 9  # every time in these tests is a whole second from 0 to LAST
TIMES = st.integers(0, LAST)
COLUMNS = ("key", "at", "known", "until", "sequence", "event_id", "content_hash", "deleted", "value")


def when(column):
    return f"make_timestamptz({column}::BIGINT * 1000000)"


def seconds(column):
    return f"epoch_us({column}) // 1000000"


@st.composite
def events(draw, keys=("a", "b", None)):
    """Versions of a few events: late, amended, moved in time, moved to another key, retracted, tied."""
    rows = []
    for number in range(draw(st.integers(0, 6))):
        begins = sorted(draw(st.lists(TIMES, min_size=1, max_size=4)))
        ends = [*begins[1:], None]
        at, key = draw(TIMES), draw(st.sampled_from(keys))
        for version, (known, until) in enumerate(zip(begins, ends, strict=True)):
            if draw(st.integers(0, 3)) == 0:
                at = draw(TIMES)
            if draw(st.integers(0, 3)) == 0:
                key = draw(st.sampled_from(keys))
            if draw(st.integers(0, 4)) == 0:
                continue  # retracted: this version only ended the one before
            sequence = draw(st.sampled_from([None, 0, 1]))
            deleted = draw(st.integers(0, 5)) == 0
            value = f"{number}.{version}"
            rows.append((key, at, known, until, sequence, f"e{number}", f"h{version}", deleted, value))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def con():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
    yield connection
    connection.close()


def load(con, table, rows, key="key"):
    con.execute(f"""CREATE OR REPLACE TEMP TABLE {table} (
        {key} VARCHAR, event_timestamp TIMESTAMPTZ, known_from TIMESTAMPTZ, known_until TIMESTAMPTZ,
        sequence BIGINT, event_id VARCHAR, content_hash VARCHAR, is_gone BOOLEAN, value VARCHAR)""")
    if rows:
        line = f"(?, {when('?')}, {when('?')}, {when('?')}, ?, ?, ?, ?, ?)"
        values = [row[column] for row in rows for column in COLUMNS]
        con.execute(f"INSERT INTO {table} VALUES {', '.join([line] * len(rows))}", values)


def tie(row):
    return (row["sequence"] is not None, row["sequence"] or 0, row["event_id"], row["content_hash"])


def in_force(row, known):
    return row["known"] <= known and (row["until"] is None or known < row["until"])


def best(rows):
    """Return the row with the greatest (event time, known time, tie-break), or None."""
    return max(rows, key=lambda row: (row["at"], row["known"], *tie(row)), default=None)


def states(con, rows):
    load(con, "versions", rows)
    query = render('as_states("versions", "key", ["value"], deleted="is_gone")')
    found = con.execute(f"""
        SELECT key, {seconds("event_timestamp")}, {seconds("known_at")}, NULL, sequence, event_id, content_hash,
            deleted, value
        FROM ({query})""").fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def as_of(rows, key, t):
    """Return the value of a state at t, as every reader takes it."""
    row = best(row for row in rows if row["key"] == key and row["at"] <= t and row["known"] <= t)
    return None if row is None or row["deleted"] else row["value"]


def truth(rows, key, t):
    """Return the value of the version in force at t, from the versions themselves."""
    row = best(row for row in rows if row["key"] == key and row["at"] <= t and in_force(row, t))
    return None if row is None or row["deleted"] else row["value"]


@settings(max_examples=150, deadline=None)
@given(rows=events())
def test_a_state_is_the_version_in_force_at_every_moment(con, rows):
    made = states(con, rows)
    for key in ("a", "b"):
        for t in range(LAST + 1):
            assert as_of(made, key, t) == truth(rows, key, t), (key, t)
    assert all(row["key"] is not None for row in made)


@settings(max_examples=60, deadline=None)
@given(rows=events(), known=TIMES)
def test_states_are_only_ever_added(con, rows, known):
    earlier = [
        row | {"until": None if row["until"] is not None and row["until"] > known else row["until"]}
        for row in rows
        if row["known"] <= known
    ]
    before, after = states(con, earlier), states(con, rows)
    assert all(row in after for row in before)


@settings(max_examples=60, deadline=None)
@given(rows=events(keys=("a",)))
def test_rows_of_one_event_and_known_times_are_unique(con, rows):
    made = [(row["key"], row["at"], row["known"], row["event_id"], row["content_hash"]) for row in states(con, rows)]
    assert len(made) == len(set(made))


@settings(max_examples=80, deadline=None)
@given(rows=events(keys=("a", "b")))
def test_a_fact_told_twice_is_in_force_once(con, rows):
    rows = [row for row in rows if row["known"] != row["until"]]
    load(con, "tellings", rows, key="fact_id")
    found = con.execute(f"""
        SELECT fact_id, {seconds("event_timestamp")}, {seconds("known_from")}, {seconds("known_until")}, sequence,
            event_id, content_hash, is_gone, value
        FROM ({render('as_facts("tellings")')})""").fetchall()
    facts = [dict(zip(COLUMNS, row, strict=True)) for row in found]
    for key in ("a", "b"):
        for known in range(LAST + 1):
            told = best(row for row in rows if row["key"] == key and in_force(row, known))
            standing = [row["value"] for row in facts if row["key"] == key and in_force(row, known)]
            assert standing == ([] if told is None else [told["value"]]), (key, known)
    ends = {(row["event_id"], row["content_hash"], row["value"], row["until"]) for row in facts}
    assert not any((row["event_id"], row["content_hash"], row["value"], row["known"]) in ends for row in facts)


@settings(max_examples=60, deadline=None)
@given(first=events(keys=("a",)), second=events(keys=("a",)))
def test_joint_states_hold_every_part_as_of_then(con, first, second):
    load(con, "first_versions", first)
    load(con, "second_versions", second)
    one, two = (
        render(f'as_states("{part}_versions", "key", ["{part}_value"], deleted="is_gone")')
        for part in ("first", "second")
    )
    joint = render('as_joint_states("key", {"one": ["first_value"], "two": ["second_value"]})')
    for part in ("first", "second"):
        con.execute(f"ALTER TABLE {part}_versions RENAME COLUMN value TO {part}_value")
    found = con.execute(f"""
        WITH one AS ({one}), two AS ({two})
        SELECT {seconds("event_timestamp")}, {seconds("known_at")}, deleted, first_value, second_value
        FROM ({joint})""").fetchall()
    assert len({row[0] for row in found}) == len(found)
    assert all(row[0] == row[1] for row in found)
    for t in range(LAST + 1):
        seen = max((row for row in found if row[0] <= t), default=(0, 0, True, None, None))
        assert seen[3:] == (truth(first, "a", t), truth(second, "a", t)), t
        if seen[2]:
            assert seen[3:] == (None, None)


def test_a_retraction_brings_the_earlier_state_back(con):
    rows = [
        dict(zip(COLUMNS, row, strict=True))
        for row in [
            ("a", 1, 1, None, None, "e1", "h", False, "first"),
            ("a", 3, 3, 5, None, "e2", "h", False, "retracted later"),
        ]
    ]
    made = sorted((row["at"], row["known"], row["deleted"], row["value"]) for row in states(con, rows))
    assert made == [(1, 1, False, "first"), (3, 3, False, "retracted later"), (3, 5, False, "first")]


def test_a_changed_key_leaves_a_tombstone_behind(con):
    rows = [
        dict(zip(COLUMNS, row, strict=True))
        for row in [
            ("a", 1, 1, 4, None, "e1", "h1", False, "merged away"),
            ("b", 1, 4, None, None, "e1", "h2", False, "merged away"),
        ]
    ]
    made = sorted((row["key"], row["at"], row["known"], row["deleted"], row["value"]) for row in states(con, rows))
    assert made == [
        ("a", 1, 1, False, "merged away"),
        ("a", 1, 4, True, None),
        ("b", 1, 4, False, "merged away"),
    ]
