"""Pulling rows out of a source: all of an interval, or the newest of each key as of its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feast.feature_logging import LOG_TIMESTAMP_FIELD
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from lifecycle.definitions import View
from lifecycle.engine.session import fact_time
from lifecycle.errors import UsageError
from lifecycle.feast_plugin.source import LifecycleSource
from lifecycle.names import literal, quote, quote_all, relation
from lifecycle.times import iso, to_utc

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa
    from feast.data_source import DataSource

    from lifecycle.definitions import KnownTime
    from lifecycle.feast_plugin.scope import Scope


@dataclass(frozen=True)
class Pull:
    """
    What to pull, in the source's own column names.

    start, end: both inclusive; None leaves that side open. tombstones: keep a key whose newest row is a
    tombstone, with NULL for every feature, so that a store overwrites what it holds.
    """

    source: DataSource
    keys: tuple[str, ...]
    features: tuple[str, ...]
    timestamp: str
    known_at: str | None
    start: datetime | None
    end: datetime | None
    known_time: KnownTime
    tombstones: bool = True


def pull_all(scope: Scope, pull: Pull) -> pa.Table:
    """
    Return every row of the interval by event time; as known, only rows known by its end. Tombstones are NULL.

    Raises UsageError for windows, which have no rows.
    """
    if isinstance(pull.source, LifecycleSource) and pull.source.aggregations:
        raise UsageError(
            f"source {pull.source.name!r} has windows, which have a value at every moment and no rows to pull. Set "
            "materialization: {pull_latest_features: true} in feature_store.yaml to store their values at the end."
        )
    where, values = ["true"], []
    event, known = _times(scope, pull)
    bounds = [(event, ">=", pull.start), (event, "<=", pull.end)]
    if pull.known_time == "as_known":
        bounds.append((known, "<=", pull.end))
    for column, sign, bound in bounds:
        if bound is not None:
            where.append(f"{column} {sign} ?")
            values.append(to_utc(bound))
    query = f"SELECT {_output(scope, pull)} FROM {relation(scope.relation(pull.source))} WHERE {' AND '.join(where)}"
    return scope.connection.execute(query, values).to_arrow_table()


def pull_latest(scope: Scope, pull: Pull) -> pa.Table:
    """
    Return, per key, the row that wins at `end` as the engine would pick it, if it became visible at or after `start`.

    As known, a row becomes visible when it is both true and known, so an interval brings late rows too; by
    event time alone, when it is true. A row of an `at_t: exclude` source at exactly `end` is not visible yet.
    Windows give one row per key with an event: their values at `end`.
    """
    if isinstance(pull.source, LifecycleSource) and pull.source.aggregations:
        return _windows_at_end(scope, pull, pull.source)
    columns = scope.columns(pull.source)
    source = pull.source
    ours = isinstance(source, LifecycleSource)
    event, known = _times(scope, pull)
    visible = f"{event} + INTERVAL 1 MICROSECOND" if ours and source.at_t == "exclude" else event
    if pull.known_time == "as_known":
        visible = f"greatest({visible}, {known})"
    order = [event, known, *(quote(name) for name in (source.tie_break_in(columns) if ours else ()))]
    deleted = source.deleted_in(columns) if ours else None
    partition = f"PARTITION BY {quote_all(pull.keys)}" if pull.keys else ""
    keep = [f"{quote(key)} IS NOT NULL" for key in pull.keys]
    ends = [f"{visible} <= ?"] if pull.end else []
    begins = [f"{visible} >= ?"] if pull.start else []
    if deleted and not pull.tombstones:
        begins.append(f"NOT coalesce({quote(deleted)}, false)")
    query = f"""
        WITH winners AS (
            SELECT * FROM {relation(scope.relation(source))}
            WHERE {" AND ".join(["true", *keep, *ends])}
            QUALIFY row_number() OVER ({partition} ORDER BY {", ".join(f"{o} DESC NULLS LAST" for o in order)}) = 1
        )
        SELECT {_output(scope, pull)} FROM winners WHERE {" AND ".join(["true", *begins])}
    """
    return scope.connection.execute(query, [to_utc(t) for t in (pull.end, pull.start) if t]).to_arrow_table()


def _windows_at_end(scope: Scope, pull: Pull, source: LifecycleSource) -> pa.Table:
    """Return keys, windows and `end` as both times, for each key that has an event; all keys, since windows decay."""
    from lifecycle.engine.windows import window_features

    if pull.end is None:
        raise UsageError(f"source {source.name!r} has windows: say at what time to take their values.")
    columns = scope.columns(source)
    view = View(
        name=source.name,
        relation=source.relation,
        join_keys=tuple((key, key) for key in pull.keys),
        event_timestamp=pull.timestamp,
        known_at=pull.known_at,
        features=(),
        tie_break=source.tie_break_in(columns),
        windows=tuple(window for window in source.windows if window.name in pull.features),
        history_cap=source.history_cap,
    )
    keys = [quote(key) for key in pull.keys]
    known = " AND ".join(["true", *(f"{key} IS NOT NULL" for key in keys)])
    listed = ", ".join(keys) or "1"
    scope.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE pulled_keys AS SELECT *, (row_number() OVER () - 1) AS row FROM "
        f"(SELECT DISTINCT {listed} FROM {relation(source.relation)} WHERE {known})"
    )
    end = f"TIMESTAMPTZ {literal(iso(pull.end))}"
    numbered = ", ".join(["row", f"{end} AS t", *(f"{key} AS k{i}" for i, key in enumerate(keys))])
    found = window_features(scope.connection, view, f"SELECT {numbered} FROM pulled_keys", known_time=pull.known_time)
    times = [f"{end} AS {quote(name)}" for name in dict.fromkeys((pull.timestamp, pull.known_at)) if name]
    dummy = [] if keys else [f"{literal(DUMMY_ENTITY_VAL)} AS {quote(DUMMY_ENTITY_ID)}"]
    table = scope.connection.execute(
        f"SELECT {', '.join([*keys, *times, *dummy])} FROM pulled_keys ORDER BY row"
    ).to_arrow_table()
    for window in view.windows:
        table = table.append_column(window.name, found[window.name])
    return table


def _times(scope: Scope, pull: Pull) -> tuple[str, str]:
    """Return event time and known time as SQL; a row without known time is known at its event time."""
    types = scope.columns(pull.source)
    event = fact_time(quote(pull.timestamp), types[pull.timestamp])
    known = f"coalesce({fact_time(quote(pull.known_at), types[pull.known_at])}, {event})" if pull.known_at else event
    return event, known


def _output(scope: Scope, pull: Pull) -> str:
    """Return the columns as Feast asks for them: keys, features (NULL in a tombstone), times."""
    columns = scope.columns(pull.source)
    ours = isinstance(pull.source, LifecycleSource)
    deleted = pull.source.deleted_in(columns) if ours else None
    times = [name for name in (pull.timestamp, pull.known_at) if name]
    wanted = list(dict.fromkeys((*pull.keys, *pull.features, *times)))
    selected = []
    for name in wanted:
        plain = deleted is None or name not in pull.features or name in pull.keys or name in times
        value = quote(name) if plain else f"CASE WHEN NOT coalesce({quote(str(deleted))}, false) THEN {quote(name)} END"
        selected.append(f"{value} AS {quote(name)}")
    if not pull.keys and pull.timestamp != LOG_TIMESTAMP_FIELD:
        # Feast stores a view without entities under a key of its own; feature logs have none.
        selected.append(f"{literal(DUMMY_ENTITY_VAL)} AS {quote(DUMMY_ENTITY_ID)}")
    return ", ".join(selected)
