"""The as-of join equals the oracle, and what must not matter does not."""

from __future__ import annotations

import importlib
import itertools
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from lifecycle.definitions import Definitions, Field, View
from lifecycle.engine import asof, merge, settle, training_frame
from lifecycle.errors import UsageError
from tests.asof_cases import (
    MIDNIGHT,
    Case,
    answers,
    ask,
    at,
    cases,
    connect,
    expected,
    quick,
    spine_of,
    variants,
    view_of,
    without_known_time,
    write_rows,
)

COMPARED = 20_000


def check(connection, case):
    write_rows(connection, case)
    for as_known, frame in variants(connection, case):
        assert answers(frame) == expected(case, as_known=as_known)


def test_oracle_and_engine_agree_on_20000_rows():
    connection = connect(threads=1)
    compared = 0

    @seed(20261123)
    @settings(quick, max_examples=240)
    @given(cases(spine_rows=(20, 40)))
    def compare(case):
        nonlocal compared
        write_rows(connection, case)
        for as_known, frame in variants(connection, case):
            assert answers(frame) == expected(case, as_known=as_known)
            assert frame.table.select(spine_of(case).column_names).equals(spine_of(case))
            compared += len(case.spine)

    compare()
    while compared < COMPARED:  # another seed's worth of cases
        assert compared > 0
        seed(compared)(compare)()


@seed(1)
@quick
@given(cases())
def test_a_source_without_known_time_is_known_at_its_event_time(case):
    connection = connect(threads=1)
    bare = replace(case, rows=_unique_without_known(case.rows))
    write_rows(connection, bare)
    view = without_known_time(view_of(bare))
    rows = [row | {"known": None} for row in bare.rows]
    for mode in ("as_known", "feast"):
        assert answers(ask(connection, view, spine_of(bare), mode)) == expected(bare, as_known=True, rows=rows)
    settled = settle(connection, view)
    assert answers(ask(connection, settled, spine_of(bare), "as_known")) == expected(bare, as_known=True, rows=rows)


def _unique_without_known(rows):
    return list({(row["key"], row["event"], row["tie"]): row for row in rows}.values())


@seed(2)
@quick
@given(cases(), st.integers(0, 2**32))
def test_facts_from_the_future_change_nothing(case, chance):
    connection = connect(threads=1)
    write_rows(connection, case)
    before = [(row, answers(frame)) for row, frame in variants(connection, case)]
    latest = max(t for _, t in case.spine)
    draw = random.Random(chance)
    future = [row | {"event": latest + draw.randint(1, 10**9)} for row in case.rows]
    late = [row | {"known": latest + draw.randint(1, 10**9), "tie": (9, row["tie"][1])} for row in case.rows]
    # What is known only later still counts by event time alone, so event-time-only sees the first kind only.
    for added, modes in ((future, (False, True)), (future + late, (True,))):
        write_rows(connection, replace(case, rows=case.rows + added))
        after = [(row, answers(frame)) for row, frame in variants(connection, case)]
        assert [one for one in after if one[0] in modes] == [one for one in before if one[0] in modes]


@seed(3)
@quick
@given(cases(), st.randoms())
def test_order_splits_and_threads_change_nothing(case, chance):
    one, many = connect(threads=1), connect(threads=4)
    write_rows(one, case)
    shuffled = list(case.rows)
    chance.shuffle(shuffled)
    write_rows(many, replace(case, rows=shuffled))
    spine = spine_of(case)
    cut = chance.randint(0, len(spine))
    split = pa.Table.from_batches([*spine.slice(0, cut).to_batches(), *spine.slice(cut).to_batches()], spine.schema)
    view = view_of(case)
    for mode in ("feast", "as_known"):
        first, second = ask(one, view, spine, mode), ask(many, view, split, mode)
        assert first.table.equals(second.table)
        assert first.receipt.to_json() == second.receipt.to_json()


@seed(4)
@quick
@given(cases(), st.randoms())
def test_a_row_does_not_depend_on_the_others(case, chance):
    connection = connect(threads=1)
    write_rows(connection, case)
    kept = sorted(chance.sample(range(len(case.spine)), chance.randint(1, len(case.spine))))
    fewer = replace(case, spine=[case.spine[row] for row in kept])
    doubled = replace(case, spine=case.spine * 2)
    for (_, whole), (_, part), (_, twice) in zip(
        variants(connection, case), variants(connection, fewer), variants(connection, doubled), strict=True
    ):
        assert [answers(whole)[row] for row in kept] == answers(part)
        assert answers(twice) == answers(whole) * 2


def test_an_empty_relation_and_an_empty_spine_give_no_values():
    connection = connect(threads=1)
    case = _fixed_case([])
    write_rows(connection, case)
    for _, frame in variants(connection, case):
        assert answers(frame) == [None]
        assert frame.table.schema.field("amount").type == pa.int64()
    empty = replace(case, spine=[])
    for _, frame in variants(connection, empty):
        assert frame.table.num_rows == 0
        assert frame.table.schema.names == [*spine_of(case).column_names, "amount", "word"]


@pytest.mark.parametrize("key", [1.0, 1.5, None, 2.0**63])
def test_a_key_that_its_type_cannot_hold_matches_nothing(key):
    connection = connect(threads=1)
    row = {"key": (1,), "event": 0, "known": None, "tie": (None, ""), "deleted": False, "values": (5, "z")}
    case = _fixed_case([row])
    write_rows(connection, case)
    spine = spine_of(case).set_column(0, "key0", pa.array([key], pa.float64()))
    expected_value = 5 if key == 1.0 else None
    assert ask(connection, view_of(case), spine, "feast").table["amount"].to_pylist() == [expected_value]


def _fixed_case(rows):
    from tests.asof_cases import Case

    return Case(("number",), rows, [((1,), 10)], None, exclude=False, deleted=False)


def test_several_views_in_one_pass_equal_each_alone():
    connection = connect(threads=1)
    rows = [
        {"key": (key,), "event": event, "known": known, "tie": (None, ""), "deleted": False, "values": (event, "z")}
        for key in range(5)
        for event, known in ((1, None), (4, 9), (7, None))
    ]
    case = replace(_fixed_case(rows), spine=[((key,), t) for key in range(6) for t in range(12)])
    write_rows(connection, case)
    write_rows(connection, replace(case, rows=rows[:7]), "features.others")
    views = (view_of(case), view_of(case, "other", "features.others"))
    both = training_frame(
        connection, Definitions(views), spine_of(case), features=["view", "other"], full_feature_names=True
    ).table
    for view in views:
        alone = training_frame(
            connection, Definitions((view,)), spine_of(case), features=[view.name], full_feature_names=True
        ).table
        assert both.select(alone.column_names).equals(alone)


def test_few_keys_of_many_are_looked_up_and_disordered_files_are_sorted():
    connection = connect(threads=1)
    rows = [
        {
            "key": (name,),
            "event": MIDNIGHT + step,
            "known": None,
            "tie": (0, ""),
            "deleted": False,
            "values": (step, name),
        }
        for name in (f"key {number:03}" for number in range(100))
        for step in (1, 2, 3)
    ]
    case = Case(("text",), rows, [(("key 007",), MIDNIGHT + 2)], None, exclude=False, deleted=False)
    whole = replace(case, spine=[((f"key {number:03}",), MIDNIGHT + 2) for number in reversed(range(100))])
    write_rows(connection, case)
    settled = settle(connection, view_of(case))
    for turn in ("as settled", "laid out anew"):
        assert answers(ask(connection, settled, spine_of(case), "as_known")) == expected(case, as_known=True), turn
        assert answers(ask(connection, settled, spine_of(whole), "as_known")) == expected(whole, as_known=True), turn
        records = f"lake.{settled.settled}"
        connection.execute(f"CREATE OR REPLACE TABLE {records} AS SELECT * FROM {records} ORDER BY visible_at DESC")


def test_keys_settled_in_another_order_than_this_sessions_are_found():
    connection = connect(threads=1)
    rows = [
        {"key": (key,), "event": MIDNIGHT + key, "known": None, "tie": (0, ""), "deleted": False, "values": (key, "z")}
        for key in range(6)
    ]
    case = replace(_fixed_case(rows), spine=[((key,), MIDNIGHT + t) for key in (4, 0, 5, 3, 9) for t in (2, 4, 7)])
    write_rows(connection, case)
    connection.execute("SET default_order = 'DESC'")
    settled = settle(connection, view_of(case))
    connection.execute("SET default_order = 'ASC'")
    for mode, as_known in (("as_known", True), ("feast", False)):
        assert answers(ask(connection, settled, spine_of(case), mode)) == expected(case, as_known=as_known)


@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_reading_in_parts_changes_nothing(monkeypatch, size):
    connection = connect(threads=4)
    monkeypatch.setattr(merge, "PART_ROWS", size)
    monkeypatch.setattr("lifecycle.engine.session.BATCH_ROWS", size)

    @seed(4)
    @quick
    @given(cases(spine_rows=(20, 40)))
    def compare(case):
        check(connection, case)

    compare()


@pytest.mark.parametrize("rows", [1, 4, 1_000])
def test_settling_in_parts_of_the_keys_changes_nothing(monkeypatch, rows):
    connection = connect(threads=1)
    of_settling = importlib.import_module("lifecycle.engine.settle")

    @seed(6)
    @quick
    @given(cases())
    def compare(case):
        write_rows(connection, case)
        monkeypatch.setattr(of_settling, "ROWS_AT_ONCE", 10_000)
        whole = connection.execute(f"FROM lake.{settle(connection, view_of(case)).settled}").to_arrow_table()
        monkeypatch.setattr(of_settling, "ROWS_AT_ONCE", rows)
        parted = connection.execute(f"FROM lake.{settle(connection, view_of(case)).settled}").to_arrow_table()
        assert parted.equals(whole)

    compare()


def test_parts_are_cut_between_keys(monkeypatch):
    monkeypatch.setattr(merge, "PART_ROWS", 1)
    code = np.array([0, 0, 0, 3, 3, 5, 9, 9, 9, 9])
    observations = merge.Observations(np.arange(10), code, np.arange(10))
    for most in range(1, 12):
        parts = [(list(one.code), first, last) for one, first, last in observations.parts(most)]
        assert [one for codes, _, _ in parts for one in codes] == list(code)
        assert all((codes[0], codes[-1]) == (first, last) for codes, first, last in parts)
        assert all(before[2] < after[1] for before, after in itertools.pairwise(parts))
    assert len(observations.parts(2)) == 2


@pytest.mark.parametrize(
    ("event", "known", "as_known", "by_event_time"),
    [
        ("2024-05-01", "2024-05-01", 1, 1),
        ("infinity", "2024-05-01", None, None),
        ("-infinity", "2024-05-01", None, None),
        ("2024-05-01", "infinity", None, 1),
        ("2024-05-01", "-infinity", 1, 1),
    ],
)
def test_infinite_times_never_come(event, known, as_known, by_event_time):
    connection = connect()
    connection.execute(f"""
        CREATE TABLE lake.features.rows AS
        SELECT 'a' AS k, TIMESTAMPTZ '{event}' AS event_timestamp, TIMESTAMPTZ '{known}' AS known_at, 1 AS x""")
    view = View("view", "features.rows", (("k", "k"),), "event_timestamp", "known_at", (Field("x", "INTEGER"),))
    spine = pa.table({"k": ["a"], "event_timestamp": pa.array([at(MIDNIGHT + 10**13)], pa.timestamp("us", "UTC"))})
    for one, mode, value in (
        (view, "as_known", as_known),
        (settle(connection, view), "as_known", as_known),
        (view, "feast", by_event_time),
        (settle(connection, view), "feast", by_event_time),
    ):
        assert ask(connection, one, spine, mode).table["x"].to_pylist() == [value]


def test_a_row_that_never_becomes_known_counts_by_event_time_alone():
    connection = connect()
    connection.execute("""
        CREATE TABLE lake.features.rows AS
        SELECT k, make_timestamptz(day * 86400000000) AS event_timestamp, known::TIMESTAMPTZ AS known_at, x,
            x AS sequence
        FROM (VALUES
            ('never', 1, 'infinity', 1), ('never', 1, 'infinity', 2), ('never', 3, 'infinity', 3),
            ('once', 1, '-infinity', 4), ('once', 2, 'infinity', 5), ('once', 4, '-infinity', 6)
        ) AS rows (k, day, known, x)""")
    features = (Field("x", "INTEGER"),)
    view = View(
        "view", "features.rows", (("k", "k"),), "event_timestamp", "known_at", features, tie_break=("sequence",)
    )
    days = pa.array([at(day * 86_400_000_000) for day in range(6)], pa.timestamp("us", "UTC"))
    spine = pa.table({"k": ["never"] * 6 + ["once"] * 6, "event_timestamp": pa.chunked_array([days, days])})
    by_event = [None, 2, 2, 3, 3, 3, None, 4, 5, 5, 6, 6]
    known = [None] * 7 + [4, 4, 4, 6, 6]
    for one in (view, settle(connection, view)):
        assert ask(connection, one, spine, "feast").table["x"].to_pylist() == by_event
        assert ask(connection, one, spine, "as_known").table["x"].to_pylist() == known


def test_a_time_taken_as_a_feature_is_the_same_however_it_is_asked_for():
    connection = connect()
    connection.execute("""
        CREATE TABLE lake.features.rows AS
        SELECT 'a' AS k, TIMESTAMP_NS '2024-05-01 00:00:00.000000001' AS event_timestamp,
            NULL::TIMESTAMP AS known_at""")
    features = (Field("since", "TIMESTAMP_NS"), Field("known_at", "TIMESTAMP"))
    mapped = (("since", "event_timestamp"),)
    view = View("view", "features.rows", (("k", "k"),), "event_timestamp", "known_at", features, columns=mapped)
    spine = pa.table({"k": ["a"], "event_timestamp": pa.array([at(MIDNIGHT + 10**13)], pa.timestamp("us", "UTC"))})
    moment = at(1_714_521_600_000_001)
    settled = settle(connection, view)
    for one, mode in ((view, "as_known"), (settled, "as_known"), (view, "feast"), (settled, "feast")):
        table = ask(connection, one, spine, mode).table.select(["since", "known_at"])
        assert table.to_pylist() == [{"since": moment, "known_at": moment}]


def test_a_column_named_as_settling_names_its_own_is_refused():
    connection = connect()
    connection.execute("""
        CREATE TABLE lake.features.rows AS
        SELECT 'a' AS k, TIMESTAMPTZ '2024-05-01' AS event_timestamp, 1 AS visible_at, 2 AS x""")
    view = View("view", "features.rows", (("k", "k"),), "event_timestamp", None, (Field("x", "INTEGER"),))
    with pytest.raises(UsageError, match="'visible_at', a name that settling needs"):
        settle(connection, replace(view, tie_break=("visible_at",)))


@pytest.mark.parametrize("room", [0, 1 << 29])
def test_answers_are_the_same_in_memory_and_in_a_file(monkeypatch, room):
    monkeypatch.setattr(asof, "HELD_BYTES", room)
    kept = asof.Answers.held
    held = []
    monkeypatch.setattr(asof.Answers, "held", lambda self: held.append(self) or kept(self))
    connection = connect(threads=1)

    @seed(20261129)
    @settings(quick, max_examples=10)
    @given(cases(spine_rows=(20, 40)))
    def compare(case):
        check(connection, case)

    compare()
    assert any(one.table.nbytes for one in held) == bool(room)


def test_held_columns_hold_what_they_held():
    kinds = {
        pa.int64(): [1, None, -3], pa.float64(): [1.5, None, float("inf")], pa.bool_(): [True, None, False],
        pa.string(): ["a", None, ""], pa.binary(): [b"a", None, b""], pa.date32(): [1, None, 3],
        pa.timestamp("us", "UTC"): [1, None, 3], pa.decimal128(9, 2): [None, None, None],
        pa.list_(pa.int64()): [[1], None, []], pa.null(): [None, None, None],
    }  # fmt: skip
    columns = [pa.chunked_array([pa.array(values, kind)[1:], pa.array(values, kind)]) for kind, values in kinds.items()]
    table = pa.table(columns, names=[str(kind) for kind in kinds])
    for one in (table, table.slice(1, 3), table.slice(0, 0), table.schema.empty_table()):
        held = asof.Answers(one, np.arange(one.num_rows)).held()
        assert held.table.equals(one)
        rows = np.arange(one.num_rows)[::-1]
        for position in range(one.num_columns):
            assert held.take(rows, position).equals(asof.Answers(one, held.place).take(rows, position))
