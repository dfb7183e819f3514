"""
Filling a window view: each key's events of a release, with what was pushed since kept beside them.

A release's events take the place of those a key had; a pushed event stays until a release is filled whose time is
later than when it became known, for that release has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from lifecycle.engine.session import columns
from lifecycle.engine.windows.prepare import EventQuery
from lifecycle.errors import UsageError
from lifecycle.names import quote, relation
from lifecycle.online.backend import CLOCK
from lifecycle.online.events import EventCodec
from lifecycle.online.filling import BATCH_ROWS, Progress, progress_key
from lifecycle.online.store import Clock, moved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lifecycle.definitions import View
    from lifecycle.online.backend import Changes, Found
    from lifecycle.online.events import Lot
    from lifecycle.online.store import OnlineStore, Space

CHANGED = "changed_keys"
_KEYS_AT_ONCE = 2_000
Lots = list[tuple[bytes, "Lot"]]


@dataclass
class EventFilling:
    """One window view's way from a release into a space; the counterpart of `Filling`."""

    store: OnlineStore
    connection: Any
    codec: EventCodec
    space: Space
    release: int
    at: int
    said: Callable[[str], None]

    @cached_property
    def _cursor(self) -> Any:
        """The connection's own cursor: a temporary table is seen by it alone."""
        cursor = self.connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor

    def load(self, serving: Space | None) -> int:
        """Load the space in key order and return its keys; go on where a dead run left it."""
        record = progress_key(self.space)
        left = self.store.backend.read([record])[0]
        progress = msgspec.msgpack.decode(left, type=Progress) if left else Progress()
        if not progress.complete:
            for lots in _together(self._lots(self.at)):
                fresh = [one for one in lots if one[0] > progress.last]
                if not fresh:
                    continue
                progress = Progress(fresh[-1][0], progress.keys + len(fresh))
                items = [(key, self._entry(lot)) for key, lot in fresh]
                records = [(record, msgspec.msgpack.encode(progress))]
                if not self.store.backend.load(items, records):
                    self._replace(fresh, records)
                self.said(f"{self.space.view}: {progress.keys:,} keys")
            self._carry(serving)
            progress = Progress(progress.last, progress.keys, complete=True)
            self.store.backend.change([], lambda _: [(record, msgspec.msgpack.encode(progress))])
        return progress.keys

    def update(self, snapshot: int) -> int:
        """Write the keys whose events differ from those of an earlier snapshot; return their number."""
        floor = min(self.at, self.store.clock().floor)
        changed = self._find_changed(snapshot)
        count = 0
        for lots in _together(self._lots(floor, changed=True)):
            self._replace(lots, [])
            count += len(lots)
            self.said(f"{self.space.view}: {count:,} changed keys")
        self._replace_erased(changed)
        return count

    def _entry(self, lot: Lot) -> bytes:
        return self.codec.encode(lot, self.space.epoch, self.release)

    def _replace(self, lots: Lots, records: list[tuple[bytes, bytes]]) -> None:
        """Put these events in the place of those the keys have, but for what was pushed since."""

        def decide(found: Found) -> Changes:
            made: Changes = []
            for (key, lot), old in zip(lots, found, strict=True):
                whole = lot
                if old is not None and self.codec.origin(old)[0]:
                    whole = lot.with_(self.codec.decode_lot(old).since(self.at))
                made.append((key, self._entry(whole) if len(whole.times) else None))
            return [*made, *records]

        self.store.backend.change([key for key, _ in lots], decide)

    def _carry(self, serving: Space | None) -> None:
        """Take what was pushed after the release's time over from the served space."""
        if serving is None or serving.schema != self.space.schema:
            return
        found: Lots = []
        for key, entry in self.store.backend.scan(serving.prefix):
            if self.codec.origin(entry)[0]:
                pushed = self.codec.decode_lot(entry).since(self.at)
                if len(pushed.times):
                    found.append((self.space.prefix + key[len(serving.prefix) :], pushed))
        for start in range(0, len(found), _KEYS_AT_ONCE):
            add_events(self.store, self.codec, self.space, self.release, found[start : start + _KEYS_AT_ONCE])

    def _query(self) -> EventQuery:
        view = self.codec.view
        return EventQuery(view, view.windows, columns(self.connection, view.relation), "as_known")

    def _versions(self, query: EventQuery, snapshot: int | None = None) -> tuple[str, list[Any]]:
        pinned = f" AT (VERSION => {int(snapshot)})" if snapshot is not None else ""
        return query.versions(relation(self.codec.view.relation) + pinned)

    def _lots(self, floor: int, *, changed: bool = False) -> Iterator[tuple[bytes, Lot]]:
        """Return each key's events that a read from `floor` (microseconds) on may need, in key order."""
        query = self._query()
        source, parameters = self._versions(query)
        names = [f"window_k{i}" for i in range(len(query.keys))]
        kept = " AND ".join(f"{name} IS NOT NULL" for name in names) or "true"
        only = f" SEMI JOIN {CHANGED} USING ({', '.join(names)})" if changed and names else ""
        statement = f"SELECT * FROM ({source}) AS e{only} WHERE {kept} "
        statement += f"ORDER BY {', '.join([*self._sorted(names), *query.order])}"
        yield from by_key(
            self._cursor.execute(statement, parameters).to_arrow_reader(BATCH_ROWS),
            self.codec,
            self.space.prefix,
            floor,
        )

    def _sorted(self, names: Sequence[str]) -> list[str]:
        types = [field.dtype for field in self.codec.view.keys]
        # An ENUM sorts by its declaration, the store by its text.
        return [
            f"CAST({name} AS VARCHAR)" if dtype.startswith("ENUM") else name
            for name, dtype in zip(names, types, strict=True)
        ]

    def _find_changed(self, snapshot: int) -> list[bytes]:
        """Write the keys whose events differ into a temporary table; return them as the store has them."""
        query = self._query()
        new, parameters = self._versions(query)
        old, _ = self._versions(query, snapshot)
        names = [f"window_k{i}" for i in range(len(query.keys))]
        listed = ", ".join(names) or "true AS any"
        kept = " AND ".join(f"{name} IS NOT NULL" for name in names) or "true"
        self._cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE {CHANGED} AS SELECT DISTINCT {listed} FROM "
            f"((({new}) EXCEPT ALL ({old})) UNION ALL (({old}) EXCEPT ALL ({new}))) WHERE {kept}",
            parameters * 4,
        )
        table = self._cursor.execute(f"FROM {CHANGED}").to_arrow_table().combine_chunks()
        keys = [table.column(name).combine_chunks() for name in names]
        return self.codec.keys.encode(keys, self.space.prefix, min(len(table), 1) if not names else len(table))

    def _replace_erased(self, changed: list[bytes]) -> None:
        """Take away the events of changed keys that the release has none of, but for what was pushed since."""
        there = {key for key, _ in self._lots(self.at, changed=True)}
        gone = [key for key in changed if key not in there]
        empty = self.codec.lot(self._no_events())
        for start in range(0, len(gone), _KEYS_AT_ONCE):
            self._replace([(key, empty) for key in gone[start : start + _KEYS_AT_ONCE]], [])

    def _no_events(self) -> pa.Table:
        source, parameters = self._versions(self._query())
        return self._cursor.execute(f"SELECT * FROM ({source}) LIMIT 0", parameters).to_arrow_table()


def by_key(
    batches: Any, codec: EventCodec, prefix: bytes, floor: int, *, pushed: int | None = None
) -> Iterator[tuple[bytes, Lot]]:
    """Return each key's events from batches sorted by key, without those that no read from `floor` on needs."""
    held: tuple[bytes, Lot] | None = None
    for batch in batches:
        keys = [batch.column(f"window_k{i}") for i in range(len(codec.view.join_keys))]
        encoded = codec.keys.encode([_plain(key) for key in keys], prefix, batch.num_rows)
        lot = codec.lot(batch, pushed=pushed)
        start = 0
        for end in range(1, len(encoded) + 1):
            if end < len(encoded) and encoded[end] == encoded[start]:
                continue
            one = (encoded[start], lot.take(slice(start, end)))
            if held is not None and held[0] == one[0]:
                one = (one[0], held[1].with_(one[1]))
            elif held is not None:
                yield from _needed(held, codec, floor)
            held, start = one, end
    if held is not None:
        yield from _needed(held, codec, floor)


def add_events(
    store: OnlineStore,
    codec: EventCodec,
    space: Space,
    release: int,
    lots: Lots,
    *,
    at: int | None = None,
    version: int | None = None,
) -> bool:
    """
    Merge events into what keys have, and move the high-water mark up to `at`.

    version: the catalog's, by which the space was chosen; False, and nothing written, if it has changed.
    """
    done = True

    def decide(found: Found) -> Changes:
        nonlocal done
        clock = Clock.from_bytes(found[-1])
        done = version is None or clock.version == version
        if not done:
            return []
        made: Changes = []
        for (key, lot), old in zip(lots, found, strict=False):
            whole, number = lot, release
            if old is not None:
                known = codec.decode_lot(old)
                number = codec.origin(old)[1]
                whole = codec.trimmed(known, clock.floor).with_(lot)
            made.append((key, codec.encode(whole, space.epoch, number)))
        return [*made, *moved(clock, at)]

    store.backend.change([*(key for key, _ in lots), CLOCK], decide)
    return done


def push_events(store: OnlineStore, connection: Any, view: View, events: pa.Table, at: int) -> int:
    """
    Write events of a window view's relation as known from `at` (microseconds) on; return how many.

    connection: DuckDB, which works out the windows' filters by the same SQL as for a release. events: the relation's
    columns that the view reads; its known times are left out. They can be read when this returns. Push each event
    once: the store keeps no ids, so an event pushed again, or one that the served release has, counts again until the
    next release is filled in, and amendments and retractions come with a release. Raises UsageError for a view
    without windows, or one that the store does not hold.
    """
    if not view.windows:
        raise UsageError(f"view {view.name!r} has no windows: its rows are written with `put`.")
    codec = EventCodec(view)
    events = events.drop_columns([name for name in ("known_from", "known_until") if name in events.column_names])
    connection.register("pushed_events", events)
    try:
        described = connection.execute("SELECT column_name, column_type FROM (DESCRIBE pushed_events)").fetchall()
        query = EventQuery(view, view.windows, dict(described), "as_known")
        source, parameters = query.versions("pushed_events")
        names = [quote(f"window_k{i}") for i in range(len(query.keys))]
        kept = " AND ".join(f"{name} IS NOT NULL" for name in names) or "true"
        order = ", ".join([*names, *query.order])
        table = connection.execute(f"SELECT * FROM ({source}) WHERE {kept} ORDER BY {order}", parameters)
        batches = table.to_arrow_table().combine_chunks().to_batches()
    finally:
        connection.unregister("pushed_events")
    written = False
    while not written:
        version, catalog = store.catalog()
        serving = store.serving(view, codec.schema, catalog)
        loading = catalog.of(view.name).loading
        spaces = [serving, *([loading] if loading is not None and loading.schema == serving.schema else [])]
        for space in spaces:
            lots = list(by_key(batches, codec, space.prefix, -(2**62), pushed=at))
            written = add_events(store, codec, space, 0, lots, at=at, version=version)
            if not written:
                break
    return sum(batch.num_rows for batch in batches)


def _needed(one: tuple[bytes, Lot], codec: EventCodec, floor: int) -> Iterator[tuple[bytes, Lot]]:
    lot = codec.trimmed(one[1], floor)
    if len(lot.times):
        yield one[0], lot


def _together(lots: Iterator[tuple[bytes, Lot]]) -> Iterator[Lots]:
    held: Lots = []
    for one in lots:
        held.append(one)
        if len(held) == _KEYS_AT_ONCE:
            yield held
            held = []
    if held:
        yield held


def _plain(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
