"""The offline store on Parquet files, as third-party suites for Feast offline stores set it up: no lake at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp
from feast.value_type import ValueType

from lifecycle.errors import DataError, UsageError
from lifecycle.feast_plugin.offline_store import LifecycleOfflineStoreConfig
from lifecycle.feast_plugin.scope import lake_settings
from lifecycle.feast_plugin.source import LifecycleSource
from lifecycle.feast_plugin.write import write_relation

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)

VALUES = {
    "whole": (Int64, [1, 2**60]),
    "small": (Int32, [1, 2]),
    "fraction": (Float64, [0.1, -1.5]),
    "single": (Float32, [0.5, 1.5]),
    "text": (String, ["ä", "b"]),
    "flag": (Bool, [True, False]),
    "moment": (UnixTimestamp, [NOON, NOON + HOUR]),
    "wholes": (Array(Int64), [[1, 2], []]),
    "fractions": (Array(Float64), [[0.5], [1.0, 2.0]]),
    "texts": (Array(String), [["a"], ["b", "c"]]),
    "flags": (Array(Bool), [[True], [False, True]]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def store(folder: Path) -> FeatureStore:
    config = RepoConfig(
        project="files",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store=LifecycleOfflineStoreConfig(),
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    made = FeatureStore(config=config)
    made.apply([DRIVER])
    return made


def view(folder: Path, name: str, frame: pd.DataFrame, schema: list[Field] | None = None, **source) -> FeatureView:
    path = folder / f"{name}.parquet"
    frame.to_parquet(path)
    return FeatureView(
        name=name,
        entities=[DRIVER],
        schema=schema,
        source=FileSource(name=name, path=str(path), timestamp_field="event_timestamp", **source),
    )


def rows(times, **columns) -> pd.DataFrame:
    count = len(times)
    return pd.DataFrame({"driver_id": range(1, count + 1), "event_timestamp": times, **columns})


def spine(*times, ids=None) -> pd.DataFrame:
    return pd.DataFrame({"driver_id": ids or range(1, len(times) + 1), "event_timestamp": times})


@pytest.mark.parametrize("name", VALUES)
def test_every_type_comes_back_as_it_was(folder, store, name):
    dtype, values = VALUES[name]
    store.apply([view(folder, name, rows([NOON, NOON], **{name: values}), [Field(name=name, dtype=dtype)])])
    found = store.get_historical_features(spine(NOON, NOON, NOON), [f"{name}:{name}"]).to_arrow()[name].to_pylist()
    assert found == [*values, None]


def test_types_are_inferred(folder, store):
    frame = rows(
        [NOON, NOON], **{name: values for name, (_, values) in VALUES.items() if name not in {"single", "small"}}
    )
    store.apply([view(folder, "inferred", frame)])
    features = {field.name: field.dtype for field in store.get_feature_view("inferred").features}
    assert features == {name: dtype for name, (dtype, _) in VALUES.items() if name in features}
    assert len(features) == len(VALUES) - 2


@pytest.mark.parametrize(
    "dtype", ["datetime64[ns, UTC]", "datetime64[us, UTC]", "datetime64[ns]", "datetime64[us]", "datetime64[ms]"]
)
@pytest.mark.parametrize("asked", ["datetime64[ns, UTC]", "datetime64[ns]", "datetime64[us, Europe/Berlin]"])
def test_times_of_any_zone_and_unit(folder, store, dtype, asked):
    times = pd.Series([NOON, NOON])
    facts = times.dt.tz_localize(None).astype(dtype) if "UTC" not in dtype else times.astype(dtype)
    name = f"times_{abs(hash(dtype))}"
    store.apply([view(folder, name, rows(facts, value=[1, 2]), [Field(name="value", dtype=Int64)])])
    observed = pd.Series([NOON, NOON - timedelta(microseconds=1)])
    observed = observed.dt.tz_localize(None).astype(asked) if "," not in asked else observed.astype(asked)
    found = store.get_historical_features(spine(*observed), [f"{name}:value"]).to_df()
    assert found["value"].tolist() == [1, pd.NA]


def test_nanoseconds_never_leak(folder, store):
    fact = pd.Timestamp(NOON) + pd.Timedelta(1, "ns")
    store.apply([view(folder, "fine", rows([fact], value=[1]), [Field(name="value", dtype=Int64)])])
    before, after = pd.Timestamp(NOON) + pd.Timedelta(999, "ns"), pd.Timestamp(NOON) + pd.Timedelta(1, "us")
    found = store.get_historical_features(spine(before, after, ids=[1, 1]), ["fine:value"]).to_df()
    assert found["value"].tolist() == [pd.NA, 1]


def test_created_timestamps_break_ties_and_filter_when_asked(folder, store):
    frame = pd.DataFrame(
        {
            "driver_id": [1, 1],
            "event_timestamp": [NOON, NOON],
            "created": [NOON + 5 * HOUR, NOON],
            "value": [2, 1],
        }
    )
    store.apply(
        [view(folder, "created", frame, [Field(name="value", dtype=Int64)], created_timestamp_column="created")]
    )
    given = {"entity_df": spine(NOON + HOUR), "features": ["created:value"]}
    assert store.get_historical_features(**given).to_df()["value"].tolist() == [2]
    assert store.get_historical_features(**given, filter_by_created_timestamp=True).to_df()["value"].tolist() == [1]


@pytest.mark.parametrize(
    "entities",
    [
        pd.DataFrame({"driver_id": [1]}),
        pd.DataFrame({"driver_id": ["1"], "event_timestamp": [NOON]}),
        [{"driver_id": 1, "event_timestamp": NOON}],
    ],
    ids=["no time", "a key of another type", "no frame"],
)
def test_a_frame_that_cannot_be_answered_is_a_value_error_as_in_feast(folder, store, entities):
    store.apply([view(folder, "asked", rows([NOON], value=[1]), [Field(name="value", dtype=Int64)])])
    with pytest.raises(ValueError, match=r"event_timestamp|driver_id|entity_df"):
        store.get_historical_features(entities, ["asked:value"]).to_df()


def test_ttl_ends_a_value_just_after_its_edge(folder, store):
    made = view(folder, "short", rows([NOON], value=[1]), [Field(name="value", dtype=Int64)])
    made.ttl = HOUR
    store.apply([made])
    edge = NOON + HOUR
    found = store.get_historical_features(spine(edge, edge + timedelta(microseconds=1), ids=[1, 1]), ["short:value"])
    assert found.to_df()["value"].tolist() == [1, pd.NA]


def test_names_that_stock_stores_lose(folder, store):
    frame = rows([NOON], score_x=[1], score_y=[2])
    store.apply(
        [view(folder, "scores", frame, [Field(name="score_x", dtype=Int64), Field(name="score_y", dtype=Int64)])]
    )
    asked = ["scores:score_y", "scores:score_x"]
    assert store.get_historical_features(spine(NOON), asked).to_arrow().select(asked_names(asked)).to_pylist() == [
        {"score_y": 2, "score_x": 1}
    ]


def asked_names(refs: list[str]) -> list[str]:
    return [ref.split(":")[1] for ref in refs]


def test_field_mapping_renames_times_keys_and_features(folder, store):
    frame = rows([NOON], raw=[7]).rename(columns={"event_timestamp": "at"})
    mapping = {"at": "event_timestamp", "raw": "value"}
    store.apply([view(folder, "mapped", frame, [Field(name="value", dtype=Int64)], field_mapping=mapping)])
    assert store.get_historical_features(spine(NOON), ["mapped:value"]).to_df()["value"].tolist() == [7]
    store.materialize(NOON - HOUR, NOON + HOUR, feature_views=["mapped"])
    assert store.get_online_features(["mapped:value"], [{"driver_id": 1}]).to_dict()["value"] == [7]


def test_a_view_without_entities(folder, store):
    path = folder / "global.parquet"
    pd.DataFrame({"event_timestamp": [NOON, NOON + 2 * HOUR], "rate": [0.5, 0.75]}).to_parquet(path)
    source = FileSource(name="global", path=str(path), timestamp_field="event_timestamp")
    store.apply([FeatureView(name="global", entities=[], schema=[Field(name="rate", dtype=Float64)], source=source)])
    frame = store.get_historical_features(spine(NOON, NOON + 3 * HOUR), ["global:rate"]).to_df()
    assert frame["rate"].tolist() == [0.5, 0.75]
    store.apply([view(folder, "keyed", rows([NOON], value=[1]), [Field(name="value", dtype=Int64)])])
    store.materialize(NOON - HOUR, NOON + HOUR, feature_views=["global", "keyed"])
    read = store.get_online_features(["keyed:value", "global:rate"], [{"driver_id": 1}]).to_dict()
    assert read == {"driver_id": [1], "value": [1], "rate": [0.5]}


@pytest.mark.parametrize("path", ["parts/one.parquet", "parts", "parts/*.parquet", "**/*.parquet"])
def test_a_source_is_a_file_a_folder_or_a_pattern(tmp_path, store, path):
    (tmp_path / "parts").mkdir()
    rows([NOON, NOON], value=[1, 2]).iloc[:1].to_parquet(tmp_path / "parts" / "one.parquet")
    rows([NOON, NOON], value=[1, 2]).iloc[1:].to_parquet(tmp_path / "parts" / "two.parquet")
    source = FileSource(name="parts", path=str(tmp_path / path), timestamp_field="event_timestamp")
    store.apply(
        [FeatureView(name="parts", entities=[DRIVER], schema=[Field(name="value", dtype=Int64)], source=source)]
    )
    found = store.get_historical_features(spine(NOON, NOON), ["parts:value"]).to_df()
    assert found["value"].tolist() == [1, pd.NA if "one" in path else 2]


def test_pulls_give_all_rows_or_the_newest(folder, store):
    frame = pd.DataFrame(
        {"driver_id": [1, 1, 2], "event_timestamp": [NOON, NOON + HOUR, NOON + 3 * HOUR], "value": [1, 2, 3]}
    )
    made = view(folder, "pulled", frame, [Field(name="value", dtype=Int64)])
    offline = store._get_provider().offline_store
    given = {
        "config": store.config,
        "data_source": made.batch_source,
        "join_key_columns": ["driver_id"],
        "feature_name_columns": ["value"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": None,
        "start_date": NOON.replace(tzinfo=None),
        "end_date": NOON + HOUR,
    }
    every = offline.pull_all_from_table_or_query(**given).to_df()
    assert every.sort_values("event_timestamp")["value"].tolist() == [1, 2]
    assert offline.pull_latest_from_table_or_query(**given).to_df()["value"].tolist() == [2]
    without_dates = given | {"start_date": None, "end_date": None}
    assert len(offline.pull_all_from_table_or_query(**without_dates).to_df()) == 3


def test_written_rows_are_appended(folder, store):
    store.apply([view(folder, "written", rows([NOON], value=[1]), [Field(name="value", dtype=Int64)])])
    store.write_to_offline_store("written", rows([NOON + HOUR], value=[5]))
    found = store.get_historical_features(spine(NOON, NOON + HOUR, ids=[1, 1]), ["written:value"]).to_df()
    assert found["value"].tolist() == [1, 5]
    made = store.get_feature_view("written")
    write = store.write_to_offline_store
    backwards = rows([NOON], value=[6])[["value", "event_timestamp", "driver_id"]]
    with pytest.raises(ValueError, match="in this order"):
        write("written", backwards, reorder_columns=False)
    write("written", backwards)
    assert len(pq.read_table(folder / "written.parquet")) == 3
    with pytest.raises(DataError, match="has"):
        store._get_provider().offline_store.offline_write_batch(
            store.config, made, pa.table({"driver_id": [1]}), progress=None
        )


def test_a_saved_data_set_in_a_file_reads_back(folder, store):
    store.apply([view(folder, "kept", rows([NOON], value=[1]), [Field(name="value", dtype=Int64)])])
    storage = SavedDatasetFileStorage(path=str(folder / "saved.parquet"))
    job = store.get_historical_features(spine(NOON, NOON + HOUR), ["kept:value"])
    with pytest.warns(RuntimeWarning, match="experimental"):
        dataset = store.create_saved_dataset(job, "kept", storage)
    assert dataset.to_df().sort_values("driver_id")["value"].tolist() == [1, pd.NA]
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)


@pytest.mark.parametrize("before", [[], ["old.parquet"], ["a.parquet", "day=1/b.parquet"]])
def test_a_saved_data_set_takes_the_place_of_a_folders_files(folder, store, before):
    store.apply([view(folder, "placed", rows([NOON], value=[1]), [Field(name="value", dtype=Int64)])])
    target = folder / f"saved_{len(before)}"
    for file in ("readme.txt", *before):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (target / file).write_bytes(b"what was there")
    job = store.get_historical_features(spine(NOON, NOON + HOUR), ["placed:value"])
    storage = SavedDatasetFileStorage(path=str(target))
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="experimental"):
            dataset = store.create_saved_dataset(job, "placed", storage, allow_overwrite=True)
        assert dataset.to_df().sort_values("driver_id")["value"].tolist() == [1, pd.NA]
    assert (target / "readme.txt").read_bytes() == b"what was there"


@pytest.mark.parametrize("partition_by", [None, ["__log_date"]])
def test_feature_logs_are_written_and_read(folder, store, partition_by):
    made = view(folder, "logged", rows([NOON], value=[1]), [Field(name="value", dtype=Int64)])
    destination = FileLoggingDestination(path=str(folder / f"logs_{bool(partition_by)}"), partition_by=partition_by)
    service = FeatureService(name="logged", features=[made], logging_config=LoggingConfig(destination))
    store.apply([made, service])
    table = pa.table(
        {
            "driver_id": [1],
            "logged__value": [1],
            "logged__value__timestamp": [NOON],
            "logged__value__status": pa.array([2], pa.int32()),
            "__log_timestamp": pa.array([NOON], pa.timestamp("us", tz="UTC")),
            "__log_date": [NOON.date()],
            "__request_id": ["r1"],
        }
    )
    store.write_logged_features(table, service)
    spooled = folder / f"spooled_{bool(partition_by)}"
    spooled.mkdir()
    pq.write_table(table, spooled / "part.parquet")
    store.write_logged_features(spooled, service)
    job = store._get_provider().retrieve_feature_service_logs(
        service, NOON - HOUR, NOON + HOUR, store.config, store.registry
    )
    found = job.to_df()
    assert found["logged__value"].tolist() == [1, 1]
    assert set(found.columns) == set(table.column_names)


def test_random_frames_equal_a_plain_search(folder, store):
    random = np.random.default_rng(7)
    facts = pd.DataFrame(
        {
            "driver_id": random.integers(1, 6, 200),
            "event_timestamp": NOON + pd.to_timedelta(random.integers(0, 50, 200), "h"),
            "created": NOON + pd.to_timedelta(random.integers(0, 80, 200), "h"),
            "value": range(200),
        }
    )
    store.apply([view(folder, "many", facts, [Field(name="value", dtype=Int64)], created_timestamp_column="created")])
    asked = spine(
        *(NOON + pd.to_timedelta(random.integers(0, 60, 300), "h")), ids=[int(k) for k in random.integers(1, 8, 300)]
    )
    found = store.get_historical_features(asked, ["many:value"], filter_by_created_timestamp=True).to_df()
    for row in found.itertuples():
        seen = facts[
            (facts["driver_id"] == row.driver_id)
            & (facts["event_timestamp"] <= row.event_timestamp)
            & (facts["created"] <= row.event_timestamp)
        ]
        if seen.empty:
            assert row.value is pd.NA
            continue
        best = seen.sort_values(["event_timestamp", "created"]).iloc[-1]
        ties = seen[(seen["event_timestamp"] == best["event_timestamp"]) & (seen["created"] == best["created"])]
        assert row.value in set(ties["value"])


def test_other_sources_are_refused_with_what_is_possible(store):
    source = FileSource(name="remote", path="s3://bucket/x.parquet", timestamp_field="event_timestamp")
    offline = store._get_provider().offline_store
    job = offline.pull_all_from_table_or_query(store.config, source, ["driver_id"], [], "event_timestamp")
    with pytest.raises(UsageError, match="only local Parquet files"):
        job.to_arrow()


def test_a_relation_of_the_lake_that_no_event_made(folder, store):
    """What a suite does that writes a frame into the lake and asks by SQL: no release, no technical columns."""
    frame = rows([NOON, NOON + HOUR], value=[1, 2], texts=[["a"], []])
    settings = lake_settings(store.config)
    write_relation(settings, "suite.stats", pa.Table.from_pandas(frame, preserve_index=False))
    with pytest.raises(UsageError, match=r"suite\.stats is already in the lake"):
        write_relation(settings, "suite.stats", pa.table({"a": [1]}))
    source = LifecycleSource(relation="suite.stats", created_timestamp_column="")
    store.apply([FeatureView(name="stats", entities=[DRIVER], source=source)])
    assert {field.name: field.dtype for field in store.get_feature_view("stats").features} == {
        "value": Int64,
        "texts": Array(String),
    }
    store.write_to_offline_store("stats", rows([NOON + 2 * HOUR], value=[5], texts=[["z"]]))
    query = f"SELECT driver_id, max(event_timestamp) AS event_timestamp FROM {source.table} GROUP BY 1 ORDER BY 1 DESC"
    found = store.get_historical_features(query, ["stats:value", "stats:texts"]).to_arrow()
    assert found.select(["driver_id", "value", "texts"]).to_pylist() == [
        {"driver_id": 2, "value": 2, "texts": []},
        {"driver_id": 1, "value": 5, "texts": ["z"]},
    ]
    store.apply([view(folder, "beside", rows([NOON], other=[9]), [Field(name="other", dtype=Int64)])])
    both = store.get_historical_features(spine(NOON), ["stats:value", "beside:other"]).to_arrow()
    assert both.select(["value", "other"]).to_pylist() == [{"value": 1, "other": 9}]


def test_a_source_with_a_column_that_is_not_there_is_refused(store):
    write_relation(lake_settings(store.config), "suite.plain", pa.table({"driver_id": [1], "event_timestamp": [NOON]}))
    with pytest.raises(UsageError, match="'known_at'"):
        LifecycleSource(relation="suite.plain").validate(store.config)
    with pytest.raises(UsageError, match=r"Did you mean 'suite\.plain'"):
        LifecycleSource(relation="suite.plane").validate(store.config)
