"""
Filling Feast's online store from a release, and reading it.

A release is written whole, as of one time t, into a new file that then takes the old one's place: readers see
one release or the next, keys that a release no longer has are gone, and a rollback is a materialization like
any other. The rows come from the same pull that Feast's own materialization uses; they are turned into Feast's
values one by one because Feast's path goes through floats, which lose integers beyond 2**53.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from feast import FeatureStore
from feast.feature_view import DUMMY_ENTITY_ID
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.utils import _get_column_names

from lifecycle.errors import PlatformError, UsageError
from lifecycle.feast_plugin.pull import Pull, pull_latest
from lifecycle.feast_plugin.repo import FOLDER, load_repo_config
from lifecycle.feast_plugin.scope import open_scope
from lifecycle.lake import Lake, Ledger
from lifecycle.times import EPOCH, MICROSECOND, parse, to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from feast import FeatureView

    from lifecycle.config import Settings
    from lifecycle.definitions import Projection, View
    from lifecycle.feast_plugin.scope import Scope
    from lifecycle.lake import Release

_BATCH = 10_000
_MARK = "lifecycle_release"


@dataclass(frozen=True)
class Materialized:
    """What the online store holds: the release, its time t (UTC), and the number of keys by view."""

    release: int
    at: datetime
    rows: Mapping[str, int]

    def __str__(self) -> str:
        total = sum(self.rows.values())
        return f"release {self.release} as of {self.at:%Y-%m-%d %H:%M:%S} UTC: {total:,} rows in {len(self.rows)} views"


@dataclass(frozen=True)
class OnlineValue:
    """
    One feature as the online store holds it.

    status: PRESENT; OUTSIDE_MAX_AGE (older than the view's ttl: no value); NOT_FOUND (no row, or a tombstone).
    event_timestamp: when the value's row became true (UTC; Feast's SQLite store keeps whole seconds, of this and
    of timestamp features). age: from then to the read time, which is the
    lesser of the clock and the time of materialization.
    """

    value: Any
    event_timestamp: datetime | None
    age: timedelta | None
    status: str


_NOT_FOUND = OnlineValue(None, None, None, "NOT_FOUND")


def materialization_time(release: Release) -> datetime:
    """Return t for a release: its greatest watermark, since no fact known later is in it; else when it was made."""
    return max(release.watermarks.values(), default=release.made_at)


def materialize(
    settings: Settings, release: Release, *, progress: Callable[[str], None] = lambda _: None
) -> Materialized:
    """
    Write every online view's state as of `materialization_time(release)` and put the store in place.

    The repo must be applied. A value older than its view's ttl is written too; reading says OUTSIDE_MAX_AGE.
    Raises PlatformError when feature_store.yaml names another online store than SQLite.
    """
    at = materialization_time(release)
    target = settings.lake.home / FOLDER / "online.db"
    fresh = target.with_name("online.new.db")
    fresh.unlink(missing_ok=True)
    config = load_repo_config(settings, release=release.number, online=fresh)
    if config.online_store.type != "sqlite":
        raise PlatformError(f"online_store is {config.online_store.type!r}; this version materializes into sqlite.")
    store = FeatureStore(config=config)
    views = sorted((view for view in store.list_feature_views() if view.online), key=lambda view: str(view.name))
    online = store._get_provider().online_store  # noqa: SLF001 - Feast gives no public way to its store
    online.update(config, [], views, [], [], partial=False)
    rows = {}
    sources = [view.batch_source for view in views]
    with closing(online._get_conn(config)) as connection, open_scope(config, sources) as scope:  # noqa: SLF001
        connection.execute("PRAGMA synchronous = OFF")  # a new file: nothing to lose until it is in place
        for view in views:
            progress(f"materializing {view.name}")
            rows[view.name] = 0
            for batch in _batches(_newest(store, scope, view, at)):
                online.online_write_batch(config, view, _to_feast(view, batch), progress=None)
                rows[view.name] += batch.num_rows
        _mark(connection, release.number, at)
    fresh.replace(target)
    for view in views:
        store.registry.apply_materialization(view, store.project, EPOCH, at)
    done = Materialized(release.number, at, rows)
    progress(str(done))
    return done


def online(settings: Settings, service: str, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, OnlineValue]]:
    """
    Return, per key, a service's features by name, in the service's order.

    keys: one mapping of entity column to value per row; a view whose key is not given is NOT_FOUND. Raises
    UsageError for an unknown service or when no key of the service is given.
    """
    held = _held(settings)
    definitions = Ledger(Lake(settings.lake)).get(held.release).definitions
    chosen = definitions.service(service)
    needed = {_spine_keys(definitions.view(one.view), one) for one in chosen.projections}
    possible = sorted({name for names in needed for name in names})
    if not all(set(possible) & set(row) for row in keys):
        raise UsageError(f"service {service!r} is keyed by {', '.join(possible)}; give at least one of them.")
    store = FeatureStore(config=load_repo_config(settings))
    result: list[dict[str, OnlineValue]] = [{} for _ in keys]
    for projection in chosen.projections:
        view = definitions.view(projection.view)
        for found, read in zip(result, _read(store, view, projection, keys, held.at), strict=True):
            clash = found.keys() & read.keys()
            names = {name: f"{projection.alias or view.name}__{name}" if name in clash else name for name in read}
            found.update({names[name]: value for name, value in read.items()})
    return result


def _newest(store: FeatureStore, scope: Scope, view: FeatureView, at: datetime) -> pa.Table:
    """Return the view's newest row per key as of `at`, tombstones left out, in Feast's names."""
    entities = [store.get_entity(name, allow_registry_cache=True) for name in view.entities]
    keys, features, timestamp, known_at = _get_column_names(view, entities)
    pull = Pull(
        source=view.batch_source,
        keys=tuple(keys),
        features=tuple(features),
        timestamp=timestamp,
        known_at=known_at or None,
        start=None,
        end=at,
        known_time=store.config.offline_store.known_time,
        tombstones=False,
    )
    table = pull_latest(scope, pull)
    mapping = view.batch_source.field_mapping
    return table.rename_columns([mapping.get(name, name) for name in table.column_names])


def _batches(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _BATCH):
        yield table.slice(start, _BATCH)


def _to_feast(view: FeatureView, rows: pa.Table) -> list[tuple[Any, dict[str, Any], datetime, datetime | None]]:
    """Return rows as Feast's online stores take them, each value converted exactly."""

    def values(name: str, dtype: Any) -> list[Any]:
        return list(python_values_to_proto_values(rows[name].to_pylist(), dtype.to_value_type()))

    names = [column.name for column in view.entity_columns]
    keys = zip(*(values(column.name, column.dtype) for column in view.entity_columns), strict=True)
    features = {field.name: values(field.name, field.dtype) for field in view.features}
    source = view.batch_source
    events = rows[source.timestamp_field].to_pylist()
    known = (
        rows[source.created_timestamp_column].to_pylist() if source.created_timestamp_column else [None] * len(events)
    )
    states = [dict(zip(features, row, strict=True)) for row in zip(*features.values(), strict=True)]
    entity_keys = [EntityKey(join_keys=names, entity_values=row) for row in keys]
    return list(zip(entity_keys, states, events, known, strict=True))


def _mark(connection: Any, number: int, at: datetime) -> None:
    """Write the release and its time into the store itself, so that they change with its content."""
    with connection:
        connection.execute(f"CREATE TABLE {_MARK} (number INTEGER, at TEXT)")
        connection.execute(f"INSERT INTO {_MARK} VALUES (?, ?)", (number, at.isoformat()))


def _held(settings: Settings) -> Materialized:
    """Return the release that the online store holds; raises UsageError when it holds none."""
    path = settings.lake.home / FOLDER / "online.db"
    found = None
    if path.is_file():
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_MARK,)).fetchone():
                found = connection.execute(f"SELECT number, at FROM {_MARK}").fetchone()
    if found is None:
        raise UsageError(f"the online store {path} holds no release yet. Fill it with `lifecycle materialize`.")
    return Materialized(found[0], parse(found[1]), {})


def _spine_keys(view: View, projection: Projection) -> tuple[str, ...]:
    renamed = dict(projection.join_keys)
    return tuple(renamed.get(key, key) for key, _ in view.join_keys)


def _read(
    store: FeatureStore, view: View, projection: Projection, keys: Sequence[Mapping[str, Any]], at: datetime
) -> list[dict[str, OnlineValue]]:
    missing = dict.fromkeys(projection.features, _NOT_FOUND)
    names = _spine_keys(view, projection)
    wanted = [i for i, row in enumerate(keys) if all(row.get(name) is not None for name in names)]
    result = [dict(missing) for _ in keys]
    if not wanted or not view.online:
        return result
    feast_view = store.get_feature_view(view.name, allow_registry_cache=True)
    columns = [column for column in feast_view.entity_columns if column.name != DUMMY_ENTITY_ID]
    renamed = dict(projection.join_keys)
    values = [
        python_values_to_proto_values(
            [keys[i][renamed.get(column.name, column.name)] for i in wanted], column.dtype.to_value_type()
        )
        for column in columns
    ]
    entity_keys = [
        EntityKey(join_keys=[column.name for column in columns], entity_values=row) for row in zip(*values, strict=True)
    ]
    read_at = min(datetime.now(UTC), at)
    provider = store._get_provider()  # noqa: SLF001 - get_online_features hides which rows are missing
    read = provider.online_read(store.config, feast_view, entity_keys, list(projection.features))
    types = {field.name: field.dtype.to_value_type() for field in feast_view.features}
    for i, (event_timestamp, row) in zip(wanted, read, strict=True):
        if row is not None and event_timestamp is not None:
            event = to_utc(event_timestamp)
            expired = bool(view.ttl_us) and read_at - event > (view.ttl_us or 0) * MICROSECOND
            status = "OUTSIDE_MAX_AGE" if expired else "PRESENT"
            for name in row.keys() & set(projection.features):
                value = None if expired else feast_value_type_to_python_type(row[name], types[name])
                result[i][name] = OnlineValue(value, event, read_at - event, status)
    return result
