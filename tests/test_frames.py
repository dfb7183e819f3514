"""Frames keep the spine as it came, whatever holds it, and say clearly what they cannot answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.definitions import Definitions, Field, Label, Projection, Service, View, Window
from lifecycle.engine import every_row, monthly, settle, training_frame
from lifecycle.errors import SpineError, UsageError
from tests.asof_cases import connect

DAY = 86_400_000_000
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

STATES = View(
    name="states",
    relation="features.states",
    join_keys=(("consumer_id", "consumer"),),
    event_timestamp="event_timestamp",
    known_at="known_at",
    features=(Field("limit", "BIGINT"), Field("active", "BOOLEAN"), Field("tags", "VARCHAR[]")),
)
MORE = View(
    name="more",
    relation="features.states",
    join_keys=(("consumer_id", "consumer"),),
    event_timestamp="event_timestamp",
    known_at=None,
    features=(Field("limit", "BIGINT"), Field("score_y", "DOUBLE")),
)
COUNTS = View(
    name="counts",
    relation="features.happened",
    join_keys=(("consumer_id", "consumer"),),
    event_timestamp="event_timestamp",
    known_at=None,
    features=(Field("count_1d", "BIGINT"), Field("count_2d", "BIGINT")),
    windows=(Window("count_1d", "count", window_us=DAY), Window("count_2d", "count", window_us=2 * DAY)),
)
RETURNS = Label("returns", "exists", "features.happened", (("consumer_id", "consumer"),), DAY, 0, ("feed",))
DEFINITIONS = Definitions(
    views=(STATES, MORE, COUNTS),
    services=(
        Service("both", (Projection("states", ("limit",)), Projection("more", ("score_y",)))),
        Service(
            "pair",
            (
                Projection("states", ("limit",), "payer"),
                Projection("states", ("limit",), "payee", (("consumer_id", "to"),)),
            ),
        ),
    ),
    labels=(RETURNS,),
)
WATERMARKS = {"feed": datetime(2024, 5, 4, tzinfo=UTC)}


@pytest.fixture
def connection():
    made = connect()
    made.execute("""
        CREATE TABLE lake.features.states AS
        SELECT * FROM (VALUES
            ('a', TIMESTAMPTZ '2024-05-01', TIMESTAMPTZ '2024-05-01', 9007199254740993, true, ['x'], 0.5::DOUBLE),
            ('a', TIMESTAMPTZ '2024-05-02', TIMESTAMPTZ '2024-05-03', 2, NULL, [], 0.25),
            ('b', TIMESTAMPTZ '2024-05-01', TIMESTAMPTZ '2024-05-01', NULL, false, NULL, 1.5)
        ) AS t (consumer, event_timestamp, known_at, "limit", active, tags, score_y)""")
    made.execute("""
        CREATE TABLE lake.features.happened AS
        SELECT * FROM (VALUES
            ('a', TIMESTAMPTZ '2024-05-01 00:00:00', TIMESTAMPTZ '2024-05-01', NULL::TIMESTAMPTZ),
            ('a', TIMESTAMPTZ '2024-05-02 00:00:00', TIMESTAMPTZ '2024-05-02', NULL),
            ('b', TIMESTAMPTZ '2024-05-03 18:00:00', TIMESTAMPTZ '2024-05-03 18:00:00', NULL)
        ) AS t (consumer, event_timestamp, known_from, known_until)""")
    return made


def pandas_spine():
    times = pd.to_datetime(["2024-05-02 12:00", "2024-05-03 12:00", "2024-05-03 12:00", "2024-05-03"], format="ISO8601")
    return pd.DataFrame(
        {
            "amount": np.array([3, 1, 2, 5], dtype="int16"),
            "consumer_id": ["b", "a", "a", None],
            "event_timestamp": times,
            "kind": pd.Categorical(["x", "y", "x", None]),
        },
        index=[7, 7, 1, 0],
    )


def test_a_pandas_spine_comes_back_as_it_was(connection):
    spine = pandas_spine()
    given = spine.copy()
    frame = training_frame(connection, DEFINITIONS, spine, features=["states", "more:score_y"])
    made = frame.to_pandas()
    pd.testing.assert_frame_equal(made[list(given)], given)
    pd.testing.assert_frame_equal(spine, given)
    assert [None if pd.isna(x) else x for x in made["limit"]] == [None, 2, 2, None]
    assert {name: str(made[name].dtype) for name in ("limit", "active", "score_y")} == {
        "limit": "Int64",
        "active": "boolean",
        "score_y": "float64",
    }
    spine["consumer_id"] = "changed afterwards"
    assert frame.to_pandas()["consumer_id"].tolist() == ["b", "a", "a", None]


def test_whole_numbers_with_misses_stay_whole_everywhere(connection, tmp_path):
    spine = pa.table({"consumer_id": ["a", "b", "z"], "event_timestamp": [NOON] * 3})
    frame = training_frame(connection, DEFINITIONS, spine, features=["states:limit"])
    exact = 2**53 + 1  # no double holds it
    assert frame.table["limit"].to_pylist() == [exact, None, None]
    assert pq.read_table(frame.write_parquet(tmp_path / "frame.parquet")).schema.field("limit").type == pa.int64()
    assert frame.to_polars()["limit"].dtype == pl.Int64
    assert frame.to_pandas()["limit"].tolist() == [exact, pd.NA, pd.NA]


def with_a_dictionary_for_each_batch(table, *columns):
    batches = []
    for batch in table.to_batches(max_chunksize=1):
        encoded = {name: batch.column(name).dictionary_encode() for name in columns}
        batches.append(pa.record_batch({name: encoded.get(name, batch.column(name)) for name in batch.schema.names}))
    return pa.RecordBatchReader.from_batches(batches[0].schema, batches)


def forms(tmp_path, connection):
    spine = pandas_spine().reset_index(drop=True)
    table = pa.Table.from_pandas(spine, preserve_index=False).replace_schema_metadata(None)
    table = table.set_column(3, "kind", table["kind"].cast(pa.string()))
    pq.write_table(table, tmp_path / "spine.parquet")
    connection.register("mine", table)
    yield spine
    yield pl.from_arrow(table)
    yield pl.from_arrow(table).lazy()
    yield table
    yield pa.Table.from_batches(table.to_batches(max_chunksize=1))
    yield table.combine_chunks().to_batches()[0]
    yield pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))
    yield with_a_dictionary_for_each_batch(table, "consumer_id", "kind")
    yield tmp_path / "spine.parquet"
    yield str(tmp_path / "spine.parquet")
    yield "SELECT * FROM mine"


def test_every_form_of_a_spine_gives_the_same_rows_and_hash(connection, tmp_path):
    frames = [
        training_frame(connection, DEFINITIONS, spine, features="both", label="returns", watermarks=WATERMARKS)
        for spine in forms(tmp_path, connection)
    ]
    rows = [
        [
            {**row, "event_timestamp": pd.Timestamp(row["event_timestamp"]).tz_localize(None)}
            for row in frame.table.to_pylist()
        ]
        for frame in frames
    ]
    assert all(one == rows[0] for one in rows)
    assert len({frame.receipt["spine"]["hash"] for frame in frames}) == 1
    for frame in frames:
        # Of four rows two are mature: one has no key, and one's day ends after the watermark's.
        assert frame.table.num_rows == len(frame.to_pandas()) == len(frame.to_polars()) == frame.receipt["rows"]


def test_a_file_may_be_called_as_sql_begins(connection, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("selected.parquet", "from_june.parquet", "values.parquet"):
        pq.write_table(pa.table({"consumer_id": ["a"], "event_timestamp": [NOON]}), name)
        assert training_frame(connection, DEFINITIONS, name, features=["states"]).table.num_rows == 1


def test_a_polars_spine_comes_back_as_it_was(connection):
    spine = pl.DataFrame(
        {
            "consumer_id": ["a", "b", "a"],
            "event_timestamp": [NOON, NOON + timedelta(days=3), NOON],
            "size": pl.Series(["s", "m", "s"], dtype=pl.Enum(["s", "m"])),
        }
    )
    frame = training_frame(connection, DEFINITIONS, spine, features=["states"], label="returns", watermarks=WATERMARKS)
    assert frame.to_polars().select(spine.columns).equals(spine[[0, 2]])
    assert frame.to_polars()["returns"].to_list() == [True, True]


def test_a_sql_spine_sees_the_lake_and_leaves_the_connection_as_it_was(connection):
    sql = "SELECT consumer AS consumer_id, event_timestamp FROM features.states ORDER BY ALL"
    before = connection.execute("SELECT current_database(), current_schema()").fetchone()
    frame = training_frame(connection, DEFINITIONS, sql, features=["states:limit"])
    assert frame.table["limit"].to_pylist() == [2**53 + 1, 2**53 + 1, None]
    assert connection.execute("SELECT current_database(), current_schema()").fetchone() == before


def test_dates_alone_give_every_change_of_state(connection):
    frame = training_frame(
        connection, DEFINITIONS, None, features=["states:limit"], start=NOON, end=NOON + timedelta(days=9)
    )
    # The second row of a is true on the 2nd, but known on the 3rd.
    assert frame.table.to_pylist() == [
        {"event_timestamp": datetime(2024, 5, 3, tzinfo=UTC), "consumer_id": "a", "limit": 2}
    ]
    with pytest.raises(UsageError, match="start and end"):
        training_frame(connection, DEFINITIONS, None, features=["states"])


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(2024, 5, 3)], pa.timestamp("s")),  # noqa: DTZ001
        pa.array([datetime(2024, 5, 3, tzinfo=UTC)], pa.timestamp("ms", "America/New_York")),
        pa.array([1_714_694_400_000_000_999], pa.timestamp("ns")),
        pa.array([date(2024, 5, 3)], pa.date32()),
    ],
)
def test_times_of_every_kind_are_taken_and_given_back(connection, times):
    spine = pa.table({"consumer_id": ["a"], "when": pa.array(["x"]), "event_timestamp": times})
    frame = training_frame(connection, DEFINITIONS, spine, features=["states:limit"])
    assert frame.table["limit"].to_pylist() == [2]
    assert frame.table.select(spine.column_names).equals(spine)


def test_a_category_is_the_values_it_stands_for(connection):
    plain = pa.table({
        "consumer_id": ["a", "a"],
        "event_timestamp": pa.array([datetime(2024, 5, 2, tzinfo=UTC), datetime(2024, 5, 3, tzinfo=UTC)]),
        "day": pa.array([date(2024, 5, 3), None]),
        "amount": [1, 2],
        "word": ["x", None],
    })  # fmt: skip
    coded = pa.table({name: plain[name].dictionary_encode() for name in plain.column_names})
    within = coded.set_column(4, "word", pa.DictionaryArray.from_arrays([1, 0], [None, "x"]))
    frames = [training_frame(connection, DEFINITIONS, one, features=["states:limit"]) for one in (plain, coded, within)]
    assert {frame.receipt["spine"]["hash"] for frame in frames} == {frames[0].receipt["spine"]["hash"]}
    assert [frame.table["limit"].to_pylist() for frame in frames] == [[2**53 + 1, 2]] * 3
    assert frames[1].table.select(plain.column_names).equals(coded)


def test_a_query_that_fails_on_its_way_leaves_no_file_behind(connection, tmp_path):
    connection.execute(f"SET temp_directory = '{tmp_path}'")
    text = """SELECT 'a' AS consumer_id, CAST(IF(i = 300000, 'x', '2024-05-03') AS DATE) AS event_timestamp
        FROM range(400000) AS t (i)"""
    with pytest.raises(SpineError, match="the spine's query fails: Conversion Error"):
        training_frame(connection, DEFINITIONS, text, features=["states:limit"])
    assert list(tmp_path.iterdir()) == []


def test_nanoseconds_of_an_observation_round_down_and_of_a_fact_up(connection):
    connection.execute("""
        CREATE TABLE lake.features.fine AS
        SELECT 'a' AS consumer, x AS event_timestamp, n AS "limit"
        FROM (VALUES
            (TIMESTAMP_NS '2024-05-01 00:00:00.000000001', 1),
            (TIMESTAMP_NS '1960-01-01 00:00:00.000000999', 2)) t (x, n)""")
    view = replace(MORE, name="fine", relation="features.fine", features=(Field("limit", "INTEGER"),))
    base, early = 1_714_521_600_000_000_000, -315_619_200_000_000_000
    times = pa.array([base, base + 999, base + 1000, early + 999, early + 1000], pa.timestamp("ns"))
    spine = pa.table({"consumer_id": ["a"] * 5, "event_timestamp": times})
    for chosen in (view, settle(connection, view)):
        frame = training_frame(connection, Definitions((chosen,)), spine, features=["fine"])
        assert frame.table["limit"].to_pylist() == [2, 2, 1, None, 2]
        assert frame.table["event_timestamp"].equals(spine["event_timestamp"])


def test_the_only_time_column_is_the_observation_time(connection):
    spine = pa.table({"consumer_id": ["a"], "asked_at": [NOON]})
    assert training_frame(connection, DEFINITIONS, spine, features=["states:limit"]).table["limit"].to_pylist() == [
        2**53 + 1
    ]
    with pytest.raises(SpineError, match=r"several time columns \(asked_at, more\)"):
        training_frame(connection, DEFINITIONS, spine.append_column("more", pa.array([NOON])), features=["states"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns="event_timestamp"), "no column 'event_timestamp' and no time column"),
        (lambda s: s.drop(columns="consumer_id"), "no column 'consumer_id'"),
        (
            lambda s: s.assign(event_timestamp=[pd.NaT, s.event_timestamp.iloc[0], pd.NaT, pd.NaT]),
            "NULL in 3 rows.*rows 0, 2, 3",
        ),
        (lambda s: s.assign(limit=1), "already has columns that the frame makes: limit"),
        (lambda s: s.assign(consumer_id=[1, 2, 3, 4]), "'consumer_id' is BIGINT.*'consumer', which is VARCHAR"),
        (lambda s: s.assign(event_timestamp="2024-05-01"), "of type string"),
        (lambda s: pd.concat([s, s[["amount"]]], axis=1), "several columns called amount"),
        (lambda s: s.rename(columns={"amount": 3}), "column 3 is named by no text"),
        (lambda s: s.assign(amount=[1, "x", 2, 3]), "no Arrow type"),
        (lambda _: 3, "cannot be a int"),
        (lambda _: "nowhere.parquet", "neither a Parquet file nor SQL"),
        (lambda _: __file__, "no Parquet file"),
        (lambda _: "SELECT x FROM features.none", "query fails: Catalog Error(.|\n)*Query: SELECT x FROM"),
        (lambda _: "SELECT CAST('x' AS DATE) AS event_timestamp", "the spine's query fails: Conversion Error"),
    ],
)
def test_a_spine_that_cannot_be_answered_says_why(connection, change, message):
    with pytest.raises(SpineError, match=message):
        training_frame(connection, DEFINITIONS, change(pandas_spine()), features=["states:limit"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "bth"}, "unknown service 'bth'. Did you mean 'both'"),
        ({"features": ["state:limit"]}, "unknown view 'state'. Did you mean 'states'"),
        ({"features": ["states:limits"]}, "unknown feature of view 'states' 'limits'. Did you mean 'limit'"),
        ({"features": ["states", "more"]}, r"several features would be called 'limit' \(views states, more\)"),
        ({"features": ["states"], "label": "return"}, "unknown label 'return'"),
        ({"features": ["states"], "known_time": "known"}, "it can be as_known or feast"),
        ({"features": ["states"], "label": "returns"}, "none of which this release has taken in"),
    ],
)
def test_wrong_names_are_refused_with_what_was_possible(connection, options, message):
    with pytest.raises(UsageError, match=message):
        training_frame(connection, DEFINITIONS, pandas_spine(), **options)


def test_a_missing_relation_or_column_is_named(connection):
    spine = pandas_spine()
    for view, message in (
        (replace(STATES, relation="features.gone"), "no relation 'features.gone'"),
        (replace(STATES, known_at="received"), "needs columns of features.states that are not there: received"),
    ):
        with pytest.raises(UsageError, match=message):
            training_frame(connection, Definitions((view,)), spine, features=["states"])


def test_full_names_aliases_and_mapped_keys(connection):
    spine = pa.table({"consumer_id": ["a"], "to": ["b"], "event_timestamp": [NOON]})
    table = training_frame(connection, DEFINITIONS, spine, features="pair", full_feature_names=True).table
    assert table.to_pylist()[0] | {"event_timestamp": None} == {
        "consumer_id": "a",
        "to": "b",
        "event_timestamp": None,
        "payer__limit": 2**53 + 1,
        "payee__limit": None,
    }
    order = ["more:score_y", "states:active", "more:limit"]
    table = training_frame(connection, DEFINITIONS, spine, features=order, full_feature_names=True).table
    assert table.column_names[3:] == ["more__score_y", "states__active", "more__limit"]


def test_window_features_stand_beside_states(connection):
    spine = pa.table({"consumer_id": ["a", None, "a"], "event_timestamp": [NOON + timedelta(days=1), NOON, NOON]})
    frame = training_frame(
        connection, DEFINITIONS, spine, features=["counts:count_2d", "states:limit", "counts:count_1d"]
    )
    assert frame.table.select(["count_2d", "limit", "count_1d"]).to_pylist() == [
        {"count_2d": 2, "limit": 2**53 + 1, "count_1d": 1},
        {"count_2d": 0, "limit": None, "count_1d": 0},
        {"count_2d": 1, "limit": 2**53 + 1, "count_1d": 1},
    ]


def test_a_view_without_keys_answers_every_row(connection):
    view = replace(MORE, name="all", join_keys=(), features=(Field("score_y", "DOUBLE"),))
    connection.execute("CREATE TABLE lake.features.rates AS FROM lake.features.states WHERE consumer = 'a'")
    view = replace(view, relation="features.rates")
    spine = pa.table({"event_timestamp": [NOON, NOON + timedelta(days=2), NOON - timedelta(days=2)]})
    for chosen in (view, settle(connection, view)):
        frame = training_frame(connection, Definitions((chosen,)), spine, features=["all"])
        assert frame.table["score_y"].to_pylist() == [0.5, 0.25, None]


def test_frames_of_one_connection_stream_side_by_side(connection):
    spine = pa.table({"consumer_id": ["a", "b"] * 200_000, "event_timestamp": [NOON] * 400_000})
    streams = [
        training_frame(connection, DEFINITIONS, spine, features=["states:limit"]).batches(),
        training_frame(connection, DEFINITIONS, spine, features=["states:active"]).batches(),
    ]
    pairs = list(zip(*streams, strict=True))
    assert len(pairs) > 1
    assert sum(first.num_rows for first, _ in pairs) == 400_000
    assert all(set(second["active"].to_pylist()) == {True, False} for _, second in pairs)


def test_parquet_is_the_same_bytes_and_appears_whole(connection, tmp_path):
    spine = pa.table({"consumer_id": ["a", "b", "z"] * 100_000, "event_timestamp": [NOON] * 300_000})
    written = []
    for name, batch in (("one", 300_000), ("two", 7_001)):
        cut = pa.Table.from_batches(spine.to_batches(max_chunksize=batch))
        frame = training_frame(connection, DEFINITIONS, cut, features="both")
        if name == "two":
            assert frame.table.num_rows == 300_000  # written from the table this time, not from the stream
        written.append(frame.write_parquet(tmp_path / "new" / name).read_bytes())
    assert written[0] == written[1]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["one", "two"]


def test_rows_of_a_mart_and_months_make_spines(connection):
    sql = every_row("features.states", ["consumer"], where="consumer = 'a'", start=NOON)
    assert connection.execute(sql).fetchall() == [("a", datetime(2024, 5, 2, tzinfo=UTC))]
    months = monthly("features.states", "consumer", start=NOON, end=datetime(2024, 8, 1, tzinfo=UTC))
    expected = [(key, datetime(2024, month, 1, tzinfo=UTC)) for month in (6, 7) for key in "ab"]
    assert connection.execute(months).fetchall() == expected
