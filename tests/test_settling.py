"""Settling again on a real lake: touched keys alone are written, and every answer is as if all were settled."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from lifecycle.definitions import Field
from lifecycle.engine import asof, settle
from lifecycle.engine.merge import PART_ROWS
from lifecycle.pipeline import settling
from lifecycle.pipeline.settling import settle_view
from tests.asof_cases import (
    MIDNIGHT,
    Case,
    answers,
    ask,
    cases,
    connect,
    expected,
    quick,
    spine_of,
    view_of,
    write_rows,
)
from tests.online_cases import put_rows

KEYS = [f"k{number:02}" for number in range(60)]
MODES = (("as_known", True), ("feast", False))
RECORDS = "SELECT view, snapshot, keys, again, times FROM lake.raw.settled_views"
ROWS = 500_000
draw = random.Random()


def some_rows(count, first):
    def row(number):
        event, known = (MIDNIGHT + 1000 * draw.randrange(40) for _ in range(2))
        return {
            "key": (draw.choice(KEYS),), "event": event, "known": draw.choice([None, max(event, known)]),
            "tie": (None, str(first + number)), "deleted": draw.random() < 0.1, "values": (number, f"v{first}"),
        }  # fmt: skip

    return [row(number) for number in range(count)]


def case_of(rows):
    spine = [((key,), MIDNIGHT + 1000 * step) for step in (5, 20, 45) for key in KEYS]
    draw.shuffle(spine)
    return Case(("text",), rows, spine, ttl=None, exclude=False, deleted=True)


@contextmanager
def writing(lake):
    with lake.lock():
        connection = lake.connect(write=True)
        try:
            connection.execute("CREATE SCHEMA IF NOT EXISTS lake.features; CREATE SCHEMA IF NOT EXISTS lake.raw")
            yield connection
        finally:
            connection.close()


def change(connection, rows):
    """Make the table's rows these, by rows that come and go."""
    write_rows(connection, case_of(rows), "features.wanted")
    put_rows(connection, "features.rows", "FROM lake.features.wanted")


def answered(connection, view, rows):
    case = case_of(rows)
    for mode, as_known in MODES:
        assert answers(ask(connection, view, spine_of(case), mode)) == expected(case, as_known=as_known)


def records(connection):
    return connection.execute(RECORDS).fetchall()


@pytest.fixture
def settled(lake):
    """Give a lake whose one view is settled whole, a connection that writes it, and its rows."""
    draw.seed(20261129)
    rows = some_rows(400, 0)
    with writing(lake) as connection:
        write_rows(connection, case_of(rows))
        yield lake, connection, rows, settle_view(connection, lake, view_of(case_of(rows)))


def test_touched_keys_are_settled_again_and_others_left(settled):
    lake, connection, rows, view = settled
    answered(connection, view, rows)
    for turn in range(1, 6):
        rows = [row for row in rows if draw.random() > 0.005] + some_rows(2, 1000 * turn)
        change(connection, rows)
        before = lake.snapshot(connection)
        assert settle_view(connection, lake, replace(view, settled=None)) == view
        answered(connection, view, rows)
        [(_, _, keys, again, times)] = records(connection)
        assert (keys, times) == (len(KEYS), turn)
        came = f"ducklake_table_insertions('lake', 'asof', 'view', {before}, {lake.snapshot(connection)})"
        [(written,)] = connection.execute(f"SELECT count(*) FROM {came}").fetchall()
        assert 0 < written < len(rows) / 2
    assert again < len(KEYS)
    counts = "count(*), count(DISTINCT column0), count(DISTINCT key_code)"
    [(count, keys, codes)] = connection.execute(
        f"SELECT {counts} FROM lake.{view.settled} WHERE first_of_key"
    ).fetchall()
    assert count == keys == codes


def test_a_view_whose_facts_stand_writes_nothing(settled):
    lake, connection, _, view = settled
    before = lake.snapshot(connection)
    assert settle_view(connection, lake, replace(view, settled=None)) == view
    assert lake.snapshot(connection) == before


def test_a_key_that_lost_all_its_rows_is_gone(settled):
    lake, connection, rows, view = settled
    rows = [row for row in rows if row["key"] != (KEYS[7],)]
    change(connection, rows)
    settle_view(connection, lake, view)
    answered(connection, view, rows)
    assert records(connection)[0][3:] == (1, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE OR REPLACE TABLE lake.features.rows AS FROM lake.features.rows WHERE amount % 2 = 0",
        "ALTER TABLE lake.features.rows ALTER word_column SET DEFAULT 'x'",
        "DROP TABLE lake.asof.view",
        "CREATE OR REPLACE TABLE lake.asof.view AS FROM lake.asof.view LIMIT 3",
    ],
)
def test_what_the_feed_does_not_tell_settles_all_anew(settled, statement):
    lake, connection, rows, view = settled
    rows = [row for row in rows if row["values"][0] % 2 == 0] if "% 2" in statement else rows
    connection.execute(statement)
    before = lake.snapshot(connection)
    settle_view(connection, lake, view)
    answered(connection, view, rows)
    [(_, snapshot, keys, again, times)] = records(connection)
    assert (snapshot, keys, again, times) == (before, len({row["key"] for row in rows}), 0, 0)


def test_a_change_whose_snapshot_has_expired_settles_all_anew(settled):
    lake, connection, rows, view = settled
    since = lake.snapshot(connection)
    connection.execute("ALTER TABLE lake.features.rows DROP COLUMN amount")
    connection.execute("ALTER TABLE lake.features.rows ADD COLUMN amount BIGINT DEFAULT 9")
    connection.execute("DELETE FROM lake.features.rows WHERE column0 = 'k01'")
    connection.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{since + 1}, {since + 2}])")
    settle_view(connection, lake, view)
    nine = [row | {"values": (9, row["values"][1])} for row in rows if row["key"] != ("k01",)]
    answered(connection, view, nine)


def test_names_are_the_lakes_in_any_case(settled):
    lake, connection, rows, view = settled
    rows = rows + some_rows(1, 1000)
    for turn in (0, 1):
        settle_view(connection, lake, replace(view, relation="features.ROWS"))
        assert records(connection)[0][-1] == turn
        change(connection, rows)
    answered(connection, view, rows)


def test_another_definition_settles_all_anew(settled):
    lake, connection, rows, view = settled
    other = replace(view, features=(Field("amount", "BIGINT"), Field("word", "VARCHAR"), Field("sequence", "BIGINT")))
    settle_view(connection, lake, other)
    answered(connection, other, rows)
    assert "sequence" in {name for name, *_ in connection.execute(f"DESCRIBE lake.{view.settled}").fetchall()}
    ttl = replace(other, ttl_us=1)  # applied when rows are read
    before = lake.snapshot(connection)
    settle_view(connection, lake, ttl)
    assert lake.snapshot(connection) == before


@pytest.mark.parametrize(("limit", "value"), [("MOST_KEYS", 0.0), ("MOST_TIMES", 0)])
def test_a_view_is_settled_whole_once_much_was_settled_again(settled, monkeypatch, limit, value):
    lake, connection, rows, view = settled
    monkeypatch.setattr(settling, limit, value)
    rows = rows + some_rows(1, 1000)
    change(connection, rows)
    settle_view(connection, lake, view)
    answered(connection, view, rows)
    assert records(connection)[0][3:] == (0, 0)
    files = "SELECT file_count, delete_file_count FROM ducklake_table_info('lake') WHERE table_name = 'view'"
    assert connection.execute(files).fetchall() == [(1, 0)]


def test_a_release_that_fails_loses_nothing(settled, monkeypatch):
    lake, connection, rows, view = settled
    before, now = records(connection), rows + some_rows(2, 1000)
    change(connection, now)

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(settling, "_remember", fails)
        with pytest.raises(KeyboardInterrupt):
            settle_view(connection, lake, view)
    assert records(connection) == before
    answered(connection, view, rows)
    settle_view(connection, lake, view)
    answered(connection, view, now)


@seed(12)
@quick
@given(st.data())
def test_settling_touched_keys_again_equals_settling_all(data):
    case, connection = data.draw(cases(spine_rows=(8, 16))), connect(threads=1)
    write_rows(connection, replace(case, rows=[]))
    view = settle(connection, view_of(case))
    keys = ", ".join(f"column{i}" for i in range(len(case.kinds)))
    rows = []
    for _ in range(3):
        before, rows = rows, [row for row in case.rows if data.draw(st.booleans())]
        write_rows(connection, replace(case, rows=before), "features.before")
        write_rows(connection, replace(case, rows=rows))
        differing = " UNION ALL ".join(
            f"(SELECT {keys} FROM (FROM lake.features.{one} EXCEPT ALL FROM lake.features.{other}))"
            for one, other in (("rows", "before"), ("before", "rows"))
        )
        settle(connection, view_of(case), touched=differing)
        for mode, as_known in MODES:
            assert answers(ask(connection, view, spine_of(case), mode)) == expected(case, as_known=as_known, rows=rows)
    columns = f"* EXCLUDE ({asof.KEY_CODE})"
    again = connection.execute(f"SELECT {columns} FROM lake.{view.settled} ORDER BY ALL").fetchall()
    whole = settle(connection, view_of(case))
    assert again == connection.execute(f"SELECT {columns} FROM lake.{whole.settled} ORDER BY ALL").fetchall()


def test_large_views_lie_in_order_and_are_merged_without_a_sort(lake, monkeypatch):
    view = replace(view_of(case_of([])), deleted=None)
    with writing(lake) as connection:
        connection.execute("SET threads = 4")
        # Several of Parquet's row groups, which threads finish in any order.
        connection.execute(f"""
            CREATE TABLE lake.features.rows AS
            SELECT 'k' || hash(i) % 90000 AS column0, to_timestamp(hash(i + 1) % 1000000) AS event_timestamp,
                to_timestamp(hash(i + 1) % 1000000 + 60) AS known_at, i AS sequence, '' AS event_id,
                i AS amount, 'w' || i % 7 AS word_column
            FROM range({ROWS}) AS rows (i)""")
        for turn, rows in enumerate((ROWS, ROWS + 500)):
            connection.execute(f"""
                INSERT INTO lake.features.rows
                SELECT 'k' || i, to_timestamp(2000000), to_timestamp(2000000), i, '', i, 'new'
                FROM range({ROWS}, {rows}) AS rows (i)""")
            view = settle_view(connection, lake, view)
            assert records(connection)[0][-1] == turn
            lies = connection.execute(f"SELECT key_code, visible_at FROM lake.{view.settled} WHERE as_known").fetchall()
            assert lies == sorted(lies)
        spine = connection.execute(f"""
            SELECT column0 AS key0, event_timestamp + INTERVAL 1 HOUR AS event_timestamp
            FROM lake.features.rows USING SAMPLE {4 * PART_ROWS}""").to_arrow_table()
        monkeypatch.setattr("lifecycle.engine.asof._merge", _never_sorting(asof._merge))
        settled = ask(connection, view, spine, "as_known").table
        monkeypatch.undo()
        assert settled.equals(ask(connection, replace(view, settled=None), spine, "as_known").table)


def _never_sorting(merge):
    def refusing(session, selection, observations, query):
        assert "ORDER BY" not in query
        return merge(session, selection, observations, query)

    return refusing
