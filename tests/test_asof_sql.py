"""As-of SQL: the lake's table macros and dbt's macros of the same names equal the engine and the oracle."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lifecycle.definitions import TIE_BREAK, Definitions, Field, View, Window
from lifecycle.engine import training_frame
from lifecycle.lake.export import export
from tests import oracle
from tests.asof_cases import MIDNIGHT, at
from tests.dbt_sql import render
from tests.lake_content import release, write

MINUTE = 60_000_000
KEY = (("consumer_id", "consumer"),)
# Every example is a commit to a lake, so a failing one is shown as it was drawn.
few = settings(
    max_examples=8, phases=[Phase.generate], deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
moments = st.integers(0, 9)
keys = st.sampled_from(["a", "b", None])
sequences = st.sampled_from([None, 0, 1])
amounts = st.sampled_from([None, 0, 7, -(2**40)])
states = st.lists(
    st.fixed_dictionaries({"key": keys, "event": moments, "known": st.none() | moments, "sequence": sequences,
                           "deleted": st.booleans(), "amount": amounts}), max_size=25)  # fmt: skip
events = st.lists(
    st.fixed_dictionaries({"key": keys, "event": moments, "known_from": moments, "known_until": st.none() | moments,
                           "sequence": sequences, "amount": amounts}), max_size=25)  # fmt: skip
spines = st.lists(st.tuples(keys, st.integers(-1, 11)), min_size=1, max_size=12)
WINDOWS = (
    Window("n", "count", None, 3 * MINUTE),
    Window("total", "sum", "amount", 3 * MINUTE),
    Window("ever", "max", "amount"),
)
STATE = View("state", "features.states", KEY, "event_timestamp", "known_at", (Field("amount", "BIGINT"),),
             tie_break=TIE_BREAK, deleted="deleted")  # fmt: skip
BEFORE = View("before", "features.states", KEY, "event_timestamp", "known_at", (Field("amount", "BIGINT"),),
              tie_break=TIE_BREAK, deleted="deleted", at_t="exclude")  # fmt: skip
HELD = View("held", "features.events", KEY, "event_timestamp", None, tuple(Field(w.name, "BIGINT") for w in WINDOWS),
            windows=WINDOWS)  # fmt: skip
DEFINITIONS = Definitions(views=(STATE, BEFORE, HELD))
WIDTH = "INTERVAL 3 MINUTE"
# One query for each way to say it; {state} and so on are the two kinds of macros.
QUERY = """
    SELECT s.place, state.amount, earlier.amount, held.n, held.total, ever.value
    FROM features.spine AS s
    LEFT JOIN LATERAL (SELECT * FROM {state}) AS state ON state.consumer = s.consumer_id
    LEFT JOIN LATERAL (SELECT * FROM {before}) AS earlier ON earlier.consumer = s.consumer_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, sum(amount)::BIGINT AS total FROM {events} AS e WHERE e.consumer = s.consumer_id
    ) AS held
    LEFT JOIN LATERAL (SELECT * FROM {window}) AS ever ON ever.key = s.consumer_id
    ORDER BY s.place"""


def in_duckdb(known_by):
    known = f", known_by := {known_by}" if known_by else ""
    return {
        "state": f"state_as_of('features.states', consumer, s.event_timestamp{known})",
        "before": f"state_as_of('features.states', consumer, s.event_timestamp, at_t := 'exclude'{known})",
        "events": f"events_as_of('features.events', s.event_timestamp, {WIDTH}{known})",
        "window": f"window_as_of('features.events', consumer, max(amount), s.event_timestamp{known})",
    }


def in_dbt(known_by):
    known = f', known_by="{known_by}"' if known_by else ""
    calls = {
        "state": f'state_as_of("features.states", "consumer", "s.event_timestamp"{known})',
        "before": f'state_as_of("features.states", ["consumer"], "s.event_timestamp", at_t="exclude"{known})',
        "events": f'events_as_of("features.events", "s.event_timestamp", "{WIDTH}"{known})',
        "window": f'window_as_of("features.events", "consumer", "max(amount)", "s.event_timestamp"{known})',
    }
    made = {name: f"({render(call)})" for name, call in calls.items()}
    return made | {"window": f"(SELECT consumer AS key, value FROM {made['window']})"}


def minute(value):
    return None if value is None else at(MIDNIGHT + value * MINUTE)


def fill(lake, state_rows, event_rows, spine):
    """Write the case into the lake and return the snapshot."""
    when = pa.timestamp("us", "UTC")
    both = [
        {"consumer": one["key"], "sequence": one["sequence"], "event_id": f"e{number:02}", "content_hash": "h",
         "amount": one["amount"], "event_timestamp": minute(one["event"])}
        for number, one in enumerate([*state_rows, *event_rows])
    ]  # fmt: skip
    first, second = both[: len(state_rows)], both[len(state_rows) :]
    shared = [("consumer", pa.string()), ("sequence", pa.int64()), ("event_id", pa.string()),
              ("content_hash", pa.string()), ("amount", pa.int64()), ("event_timestamp", when)]  # fmt: skip
    tables = {
        "states": pa.Table.from_pylist(
            [row | {"known_at": minute(one["known"]), "deleted": one["deleted"]}
             for row, one in zip(first, state_rows, strict=True)],
            pa.schema([*shared, ("known_at", when), ("deleted", pa.bool_())])),
        "events": pa.Table.from_pylist(
            [row | {name: minute(one[name]) for name in ("known_from", "known_until")}
             for row, one in zip(second, event_rows, strict=True)],
            pa.schema([*shared, ("known_from", when), ("known_until", when)])),
        "spine": pa.Table.from_pylist(
            [{"place": row, "consumer_id": key, "event_timestamp": minute(t)} for row, (key, t) in enumerate(spine)],
            pa.schema([("place", pa.int64()), ("consumer_id", pa.string()), ("event_timestamp", when)])),
    }  # fmt: skip
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.features; BEGIN")
        for name, table in tables.items():
            connection.register("given", table)
            connection.execute(f"CREATE OR REPLACE TABLE lake.features.{name} AS SELECT * FROM given")
            connection.unregister("given")
        connection.execute("COMMIT")
        snapshot = lake.snapshot(connection)
        connection.close()
    return snapshot


def by_oracle(state_rows, event_rows, spine, known_by):
    """Answer the spine by nested loops; known_by None is t itself, else a minute."""
    rows = [
        {"key": (one["key"],), "event": one["event"], "known": one["known"], "deleted": one["deleted"],
         "tie": (one["sequence"], f"e{number:02}"), "values": (one["amount"],)}
        for number, one in enumerate(state_rows)
    ]  # fmt: skip
    held = [one | {"key": (one["key"],), "tie": (number,)} for number, one in enumerate(event_rows)]
    if known_by is not None:
        rows = [one for one in rows if (one["event"] if one["known"] is None else one["known"]) <= known_by]
        held = [
            one | {"known_until": None}
            for one in held
            if one["known_from"] <= known_by and (one["known_until"] is None or known_by < one["known_until"])
        ]
    known = known_by is None
    answers = []
    for number, (key, t) in enumerate(spine):
        said = [oracle.as_of(rows, (key,), t, exclude=exclude, as_known=known) for exclude in (False, True)]
        values = [
            oracle.window(held, (key,), t, w.function, w.column, w.window_us and w.window_us // MINUTE, as_known=known)
            for w in WINDOWS
        ]
        answers.append((number, *(one and one[0] for one in said), *values))
    return answers


@few
@given(states, events, spines, st.none() | st.integers(0, 9))
def test_macros_equal_the_oracle_and_the_engine(tmp_path_factory, state_rows, event_rows, spine, known_by):
    lake = made_lake(tmp_path_factory)
    snapshot = fill(lake, state_rows, event_rows, spine)
    connection = lake.connect(snapshot)
    try:
        connection.execute("USE lake")
        want = by_oracle(state_rows, event_rows, spine, known_by)
        said = None if known_by is None else f"TIMESTAMPTZ '{minute(known_by):%Y-%m-%d %H:%M:%S}+00'"
        for macros in (in_duckdb(said), in_dbt(said)):
            assert connection.execute(QUERY.format(**macros)).fetchall() == want
        now = by_oracle(state_rows, event_rows, spine, known_by=99)
        for macros in (in_duckdb("'infinity'::timestamptz"), in_dbt("'infinity'::timestamptz")):
            assert connection.execute(QUERY.format(**macros)).fetchall() == now
        for mode, expected in (("as_known", by_oracle(state_rows, event_rows, spine, None)), ("feast", now)):
            frame = training_frame(
                connection, DEFINITIONS, "SELECT * FROM features.spine ORDER BY place",
                features=["state", "before", "held"], known_time=mode, full_feature_names=True,
            ).table  # fmt: skip
            columns = ["place", "state__amount", "before__amount", "held__n", "held__total", "held__ever"]
            assert [tuple(row.values()) for row in frame.select(columns).to_pylist()] == expected
    finally:
        connection.close()


LAKES = {}


def made_lake(factory):
    """Return one lake for all examples; every example writes its own snapshot."""
    from lifecycle import config
    from lifecycle.lake import Lake
    from tests.conftest import ROOT

    if "one" not in LAKES:
        LAKES["one"] = Lake(config.load(ROOT, home=factory.mktemp("asof_sql")).lake)
    return LAKES["one"]


def test_an_exported_file_has_the_macros(lake, tmp_path):
    statements = (
        "CREATE SCHEMA lake.features",
        """CREATE TABLE lake.features.paid AS SELECT 'a' AS consumer, 5 AS amount,
            TIMESTAMPTZ '2025-01-02' AS event_timestamp, TIMESTAMPTZ '2025-01-03' AS known_from,
            NULL::TIMESTAMPTZ AS known_until""",
    )
    made = release(lake, 1, write(lake, *statements))
    export(lake, made, tmp_path / "release.duckdb")
    connection = duckdb.connect(tmp_path / "release.duckdb", read_only=True)
    ask = "SELECT * FROM window_as_of('features.paid', consumer, sum(amount), TIMESTAMPTZ '{}', INTERVAL 7 DAY)"
    assert connection.execute(ask.format("2025-01-03")).fetchall() == [("a", 5)]
    assert connection.execute(ask.format("2025-01-02 12:00")).fetchall() == []
    connection.close()


def test_the_key_may_be_several_columns(lake):
    statements = (
        "CREATE SCHEMA lake.features",
        """CREATE TABLE lake.features.s AS
            SELECT 'a' AS one, two, two AS amount, TIMESTAMPTZ '2025-01-02' AS event_timestamp,
            TIMESTAMPTZ '2025-01-02' AS known_at, NULL::BIGINT AS sequence, 'e' AS event_id, 'h' AS content_hash,
            false AS deleted FROM range(3) AS numbers(two)""",
    )
    connection = lake.connect(write(lake, *statements))
    connection.execute("USE lake")
    ask = "SELECT amount FROM {} ORDER BY 1"
    for said in (
        "state_as_of('features.s', (one, two), TIMESTAMPTZ '2025-01-02')",
        "(" + render("state_as_of('features.s', ['one', 'two'], \"TIMESTAMPTZ '2025-01-02'\")") + ")",
    ):
        assert connection.execute(ask.format(said)).fetchall() == [(0,), (1,), (2,)]
    connection.close()


def test_a_key_of_null_has_no_state_and_at_t_is_one_of_two_words(lake):
    statements = (
        "CREATE SCHEMA lake.features",
        """CREATE TABLE lake.features.s AS SELECT * FROM (VALUES ('a', 1), (NULL, 2)) AS t (consumer, amount),
            (SELECT TIMESTAMPTZ '2025-01-02' AS event_timestamp, TIMESTAMPTZ '2025-01-02' AS known_at,
            NULL::BIGINT AS sequence, 'e' AS event_id, 'h' AS content_hash, false AS deleted)""",
    )
    connection = lake.connect(write(lake, *statements))
    connection.execute("USE lake")
    ask = "SELECT amount FROM state_as_of('features.s', consumer, TIMESTAMPTZ '2025-01-02', at_t := '{}')"
    assert connection.execute(ask.format("include")).fetchall() == [(1,)]
    assert connection.execute(ask.format("exclude")).fetchall() == []
    with pytest.raises(duckdb.Error, match="at_t can be include or exclude, not exlude"):
        connection.execute(ask.format("exlude")).fetchall()
    connection.close()
