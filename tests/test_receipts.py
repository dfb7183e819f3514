"""A receipt names all that decided a frame's bytes, and a frame made from it again is the same, or says why not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.definitions import Definitions, Field, Label, OnDemand, Projection, Service, View
from lifecycle.engine import Receipt, diff, halfway, read_receipt, rebuild, settle, training_frame
from lifecycle.engine.content import ContentHash
from lifecycle.errors import DataError, UsageError
from tests.asof_cases import connect

DAY = 86_400_000_000
START = datetime(2024, 5, 1, tzinfo=UTC)
SPINE = """
    SELECT DISTINCT consumer AS consumer_id, TIMESTAMPTZ '2024-05-03' AS event_timestamp
    FROM features.states ORDER BY ALL""".strip()
STATES = View(
    name="states",
    relation="features.states",
    join_keys=(("consumer_id", "consumer"),),
    event_timestamp="event_timestamp",
    known_at="known_at",
    features=(Field("limit", "BIGINT"),),
)
LABEL = Label("moves", "exists", "features.moves", (("consumer_id", "consumer"),), DAY, 0, ("feed",))
WATERMARKS = {"feed": START + timedelta(days=10)}


@pytest.fixture
def connection():
    made = connect()
    made.execute("""
        CREATE TABLE lake.features.states AS
        SELECT 'c' || i AS consumer, TIMESTAMPTZ '2024-05-01' AS event_timestamp, NULL::TIMESTAMPTZ AS known_at,
            i::BIGINT AS "limit"
        FROM range(50) AS t (i)""")
    made.execute("""
        CREATE TABLE lake.features.moves AS
        SELECT 'c' || i AS consumer, TIMESTAMPTZ '2024-05-03 12:00' AS event_timestamp,
            TIMESTAMPTZ '2024-05-03 12:00' AS known_from, NULL::TIMESTAMPTZ AS known_until
        FROM range(0, 50, 2) AS t (i)""")
    return made


def ask(connection, views=(STATES,), spine=SPINE, **options):
    given = {"features": ["states"], "label": "moves", "watermarks": WATERMARKS, "release": 1} | options
    return training_frame(connection, Definitions(views=views, labels=(LABEL,)), spine, **given)


def late(connection):
    connection.execute("INSERT INTO lake.features.states VALUES ('c7', '2024-05-02', '2024-05-02', 700)")


def test_the_receipt_is_in_the_file_and_says_what_decided_it(connection, tmp_path):
    frame = ask(connection)
    receipt = read_receipt(frame.write_parquet(tmp_path / "frame.parquet"))
    assert receipt == frame.receipt
    assert receipt.to_json() == Receipt.from_json(receipt.to_json()).to_json()
    day = "2024-05-03T00:00:00.000000Z"
    times = {"earliest": day, "latest": day, "trainable_until": "2024-05-10T00:00:00.000000Z"}
    assert receipt["label"] == {"name": "moves", "mature": 50, "immature": 0, "no_key": 0, "positive": 25} | times
    assert receipt["spine"]["reference"] == SPINE
    assert receipt["schema"][-2:] == [["limit", "int64"], ["moves", "bool"]]
    assert receipt["not_final"] == 0
    assert set(receipt["packages"]) == {"duckdb", "pyarrow"}
    assert receipt.summary()["rows"] == 50


def test_rows_later_than_the_watermark_are_counted_as_not_final(connection):
    spine = (
        "SELECT 'c1' AS consumer_id, TIMESTAMPTZ '2024-05-01' + to_days(d::INT) AS event_timestamp FROM range(20) t (d)"
    )
    watermarks = WATERMARKS | {"slow": START + timedelta(days=3)}
    assert ask(connection, spine=spine, label=None, watermarks=watermarks).receipt["not_final"] == 16
    tagged = replace(STATES, tags=(("sources", "feed"),))
    assert ask(connection, (tagged,), spine, label=None, watermarks=watermarks).receipt["not_final"] == 9


def test_a_frame_is_made_again_byte_for_byte(connection, tmp_path):
    first = ask(connection, (settle(connection, STATES),)).write_parquet(tmp_path / "first.parquet")
    again = rebuild(connection, read_receipt(first)).write_parquet(tmp_path / "again.parquet")
    assert first.read_bytes() == again.read_bytes()


def test_a_spine_from_memory_is_given_again(connection, tmp_path):
    spine = connection.execute(SPINE.replace("features.", "lake.features.")).to_arrow_table()
    first = ask(connection, spine=spine)
    path = first.write_parquet(tmp_path / "first.parquet")
    with pytest.raises(DataError, match=f"arrow table of 50 rows.*{first.receipt['spine']['hash']}"):
        rebuild(connection, first.receipt)
    with pytest.raises(DataError, match="the spine differs in consumer_id"):
        rebuild(
            connection,
            first.receipt,
            spine=spine.slice(1).append_column("x", spine["consumer_id"][1:]).drop("x").take([*range(49), 0]),
        )
    with pytest.raises(DataError, match="had 50 rows, the one given has 49"):
        rebuild(connection, first.receipt, spine=spine.slice(1))
    again = rebuild(connection, first.receipt, spine=SPINE).write_parquet(tmp_path / "again.parquet")
    assert path.read_bytes() == again.read_bytes()


def test_what_is_gone_is_named(connection):
    receipt = ask(connection).receipt
    old = Receipt(json.loads(receipt.to_json()) | {"engine": "0.0.1", "packages": {"duckdb": "v0", "pyarrow": "1"}})
    with pytest.raises(DataError, match=r"made by engine 0\.0\.1.*made with duckdb v0.*made with pyarrow 1"):
        rebuild(connection, old)
    connection.execute("DROP TABLE lake.features.moves")
    with pytest.raises(UsageError, match=r"no relation 'features\.moves'"):
        rebuild(connection, receipt)


def test_a_release_of_the_same_number_in_another_lake_is_another_one(connection):
    frame = ask(connection)
    assert rebuild(connection, frame.receipt, watermarks=WATERMARKS).table.equals(frame.table)
    with pytest.raises(
        DataError, match=r"release 1 is another one now.*'2024-05-11T00.*now does up to.*'2024-05-12T00"
    ):
        rebuild(connection, frame.receipt, watermarks={"feed": START + timedelta(days=11)})


def test_a_file_without_a_receipt_is_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(UsageError, match="carries no receipt"):
        read_receipt(tmp_path / "bare.parquet")
    with pytest.raises(UsageError, match="there is no file"):
        read_receipt(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.json", b'{"form": 1, "spi', r"cut\.json holds no receipt, which is JSON: Unterminated string"),
        ("list.json", b"[]", "holds no receipt of form 1.*its form is None"),
        ("later.json", b'{"form": 2}', "holds no receipt of form 1.*its form is 2"),
        ("cut.parquet", b"PAR1", "neither a Parquet file nor a receipt"),
    ],
)
def test_a_file_that_is_no_receipt_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    for use in (read_receipt, lambda one: diff(one, one)):
        with pytest.raises(UsageError, match=message):
            use(path)


def test_a_receipt_alone_has_no_cells(connection, tmp_path):
    path = tmp_path / "receipt.json"
    path.write_text(ask(connection).receipt.to_json())
    assert read_receipt(path) == ask(connection).receipt
    with pytest.raises(UsageError, match=r"holds no cells to compare\. Name the frame's Parquet file"):
        diff(path, path)


def test_a_spine_whose_file_is_gone_is_given_again(connection, tmp_path):
    spine = connection.execute(SPINE.replace("features.", "lake.features.")).to_arrow_table()
    path = tmp_path / "spine.parquet"
    pq.write_table(spine, path)
    frame = ask(connection, spine=path)
    table = frame.table
    path.unlink()
    with pytest.raises(
        DataError, match=f"{path} of 50 rows, which is not there any more.*{frame.receipt['spine']['hash']}"
    ):
        rebuild(connection, frame.receipt)
    assert rebuild(connection, frame.receipt, spine=spine).table.equals(table)


def test_equal_frames_differ_in_nothing(connection, tmp_path):
    frame = ask(connection)
    assert diff(frame, frame.write_parquet(tmp_path / "frame.parquet")).summary() == {}


def test_a_cell_changed_by_late_data(connection):
    before = ask(connection)
    late(connection)
    changed = diff(before, ask(connection, release=2))
    assert changed.summary() == {"limit: late data": 1}
    assert changed.cells.to_pylist()[0] | {"row_a": None, "row_b": None} == {
        "row_a": None,
        "row_b": None,
        "column": "limit",
        "before": "7",
        "after": "700",
        "cause": "late data",
    }


def test_a_cell_changed_by_definitions(connection):
    expiring = replace(STATES, ttl_us=DAY)
    assert diff(ask(connection), ask(connection, (expiring,))).summary() == {"limit: definitions": 50}


LIMITS = Projection("states", ("limit",), alias="payer")


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        # The view itself, whose column bears an alias.
        ({"view": replace(STATES, ttl_us=DAY)}, "definitions"),
        # Another view, with a feature of the same name.
        ({"other": replace(STATES, ttl_us=DAY)}, "late data"),
        # The same view, read by another column of the spine.
        ({"projection": replace(LIMITS, join_keys=(("consumer_id", "payee"),))}, "definitions"),
        # Another feature of the view, which comes from another column now.
        ({"view": replace(STATES, columns=(("more", "limit"),))}, "late data"),
    ],
    ids=["view", "other view", "join keys", "other column"],
)
def test_a_column_is_made_by_its_own_view_and_keys(connection, after, cause):
    def frame(view=STATES, projection=LIMITS, other=STATES):
        service = Service("limits", (projection, Projection("other", ("limit",))))
        given = Definitions((view, replace(other, name="other")), (service,))
        spine = SPINE.replace("AS consumer_id", "AS consumer_id, 'c1' AS payee")
        return training_frame(connection, given, spine, features="limits", full_feature_names=True)

    before = frame()
    late(connection)
    changed = diff(before, frame(**after)).summary()
    assert {one for one in changed if one.startswith("payer")} == {f"payer__limit: {cause}"}


def test_an_on_demand_column_is_made_by_its_code_and_what_it_reads(connection):
    code = "import pyarrow.compute as pc\ndef double(rows): return {'twice': pc.multiply(rows['limit'], 2)}"
    twice = OnDemand("twice", "double", code, (LIMITS,), (), (Field("twice", "BIGINT"),))

    def frame(view=STATES, made=twice, release=1):
        given = Definitions((view,), on_demand=(made,))
        return training_frame(connection, given, SPINE, features=["twice"], release=release)

    assert diff(frame(), frame(made=replace(twice, source=code.replace("2)", "3)")))).summary() == {
        "twice: definitions": 49
    }
    assert diff(frame(), frame(replace(STATES, ttl_us=DAY))).summary() == {"twice: definitions": 50}
    before = frame()
    late(connection)
    assert diff(before, frame(release=2)).summary() == {"twice: late data": 1}


def test_a_cell_changed_by_the_known_time_mode(connection):
    connection.execute("INSERT INTO lake.features.states VALUES ('c7', '2024-05-02', '2024-05-09', 700)")
    assert diff(ask(connection), ask(connection, known_time="feast")).summary() == {"limit: known-time mode": 1}


def test_definitions_and_late_data_are_told_apart_by_a_frame_between(connection):
    expiring = replace(STATES, ttl_us=DAY)
    before = ask(connection)
    late(connection)
    after = ask(connection, (expiring,), release=2)
    # c7's late row is a day old at the observation, so it still counts: its cell changed by the data alone.
    assert diff(before, after).summary() == {"limit: definitions or late data": 50}
    told_apart = diff(before, after, middle=ask(connection, release=2)).summary()
    assert told_apart == {"limit: definitions": 49, "limit: late data": 1}


def test_the_frame_between_is_made_of_the_first_ones_receipt(connection):
    expiring = replace(STATES, ttl_us=DAY)
    before = ask(connection)
    late(connection)
    after = ask(connection, (expiring,), release=2)
    middle = halfway(connection, before.receipt, after.receipt)
    assert diff(before, after, middle=middle).summary() == {"limit: definitions": 49, "limit: late data": 1}
    held = connection.execute(SPINE.replace("features.", "lake.features.")).to_arrow_table()
    in_memory = ask(connection, spine=held)
    assert halfway(connection, in_memory.receipt, after.receipt) is None
    connection.execute('ALTER TABLE lake.features.states RENAME "limit" TO most')
    assert halfway(connection, before.receipt, after.receipt) is None


def test_a_changed_model_is_no_late_data(connection):
    before = ask(connection)
    late(connection)
    assert diff(before, ask(connection, release=2), same_facts=True).summary() == {"limit: definitions": 1}


@pytest.mark.parametrize("held", [pa.timestamp("ns", "UTC"), pa.timestamp("us"), pa.timestamp("s", "Europe/Berlin")])
def test_rows_are_the_same_whatever_holds_their_times(connection, held):
    spine = connection.execute(SPINE.replace("features.", "lake.features.")).to_arrow_table()
    other = spine.set_column(1, "event_timestamp", spine["event_timestamp"].cast(held))
    before, after = ask(connection, spine=spine), ask(connection, spine=other)
    assert before.receipt["spine"]["hash"] == after.receipt["spine"]["hash"]
    assert diff(before, after).summary() == {}


def test_rows_and_labels_that_changed(connection):
    fewer = SPINE.replace("ORDER", "WHERE consumer <> 'c9' ORDER")
    assert diff(ask(connection), ask(connection, spine=fewer)).summary() == {"rows of a only: spine": 1}
    earlier = {"feed": START + timedelta(days=2)}
    assert diff(ask(connection, watermarks=earlier), ask(connection)).summary() == {"rows of b only: label": 50}
    shorter = replace(LABEL, horizon_us=1)
    other = training_frame(
        connection,
        Definitions((STATES,), labels=(shorter,)),
        SPINE,
        features=["states"],
        label="moves",
        watermarks=WATERMARKS,
    )
    assert diff(ask(connection), other).summary() == {"moves: label": 25}


def content(table, size=10_000):
    digest = ContentHash(table.schema)
    for batch in table.to_batches(max_chunksize=size):
        digest.update(batch)
    return digest.hexdigest()


def test_the_content_hash_sees_values_and_nothing_else():
    table = pa.table(
        {
            "text": pa.array(["a", None, "", "bc"]),
            "number": pa.array([1, None, 3, -4], pa.int64()),
            "time": pa.array([1, 2, None, 4], pa.timestamp("us", "UTC")),
            "list": pa.array([[1], [], None, [None]]),
            "flag": pa.array([True, None, False, True]),
        }
    )
    other = table.set_column(0, "text", table["text"].dictionary_encode())
    other = other.set_column(1, "number", table["number"].cast(pa.int16()))
    other = other.set_column(2, "time", table["time"].cast(pa.timestamp("ns")))
    assert content(table) == content(other) == content(table, 1) == content(pa.concat_tables([table[:2], table[2:]]))
    different = {content(table)}
    for name, array in (
        ("text", pa.array(["a", "", None, "bc"])),
        ("text", pa.array(["ab", None, "", "c"])),
        ("number", pa.array([1, 0, 3, -4], pa.int64())),
        ("time", pa.array([1001, 2000, None, 4000], pa.timestamp("ns"))),
        ("list", pa.array([[1], None, [], [None]])),
        ("flag", pa.array([True, False, None, True])),
    ):
        different.add(content(table.set_column(table.column_names.index(name), name, array)))
    different |= {content(table[::1].take([1, 0, 2, 3])), content(table.rename_columns([*"abcde"])), content(table[:3])}
    assert len(different) == 10
