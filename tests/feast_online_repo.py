"""A plain Feast repo with file sources over any online store, and how its tests write and read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as Number

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.infra.offline_stores.file_source import FileSource as Files
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    ImageBytes,
    Int32,
    Int64,
    Json,
    Map,
    Set,
    String,
    UnixTimestamp,
    Uuid,
)

OURS = "lifecycle.feast_plugin.online_store.LifecycleOnlineStore"
ENGINE = "lifecycle.feast_plugin.compute_engine.LifecycleComputeEngine"
NOW = datetime.now(UTC).replace(microsecond=0)
TYPES = {
    "i32": (Int32, [1, -5, None]),
    "i64": (Int64, [2**53 + 1, -(2**62), None]),
    "f32": (Float32, [0.5, -1.5, None]),
    "f64": (Float64, [0.1, 1e300, None]),
    "text": (String, ["é", "", None]),
    "flag": (Bool, [True, False, None]),
    "raw": (Bytes, [b"\x00\xff", b"", None]),
    "moment": (UnixTimestamp, [NOW, NOW - timedelta(days=20_000), None]),
    "i64s": (Array(Int64), [[1, 2**60], [], None]),
    "f32s": (Array(Float32), [[0.5], [1.5, 2.5], None]),
    "texts": (Array(String), [["a", "é"], ["", "b"], None]),
    "flags": (Array(Bool), [[True, False], [True], None]),
    "moments": (Array(UnixTimestamp), [[NOW], [NOW, NOW], None]),
    "pairs": (Map, [{"a": "1"}, {"b": "2"}, None]),
    "json": (Json, ['{"a": 1}', "[1]", None]),
}
KEPT = {
    "json": (Json, ['{"a": 1}', "[1]", None]),
    "pairs": (Map, [{"a": "1"}, {"a": "2"}, None]),
    "picture": (ImageBytes, [b"\x00\xff", b"", None]),
    "name": (Uuid, ["00000000-0000-0000-0000-000000000005", "00000000-0000-0000-0000-000000000006", None]),
    "exact": (Decimal, [Number("1.50"), Number("2.25"), None]),
    "codes": (Set(Int64), [[1, 2], [], None]),
}
driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)


def objects(folder):
    """Views over Parquet files: with a ttl and a push source, of two entities, of none, of all types."""
    hours = [NOW - timedelta(hours=hour) for hour in range(6)]
    stats = pd.DataFrame(
        {
            "driver_id": [1, 1, 1, 2, 3, 3],
            "customer_id": ["a", "b", "a", "a", "b", "b"],
            "event_timestamp": hours,
            "created": [NOW - timedelta(minutes=1)] * 6,
            "trips": [10, 11, 12, 20, 30, 31],
            "rate": [0.1, 0.2, 0.3, None, 0.5, 0.6],
        }
    )
    stats.to_parquet(folder / "stats.parquet")
    every = pa.table(
        {
            "driver_id": pa.array([1, 2, 3], pa.int64()),
            "event_timestamp": pa.array([NOW - timedelta(minutes=5)] * 3, pa.timestamp("us", "UTC")),
            **{name: pa.array(values) for name, (_, values) in TYPES.items() if name not in {"pairs", "json"}},
        }
    )
    pq.write_table(every, folder / "every.parquet")
    source = Files(
        name="stats",
        path=str(folder / "stats.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    both = FileSource(name="both", path=str(folder / "stats.parquet"), timestamp_field="event_timestamp")
    kinds = [Field(name=name, dtype=dtype) for name, (dtype, _) in TYPES.items()]
    plain = [one for one in kinds if one.name not in {"pairs", "json"}]
    numbers = [Field(name="trips", dtype=Int64), Field(name="rate", dtype=Float64)]
    types = FileSource(name="types", path=str(folder / "every.parquet"), timestamp_field="event_timestamp")
    stats_view = FeatureView(
        name="stats", entities=[driver], ttl=timedelta(hours=3), schema=numbers,
        source=PushSource(name="pushed", batch_source=source),
    )  # fmt: skip
    views = [
        stats_view,
        FeatureView(name="pair", entities=[driver, customer], schema=numbers[:1], source=both),
        FeatureView(name="world", entities=[], schema=numbers, source=both),
        FeatureView(name="files", entities=[driver], schema=plain, source=types),
        FeatureView(name="every", entities=[driver], schema=kinds, source=types),
    ]

    @on_demand_feature_view(sources=[stats_view], schema=[Field(name="twice", dtype=Int64)], mode="python")
    def doubled(inputs):
        return {"twice": [None if one is None else 2 * one for one in inputs["trips"]]}

    service = FeatureService(name="service", features=[stats_view, views[1]])
    return [driver, customer, source, *views, doubled, service]


def make(folder, online, engine="local"):
    return bare(folder, online, objects, engine)


def place_of_its_own(path, number):
    """Return an online store beside the one at `path`: another folder, or another Redis database."""
    return {"type": OURS, "path": path[:-1] + str(number) if "//" in path else f"{path}{number}"}


def bare(folder, online, made, engine="local"):
    """Return a Feast store of `made`: its objects, or what makes them of its folder."""
    folder.mkdir()
    store = FeatureStore(
        config=RepoConfig(
            project="plain",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online,
            batch_engine={"type": engine},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )
    if given := made(folder) if callable(made) else made:
        store.apply(given)
    return store


def key(**values):
    kinds = {int: "int64_val", str: "string_val"}
    return EntityKey(join_keys=list(values), entity_values=[Value(**{kinds[type(v)]: v}) for v in values.values()])


def write(store, name, *rows):
    """Write (driver, values, event, created) rows as Feast's materialization does."""
    view = store.get_feature_view(name)
    listed = [(key(driver_id=one), values, event, created) for one, values, event, created in rows]
    store._get_provider().online_write_batch(store.config, view, listed, None)


def vectors(response):
    """Return (value, status, event time) by feature and row; Feast has two forms of a missing timestamp."""
    message = response.proto
    return {
        name: [
            (feast_value_type_to_python_type(value), status, moment.seconds)
            for value, status, moment in zip(one.values, one.statuses, one.event_timestamps, strict=True)
        ]
        for name, one in zip(message.metadata.feature_names.val, message.results, strict=True)
    }


def trips(store, *drivers):
    return store.get_online_features(["stats:trips"], [{"driver_id": one} for one in drivers]).to_dict()["trips"]
