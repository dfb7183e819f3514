"""
From a view with windows and a spine in DuckDB to the kernel's sorted Arrow tables, and back by row number.

DuckDB sorts, spilling under its own memory limit, and hands events over as a stream; the kernel holds the
pieces in flight and the answers. Only events of the spine's keys are sorted, and only those that any of its
windows can reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lifecycle.engine.session import BATCH_ROWS, columns, fact_time, require
from lifecycle.engine.windows.evaluate import evaluate
from lifecycle.engine.windows.functions import mask_column
from lifecycle.errors import UsageError
from lifecycle.names import literal, quote, relation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.definitions import KnownTime, View, Window

KEYS = "window_keys"
TIME, KNOWN_FROM, KNOWN_UNTIL = "event_timestamp", "known_from", "known_until"
RESERVED = ("key", TIME, KNOWN_FROM, KNOWN_UNTIL)
ORDERED = frozenset({"first", "last", "last_k"})
EARLIEST = -(1 << 62)


def window_features(
    connection: Any,
    view: View,
    spine: str,
    *,
    windows: Sequence[Window] | None = None,
    known_time: KnownTime = "as_known",
    threads: int = 0,
    types: dict[str, str] | None = None,
) -> pa.Table:
    """
    Evaluate a window view at every row of a spine.

    connection: DuckDB with the lake attached as `lake`; a temporary table of keys comes and goes in it. view:
    its relation holds versions of events with `known_from` and `known_until`, or with neither. spine: SQL of
    (row BIGINT, t TIMESTAMPTZ, k0, k1, ... of the types of the view's keys). windows: those wanted, None for all
    of the view's. known_time: `feast` takes the newest version of each event, whenever it became known.
    threads: 0 for one per core. types: the relation's columns with DuckDB's names of their types, where they are known.

    Returns `row` int64 in ascending order and one column per window under its name; see the package for types
    and for what an empty window gives. A row with a NULL key has empty windows.
    """
    wanted = tuple(view.windows if windows is None else windows)
    have = types or columns(connection, view.relation)
    query = EventQuery(view, wanted, have, known_time)
    rows, low, high = _extent(connection, spine)
    if not len(rows):
        low = high = 0
    try:
        _make_keys(connection, spine, len(view.join_keys))
        observations = _observations(connection, spine, len(view.join_keys), rows)
        events = connection.execute(query.events(low, high)).to_arrow_reader(BATCH_ROWS)
        table = evaluate(events, observations, wanted, threads=threads, history_cap=view.history_cap)
        events.close()
    finally:
        connection.execute(f"DROP TABLE IF EXISTS {KEYS}")
    return table.add_column(0, "row", pa.array(rows))


class EventQuery:
    """SQL of a view's events as the kernel takes them, without parameters: DuckDB loads pandas to look at one."""

    def __init__(self, view: View, windows: Sequence[Window], have: dict[str, str], known_time: KnownTime) -> None:
        self.view, self.windows, self.have = view, windows, have
        inputs = {name for one in windows for name in (one.column, one.currency) if name is not None}
        buckets = {one.bucket[0] for one in windows if one.bucket}
        self.keys = [column for _, column in view.join_keys]
        self.versioned = KNOWN_FROM in have
        self.as_known = known_time == "as_known" and self.versioned
        self.ordered = view.history_cap is not None or any(one.function in ORDERED for one in windows)
        require({*inputs, *buckets, *self.keys, view.event_timestamp}, have, view.relation, f"view {view.name!r}")
        if self.versioned:
            require({KNOWN_UNTIL}, have, view.relation, f"view {view.name!r}")
        if self.ordered:
            require(view.tie_break, have, view.relation, f"the tie-break of view {view.name!r}")
        own = {view.event_timestamp: TIME, KNOWN_FROM: KNOWN_FROM, KNOWN_UNTIL: KNOWN_UNTIL}
        clash = sorted(name for name in inputs if name in RESERVED and own.get(name) != name)
        if clash:
            raise UsageError(
                f"windows of view {view.name!r} read {', '.join(clash)}, a name the engine uses for something else. "
                f"Rename the column in {view.relation}; taken are {', '.join(RESERVED)}."
            )
        self.inputs = sorted(inputs - set(RESERVED))

    def versions(self, source: str, also: Sequence[str] = ()) -> str:
        """
        Return SQL of every version in `source` (a relation in SQL).

        Columns: window_k0, window_k1, ... (keys), event_timestamp, known_from and known_until where there are any, the
        windows' inputs, their filters, window_tie0, ... (the tie-break, where a window depends on it). also: SQL of
        further columns, with their names.
        """
        listed = [f"{quote(key)} AS window_k{i}" for i, key in enumerate(self.keys)]
        listed.append(f"{self._time(self.view.event_timestamp)} AS {TIME}")
        if self.versioned:
            listed += [f"{self._time(name)} AS {name}" for name in (KNOWN_FROM, KNOWN_UNTIL)]
        listed += [quote(name) for name in self.inputs]
        listed += [f"{sql} AS {quote(name)}" for name, sql in self.masks().items()]
        listed += [f"{quote(name)} AS window_tie{i}" for i, name in enumerate(self.ties)]
        listed += also
        return f"SELECT {', '.join(listed)} FROM {source}"

    @property
    def ties(self) -> list[str]:
        """The columns that decide between events of one time, where a window depends on it."""
        return list(self.view.tie_break) if self.ordered else []

    @property
    def order(self) -> list[str]:
        """SQL of how a key's events are ordered."""
        known = [f"{KNOWN_FROM} NULLS FIRST"] if self.ordered and self.versioned else []
        return [TIME, *known, *(f"window_tie{i} NULLS FIRST" for i in range(len(self.ties)))]

    def events(self, low: int, high: int) -> str:
        """Return SQL of the events that observations from `low` to `high` (µs) can reach."""
        source = self.versions(relation(self.view.relation))
        taken = [TIME, *((KNOWN_FROM, KNOWN_UNTIL) if self.as_known else ()), *self.inputs, *self.masks()]
        return (
            f"SELECT k.code AS key, {', '.join('e.' + quote(name) for name in taken)} FROM ({source}) AS e "
            f"JOIN {KEYS} AS k ON {_matched('e.window_k', len(self.keys))} WHERE {self._reach(low, high)} "
            f"ORDER BY key, {', '.join(self.order)}"
        )

    def _time(self, column: str) -> str:
        return fact_time(quote(column), self.have[column])

    def masks(self) -> dict[str, str]:
        """Return SQL of each filter, by the name of its column."""
        masks: dict[str, str] = {}
        for window in self.windows:
            name = mask_column(window)
            if name is None:
                continue
            parts = [f"({window.where})"] if window.where else []
            if window.bucket:
                parts.append(f"CAST({quote(window.bucket[0])} AS VARCHAR) = {literal(window.bucket[1])}")
            masks[name] = f"coalesce({' AND '.join(parts)}, false)"
        return masks

    def _reach(self, low: int, high: int) -> str:
        parts = [f"e.{TIME} < make_timestamptz({high})"]
        if all(one.window_us is not None for one in self.windows):
            begin = low - max((one.window_us or 0 for one in self.windows), default=0)
            if begin > EARLIEST:
                parts.append(f"e.{TIME} >= make_timestamptz({begin})")
        if self.as_known:
            parts.append(f"(e.{KNOWN_FROM} IS NULL OR e.{KNOWN_FROM} <= make_timestamptz({high}))")
        elif self.versioned:
            parts.append(f"e.{KNOWN_UNTIL} IS NULL")
        return " AND ".join(parts)


def _extent(connection: Any, spine: str) -> tuple[Any, int, int]:
    rows = connection.execute(f"SELECT row FROM ({spine}) AS s ORDER BY row").to_arrow_table()["row"]
    low, high = connection.execute(f"SELECT epoch_us(min(t)), epoch_us(max(t)) FROM ({spine}) AS s").fetchone()
    return np.asarray(rows.combine_chunks()).astype(np.int64), low, high


def _make_keys(connection: Any, spine: str, count: int) -> None:
    names = [f"k{i}" for i in range(count)]
    if not names:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {KEYS} AS SELECT 0::INTEGER AS code")
        return
    listed = ", ".join(names)
    known = " AND ".join(f"{name} IS NOT NULL" for name in names)
    # A dense code is cheaper to sort by than the keys, and the join drops what the spine does not ask for.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {KEYS} AS SELECT {listed}, (row_number() OVER () - 1)::INTEGER AS code "
        f"FROM (SELECT DISTINCT {listed} FROM ({spine}) AS s WHERE {known})"
    )


def _observations(connection: Any, spine: str, count: int, rows: Any) -> pa.Table:
    table = connection.execute(
        f"SELECT coalesce(k.code, -1) AS key, s.t, s.row FROM ({spine}) AS s "
        f"LEFT JOIN {KEYS} AS k ON {_matched('s.k', count)} "
        "ORDER BY key, t"
    ).to_arrow_table()
    if len(rows) and rows[-1] == len(rows) - 1:
        return table
    places = np.searchsorted(rows, np.asarray(table["row"].combine_chunks()))
    return table.set_column(table.column_names.index("row"), "row", pa.array(places))


def _matched(prefix: str, count: int) -> str:
    return " AND ".join(f"{prefix}{i} = k.k{i}" for i in range(count)) or "true"
