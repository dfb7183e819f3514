"""Feast's online store contract on a plain Feast repo with file sources, beside Feast's own SQLite store."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, Field, FileSource
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float64, Int32, Int64, Json, String

from lifecycle.errors import UsageError
from lifecycle.online.redis_store import PASSWORD_VARIABLE
from tests.feast_online_repo import (
    ENGINE,
    KEPT,
    NOW,
    OURS,
    TYPES,
    bare,
    customer,
    driver,
    key,
    make,
    objects,
    place_of_its_own,
    trips,
    vectors,
    write,
)
from tests.online_cases import PASSWORD, redis_server

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning")


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def place(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lmdb":
        yield folder, str(folder / "online")
        return
    with redis_server(folder) as address, pytest.MonkeyPatch.context() as patch:
        if address is None:
            pytest.skip("redis-server is not installed (Debian: redis-server)")
        patch.setenv(PASSWORD_VARIABLE, PASSWORD)
        yield folder, f"{address}/0"


@pytest.fixture(scope="module")
def store(place):
    folder, path = place
    made = make(folder / "repo", {"type": OURS, "path": path}, ENGINE)
    made.materialize(NOW - timedelta(days=1), NOW, feature_views=["stats", "pair", "world", "files"])
    return made


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock") / "repo"
    made = make(folder, {"type": "sqlite", "path": str(folder / "online.db")})
    made.materialize(NOW - timedelta(days=1), NOW, feature_views=["stats", "pair", "world", "files"])
    return made


ROWS = [
    {"driver_id": number, "customer_id": name} for number, name in ((1, "a"), (1, "b"), (9, "a"), (3, "b"), (1, "a"))
]


@pytest.mark.parametrize(
    "asked",
    [
        ["pair:trips", "world:rate"],
        ["pair:trips", "world:trips", "files:i64"],
        [f"files:{name}" for name in TYPES if name not in {"pairs", "json"}],
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_answers_are_those_of_feasts_own_store(store, stock, asked, full):
    if not full and len(asked) == 3:
        asked = asked[:2][:1] + asked[2:]
    ours = store.get_online_features(asked, ROWS, full_feature_names=full)
    feasts = stock.get_online_features(asked, ROWS, full_feature_names=full)
    assert ours.to_dict() == feasts.to_dict()
    assert list(ours.to_dict())[:2] == ["driver_id", "customer_id"]
    assert OnlineResponse(ours.proto).to_dict() == ours.to_dict()
    dated = ours.to_dict(include_event_timestamps=True)
    assert dated == OnlineResponse(ours.proto).to_dict(include_event_timestamps=True)
    assert vectors(ours) == vectors(feasts)


def test_every_type_comes_back_as_feast_gives_it(store, stock):
    frame = pd.DataFrame(
        {
            "driver_id": [1, 2, 3],
            "event_timestamp": [NOW] * 3,
            **{name: pd.Series(values, dtype=object) for name, (_, values) in TYPES.items()},
        }
    )
    asked = [f"every:{name}" for name in TYPES]
    rows = [{"driver_id": one} for one in (1, 2, 3, 4)]
    for one in (store, stock):
        one.write_to_online_store("every", frame)
    ours, feasts = (one.get_online_features(asked, rows) for one in (store, stock))
    assert ours.to_dict() == feasts.to_dict()
    assert OnlineResponse(ours.proto).to_dict() == ours.to_dict()
    for name, rows in vectors(ours).items():
        assert [status for _, status, _ in rows] == [status for _, status, _ in vectors(feasts)[name]]


def test_types_kept_as_protobuf_are_materialized_as_by_feast(stock, tmp_path):
    path = tmp_path / "kept.parquet"
    times = pa.array([NOW - timedelta(minutes=5)] * 3, pa.timestamp("us", "UTC"))
    columns = {name: values for name, (_, values) in KEPT.items()}
    pq.write_table(pa.table({"driver_id": [1, 2, 3], "event_timestamp": times, **columns}), path)
    source = FileSource(name="kept", path=str(path), timestamp_field="event_timestamp")
    schema = [Field(name=name, dtype=dtype) for name, (dtype, _) in KEPT.items()]
    found = []
    for one in (make(tmp_path / "repo", {"type": OURS, "path": str(tmp_path / "online")}, ENGINE), stock):
        one.apply([FeatureView(name="kept", entities=[driver], schema=schema, source=source)])
        one.materialize(NOW - timedelta(days=1), NOW, feature_views=["kept"])
        rows = [{"driver_id": number} for number in (1, 2, 3, 4)]
        found.append(one.get_online_features([f"kept:{name}" for name in KEPT], rows).to_dict())
    assert found[0] == found[1]
    assert {name: [one is None for one in found[0][name]] for name in KEPT} == {
        name: [False, False, True, True] for name in KEPT
    }


def test_a_ttl_holds_when_reading_and_goes_on_holding(store):
    found = store.get_online_features(["stats:trips"], [{"driver_id": one} for one in (1, 2, 3, 9)])
    assert found.to_dict()["trips"] == [10, None, None, None]
    [vector] = found.proto.results[1:]
    expired = FieldStatus.OUTSIDE_MAX_AGE
    assert list(vector.statuses) == [FieldStatus.PRESENT, expired, expired, FieldStatus.NOT_FOUND]
    write(store, "stats", (77, {"trips": Value(int64_val=1)}, datetime.now(UTC) - timedelta(hours=3, seconds=-1), None))
    assert trips(store, 77) == [1]
    time.sleep(1.1)
    assert trips(store, 77) == [None]


def test_the_last_write_of_a_moment_counts_and_older_rows_never_replace_newer(store):
    first = NOW - timedelta(hours=1)
    write(store, "stats", (50, {"trips": Value(int64_val=1)}, first, None))
    write(store, "stats", (50, {"trips": Value(int64_val=2)}, first, None))
    assert trips(store, 50) == [2]
    write(store, "stats", (50, {"trips": Value(int64_val=3)}, first - timedelta(seconds=1), NOW))
    assert trips(store, 50) == [2]
    write(store, "stats", (50, {"trips": Value(int64_val=4)}, first + timedelta(seconds=1), NOW))
    assert trips(store, 50) == [4]
    write(store, "stats", (50, {"trips": Value(int64_val=5)}, first + timedelta(seconds=1), NOW - timedelta(seconds=9)))
    assert trips(store, 50) == [4]
    naive = (first + timedelta(seconds=2)).replace(tzinfo=None)
    write(
        store,
        "stats",
        (50, {"trips": Value(int64_val=6)}, naive, naive),
        (50, {"trips": Value()}, naive, naive - timedelta(1)),
    )
    assert trips(store, 50) == [6]


def test_rows_of_one_call_without_a_created_time_count_in_its_order(store):
    first = NOW - timedelta(hours=1)
    orders = ([1, 2, 3], [3, 2, 1], [2, 3, 1])
    for driver_id, order in enumerate(orders, 150):
        write(store, "stats", *((driver_id, {"trips": Value(int64_val=one)}, first, None) for one in order))
    write(
        store,
        "stats",
        (153, {"trips": Value(int64_val=1)}, first, None),
        (153, {"trips": Value(int64_val=2)}, first - timedelta(seconds=1), None),
        (154, {"trips": Value(int64_val=3)}, first, pd.NaT),
    )
    assert trips(store, 150, 151, 152, 153, 154) == [3, 1, 1, 1, 3]


def test_a_file_without_created_times_that_is_mended_and_materialized_again_counts(place):
    folder, path = place
    file = folder / "mended.parquet"
    source = FileSource(name="mended", path=str(file), timestamp_field="event_timestamp")
    view = FeatureView(name="mended", entities=[driver], schema=[Field(name="trips", dtype=Int64)], source=source)
    made = bare(folder / "mended", place_of_its_own(path, 2), [], ENGINE)
    for number in (5, 9, 3):
        frame = pd.DataFrame({"driver_id": [1], "event_timestamp": [NOW - timedelta(hours=1)], "trips": [number]})
        frame.to_parquet(file)
        made.apply([driver, view])
        made.materialize(NOW - timedelta(days=1), NOW)
        assert made.get_online_features(["mended:trips"], [{"driver_id": 1}]).to_dict()["trips"] == [number]


def test_a_created_time_ahead_of_the_clock_hides_no_row(place):
    folder, path = place
    times = pa.array([NOW - timedelta(hours=1)] * 2, pa.timestamp("us", "UTC"))
    created = pa.array([datetime.now(UTC) + timedelta(hours=5), None], pa.timestamp("us", "UTC"))
    rows = {"driver_id": [1, 2], "event_timestamp": times, "created": created, "trips": [5, 6]}
    pq.write_table(pa.table(rows), folder / "ahead.parquet")
    source = FileSource(
        name="ahead",
        path=str(folder / "ahead.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    view = FeatureView(name="ahead", entities=[driver], schema=[Field(name="trips", dtype=Int64)], source=source)
    made = bare(folder / "ahead", place_of_its_own(path, 3), [driver, view], ENGINE)
    made.materialize(NOW - timedelta(days=1), NOW)
    found = made.get_online_features(["ahead:trips"], [{"driver_id": 1}, {"driver_id": 2}]).to_dict()
    assert found["trips"] == [5, 6]


def test_feasts_own_read_and_write_calls(store):
    view = store.get_feature_view("stats")
    online = store._get_provider().online_store
    keys = [key(driver_id=60), key(driver_id=61)]
    values = {"trips": Value(int64_val=7), "rate": Value()}
    asyncio.run(online.online_write_batch_async(store.config, view, [(keys[0], values, NOW, NOW)], lambda _: None))
    for found in (
        online.online_read(store.config, view, keys),
        asyncio.run(online.online_read_async(store.config, view, keys, ["trips", "rate"])),
    ):
        assert found == [(NOW, values), (None, None)]
    assert online.online_read(store.config, view, keys[:1], ["rate"]) == [(NOW, {"rate": Value()})]
    assert online.online_read(store.config, view, []) == []
    assert online.async_supported.read
    answer = asyncio.run(store.get_online_features_async(["stats:trips"], [{"driver_id": 60}]))
    assert answer.to_dict() == {"driver_id": [60], "trips": [7]}


def test_push_is_read_at_once(store):
    frame = pd.DataFrame({"driver_id": [70], "event_timestamp": [NOW], "created": [NOW], "trips": [5], "rate": [0.5]})
    store.push("pushed", frame)
    assert trips(store, 70) == [5]


def test_on_demand_views_and_services(store):
    found = store.get_online_features(["doubled:twice", "stats:trips"], [{"driver_id": 1}, {"driver_id": 9}])
    assert found.to_dict() == {"driver_id": [1, 9], "twice": [20, None], "trips": [10, None]}
    service = store.get_feature_service("service")
    rows = [{"driver_id": 1, "customer_id": "a"}]
    found = store.get_online_features(service, rows, full_feature_names=True).to_dict()
    assert (found["stats__trips"], found["pair__trips"]) == ([10], [10])


@pytest.mark.parametrize("rows", [{"driver_id": [1, 9]}, {"driver_id": [Value(int64_val=1), Value(int64_val=9)]}])
def test_columns_and_protobuf_keys_are_taken(store, rows):
    assert store.get_online_features(["stats:trips"], rows).to_dict()["trips"] == [10, None]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{}],
        [{"rider": 1}],
        [{"driver_id": 1}, {}],
        {"driver_id": []},
        [{"driver_id": "x"}],
        [{"driver_id": 1}, {"driver_id": 2**63}],
        [{"driver_id": -(10**30)}],
    ],
)
def test_faults_are_feasts_own(store, stock, rows):
    outcomes = []
    for one in (store, stock):
        try:
            outcomes.append(list(one.get_online_features(["stats:trips"], rows).to_dict()["trips"]))
        except Exception as error:  # noqa: BLE001 - whatever Feast raises
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("kind", [UsageError, NotImplementedError])
def test_vectors_are_refused(store, kind):
    online = store._get_provider().online_store
    for call in (online.retrieve_online_documents, online.retrieve_online_documents_v2):
        with pytest.raises(kind, match="does not search vectors"):
            call(store.config, store.get_feature_view("every"), ["f32s"], [0.5], 3)


def changing(*fields, keys=(driver,)):
    source = FileSource(name="changing", path="none.parquet", timestamp_field="event_timestamp")
    schema = [Field(name=name, dtype=dtype) for name, dtype in fields]
    return FeatureView(name="changing", entities=list(keys), schema=schema, source=source)


def test_rows_outlive_a_change_of_their_views_features(place):
    folder, path = place
    view = changing(("trips", Int32), ("word", String), ("words", Array(String)), ("raw", Json))
    made = bare(folder / "evolving", place_of_its_own(path, 4), [driver, view])
    first = NOW - timedelta(hours=1)
    ahead = datetime.now(UTC) + timedelta(seconds=5)
    old = {
        "trips": Value(int32_val=7),
        "word": Value(string_val="é"),
        "words": Value(string_list_val={"val": ["a", ""]}),
        "raw": Value(json_val="[1]"),
    }
    write(made, "changing", *((one, old, first, None) for one in range(3)))
    write(made, "changing", (2, old | {"trips": Value(int32_val=8)}, ahead, None))

    def read(*names):
        rows = [{"driver_id": one} for one in range(4)]
        found = made.get_online_features([f"changing:{name}" for name in names], rows)
        assert OnlineResponse(found.proto).to_dict() == found.to_dict()
        return list(zip(*(found.to_dict()[name] for name in names), strict=True))

    # A feature comes, one goes, one gets wider, one gets another type: read before and after the first write.
    made.apply([changing(("more", Float64), ("trips", Int64), ("words", Array(String)), ("word", Int64))])
    names = ("trips", "words", "word", "more")
    kept = (7, ["a", ""], None, None)
    assert read(*names) == [kept, kept, kept, (None,) * 4]
    write(made, "changing", (1, {"trips": Value(int64_val=2**40), "more": Value(double_val=0.5)}, NOW, None))
    assert read(*names) == [kept, (2**40, None, None, 0.5), kept, (None,) * 4]
    # An older row still changes nothing, and the row whose time lay ahead came over too.
    write(made, "changing", (0, {"trips": Value(int64_val=1)}, first - timedelta(seconds=1), None))
    assert read("trips")[:1] == [(7,)]
    store = made._get_provider().online_store.tables(made.config).store
    spaces = store.catalog()[1].of("changing")
    assert (spaces.loading, spaces.previous, store.catalog()[1].dropped) == (None, None, [])
    assert len(list(store.backend.scan(spaces.serving.prefix))) == 3
    time.sleep(max(0, (ahead - datetime.now(UTC)).total_seconds()) + 0.1)
    assert read("trips")[2] == (8,)


def test_a_writer_that_has_not_heard_of_a_new_feature_takes_none_away(place):
    folder, path = place
    online = place_of_its_own(path, 5)
    wide, narrow = changing(("trips", Int64), ("raw", Json)), changing(("trips", Int64))
    newer = bare(folder / "newer", online, [driver, wide])
    older = bare(folder / "older", online, [driver, narrow])
    write(newer, "changing", (1, {"trips": Value(int64_val=1), "raw": Value(json_val="{}")}, NOW, None))
    write(older, "changing", (2, {"trips": Value(int64_val=2), "raw": Value(json_val="x")}, NOW, None))
    rows = [{"driver_id": 1}, {"driver_id": 2}]
    found = newer.get_online_features(["changing:trips", "changing:raw"], rows).to_dict()
    assert (found["trips"], found["raw"]) == ([1, 2], [{}, None])
    assert older.get_online_features(["changing:trips"], rows).to_dict()["trips"] == [1, 2]


def test_other_keys_begin_anew(place):
    folder, path = place
    made = bare(folder / "rekeyed", place_of_its_own(path, 6), [driver, customer, changing(("trips", Int64))])
    write(made, "changing", (1, {"trips": Value(int64_val=1)}, NOW, None))
    made.apply([changing(("trips", Int64), keys=(driver, customer))])
    view, online = made.get_feature_view("changing"), made._get_provider().online_store
    found = [key(driver_id=1, customer_id="a")]
    online.online_write_batch(made.config, view, [(found[0], {"trips": Value(int64_val=2)}, NOW, None)], None)
    assert online.online_read(made.config, view, found) == [(NOW, {"trips": Value(int64_val=2)})]
    store = online.tables(made.config).store
    space = store.catalog()[1].of("changing").serving
    assert (len(list(store.backend.scan(space.prefix))), store.catalog()[1].dropped) == (1, [])


def test_the_same_row_with_a_new_feature_counts_and_a_deleted_view_is_gone(place):
    folder, path = place
    made = make(folder / "changing", {"type": OURS, "path": path if "//" not in path else path[:-1] + "1"})
    row = (1, {"trips": Value(int64_val=1), "rate": Value(double_val=0.5)}, NOW, NOW)
    write(made, "stats", row)
    view = made.get_feature_view("stats")
    view.features = [*view.features, Field(name="more", dtype=Int64)]
    made.apply([view])
    asked = made.get_online_features(["stats:trips", "stats:more"], [{"driver_id": 1}]).to_dict()
    assert asked == {"driver_id": [1], "trips": [1], "more": [None]}
    write(made, "stats", (1, row[1] | {"more": Value(int64_val=2)}, NOW, NOW))
    asked = made.get_online_features(["stats:trips", "stats:more"], [{"driver_id": 1}]).to_dict()
    assert asked == {"driver_id": [1], "trips": [1], "more": [2]}
    made.apply([], objects_to_delete=[view], partial=False)
    made.apply(objects(folder / "changing"))
    assert trips(made, 1) == [None]
    write(made, "stats", row)
    assert trips(made, 1) == [1]
    made.teardown()
    assert not made._get_provider().online_store.tables(made.config).store.catalog()[1].views
