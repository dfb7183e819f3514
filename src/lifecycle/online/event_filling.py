"""
Filling a window view: each key's events of a release, with what was pushed since kept beside them.

A release's events take the place of those a key had. A pushed event stays until a release has it, or until it can be
awaited no longer (`versions.awaited`), whether or not the release changed its key: the store notes which keys have
pushed events.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from lifecycle.engine.session import columns
from lifecycle.engine.windows.prepare import EventQuery
from lifecycle.lake.feed import changes
from lifecycle.names import quote, relation
from lifecycle.online.events import EVENT_COLUMN, EventCodec
from lifecycle.online.filling import BATCH_ROWS, Progress, progress_key
from lifecycle.online.pushing import add_events, event_number
from lifecycle.online.store import PUSHED
from lifecycle.online.versions import awaited, remembered, taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lifecycle.online.backend import Changes, Found
    from lifecycle.online.lots import Lot
    from lifecycle.online.pushing import Told
    from lifecycle.online.store import OnlineStore, Space

CHANGED, TOUCHED = "changed_keys", "touched_keys"
_KEYS_AT_ONCE = 2_000
Lots = list[tuple[bytes, "Lot"]]


@dataclass
class EventFilling:
    """
    One window view's way from a release into a space; the counterpart of `Filling`.

    at: the release's time. complete: up to when the release has all facts of the view. Both in microseconds.
    """

    store: OnlineStore
    connection: Any
    codec: EventCodec
    space: Space
    release: int
    at: int
    complete: int
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
                    self._replace(fresh, records, self.at)
                self.said(f"{self.space.view}: {progress.keys:,} keys")
            self._carry(serving)
            progress = Progress(progress.last, progress.keys, complete=True)
            self.store.backend.change([], lambda _: [(record, msgspec.msgpack.encode(progress))])
        return progress.keys

    def update(self, since: int, until: int) -> int:
        """Write the keys whose events differ between an earlier snapshot and the release's; return their number."""
        floor = min(self.at, self.store.clock().floor)
        changed = self._find_changed(since, until)
        there: set[bytes] = set()
        for lots in _together(self._lots(floor, changed=True)):
            self._replace(lots, [], floor)
            there |= {key for key, _ in lots}
            self.said(f"{self.space.view}: {len(there):,} changed keys")
        gone = [(key, self.codec.nothing) for key in changed if key not in there]
        for start in range(0, len(gone), _KEYS_AT_ONCE):
            self._replace(gone[start : start + _KEYS_AT_ONCE], [], floor)
        return len(there)

    def _entry(self, lot: Lot) -> bytes:
        return self.codec.encode(lot, self.space.epoch, self.release)

    def _replace(self, lots: Lots, records: list[tuple[bytes, bytes]], floor: int) -> None:
        """Put these events in the place of those the keys have, but for what was pushed and is still awaited."""

        def decide(found: Found) -> Changes:
            made: Changes = []
            notes: Changes = []
            for (key, lot), old in zip(lots, found, strict=True):
                whole = lot
                if old is not None and self.codec.origin(old)[0]:
                    whole = self._with_awaited(lot, self.codec.decode_lot(old), floor)
                    if not whole.pushed.any():
                        notes.append((PUSHED + key, None))
                made.append((key, self._entry(whole) if len(whole) or len(whole.past) else None))
            return [*made, *notes, *records]

        self.store.backend.change([key for key, _ in lots], decide)

    def _with_awaited(self, lot: Lot, old: Lot, floor: int) -> Lot:
        told = awaited(old, lot, self.complete)
        if not len(told) and not len(lot):
            return lot
        return self.codec.trimmed(remembered(taken(lot, told), old.past), floor)

    def _carry(self, serving: Space | None) -> None:
        """Take what was pushed and is still awaited over from the served space."""
        if serving is None or serving.schema != self.space.schema:
            return
        noted = list(self.store.backend.scan(PUSHED + serving.prefix))
        for start in range(0, len(noted), _KEYS_AT_ONCE):
            labels = {key.removeprefix(PUSHED): label for key, label in noted[start : start + _KEYS_AT_ONCE]}
            told: Told = {}
            for (key, label), entry in zip(labels.items(), self.store.backend.read(list(labels)), strict=True):
                if entry is not None:
                    moved = self.space.prefix + key[len(serving.prefix) :]
                    told[moved] = (label, [self.codec.decode_lot(entry)])
            add_events(self.store, self.codec, self.space, told, fresh=self._awaited)

    def _awaited(self, held: Lot, old: Lot) -> Lot:
        return awaited(old, held, self.complete)

    def _query(self) -> EventQuery:
        view = self.codec.view
        return EventQuery(view, view.windows, columns(self.connection, view.relation), "as_known")

    def _lots(self, floor: int, *, changed: bool = False) -> Iterator[tuple[bytes, Lot]]:
        """Return each key's events that a read from `floor` (microseconds) on may need, in key order."""
        query = self._query()
        ids = [f"{event_number(self.codec.view)} AS {EVENT_COLUMN}"] if self.codec.view.event_id else []
        source = query.versions(relation(self.codec.view.relation), ids)
        names = [f"window_k{i}" for i in range(len(query.keys))]
        kept = " AND ".join(f"{name} IS NOT NULL" for name in names) or "true"
        only = f" SEMI JOIN {CHANGED} USING ({', '.join(names)})" if changed and names else ""
        statement = f"SELECT * FROM ({source}) AS e{only} WHERE {kept} "
        statement += f"ORDER BY {', '.join([*self._sorted(names), *query.order])}"
        batches = self._cursor.execute(statement).to_arrow_reader(BATCH_ROWS)
        yield from self.codec.by_key(batches, self.space.prefix, floor)

    def _sorted(self, names: Sequence[str]) -> list[str]:
        types = [field.dtype for field in self.codec.view.keys]
        # An ENUM sorts by its declaration, the store by its text.
        return [
            f"CAST({name} AS VARCHAR)" if dtype.startswith("ENUM") else name
            for name, dtype in zip(names, types, strict=True)
        ]

    def _find_changed(self, since: int, until: int) -> list[bytes]:
        """Write the keys whose events differ, or were pushed, into a temporary table; return them as the store does."""
        query = self._query()
        ids = [f"{quote(name)} AS window_id{i}" for i, name in enumerate(self.codec.view.event_id)]
        names = [f"window_k{i}" for i in range(len(query.keys))]
        listed = ", ".join(names) or "true AS any"
        kept = " AND ".join(f"{name} IS NOT NULL" for name in names) or "true"
        name = relation(self.codec.view.relation)
        new, old = query.versions(name, ids), query.versions(f"{name} AT (VERSION => {int(since)})", ids)
        fed = changes(self.connection, self.codec.view.relation, since, until) if names else None
        if fed is not None:
            self._cursor.execute(f"CREATE OR REPLACE TEMP TABLE {TOUCHED} ({', '.join(names)}) AS {fed.of(query.keys)}")
            new, old = (f"SELECT e.* FROM ({one}) AS e SEMI JOIN {TOUCHED} USING ({listed})" for one in (new, old))
        self._cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE {CHANGED} AS SELECT DISTINCT {listed} FROM "
            f"((({new}) EXCEPT ALL ({old})) UNION ALL (({old}) EXCEPT ALL ({new}))) WHERE {kept}"
        )
        pushed = self._add_pushed()
        table = self._cursor.execute(f"FROM {CHANGED}").to_arrow_table().combine_chunks()
        keys = [table.column(name).combine_chunks() for name in names]
        changed = self.codec.keys.encode(keys, self.space.prefix, min(len(table), 1) if not names else len(table))
        return list(dict.fromkeys([*changed, *pushed]))

    def _add_pushed(self) -> list[bytes]:
        """Add the keys that have pushed events to the changed ones, and return them."""
        noted = list(self.store.backend.scan(PUSHED + self.space.prefix))
        if noted:
            labels = [msgspec.msgpack.decode(label, type=list[str]) for _, label in noted]
            table = pa.table({"label": pa.array(labels, pa.list_(pa.string()))})
            types = [field.dtype for field in self.codec.keys.fields]
            values = [f"TRY_CAST(label[{at}] AS {dtype})" for at, dtype in enumerate(types, 1)] or ["true"]
            self._cursor.register("noted_keys", table)
            listed = f"SELECT DISTINCT {', '.join(values)} FROM noted_keys"
            self._cursor.execute(f"INSERT INTO {CHANGED} SELECT * FROM ({listed}) WHERE COLUMNS(*) IS NOT NULL")
            self._cursor.unregister("noted_keys")
        return [key.removeprefix(PUSHED) for key, _ in noted]


def _together(lots: Iterator[tuple[bytes, Lot]]) -> Iterator[Lots]:
    held: Lots = []
    for one in lots:
        held.append(one)
        if len(held) == _KEYS_AT_ONCE:
            yield held
            held = []
    if held:
        yield held
