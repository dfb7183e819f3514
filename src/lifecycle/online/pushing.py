"""
Pushing events to a window view: each version once, in force from the write that makes it readable.

Beside a key's events it is noted that some of them were pushed, so that a release finds them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.engine.session import require
from lifecycle.engine.windows.prepare import EventQuery
from lifecycle.errors import UsageError
from lifecycle.names import quote
from lifecycle.online.backend import CLOCK
from lifecycle.online.events import EVENT_COLUMN, RETRACTED_COLUMN, EventCodec
from lifecycle.online.store import PUSHED, Clock, moved
from lifecycle.online.versions import accepted, taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.definitions import View
    from lifecycle.online.backend import Changes, Found
    from lifecycle.online.lots import Lot
    from lifecycle.online.store import OnlineStore, Space

RETRACTED = "retracted"
Told = dict[bytes, tuple[bytes, list["Lot"]]]
"""By key: what the store notes of it (its values as text), and versions to take in, one lot after another."""
_NUMBER, _LABEL = "window_number", "window_label"


def push_events(store: OnlineStore, connection: Any, view: View, events: pa.Table, at: int) -> int:
    """
    Write events of a window view's relation as known from `at` (microseconds) on; return how many were no repeats.

    connection: DuckDB, which works out the windows' filters by the same SQL as for a release. events: the relation's
    columns that the view reads, with those of its `event_id`; its known times are left out. They can be read when this
    returns. The same version again (all that the windows read of it is the same) changes nothing; another version of
    an event that the key has supersedes it from `at` on; a row whose column `retracted` is true takes it back. Of
    versions in one call the tie-break decides, where its columns are among them. An event whose id is NULL, or that of
    a view without `event_id`, counts each time. Raises UsageError for a view without windows, for one that the store
    does not hold, and for a retraction without an id.
    """
    if not view.windows:
        raise UsageError(f"view {view.name!r} has no windows: its rows are written with `put`.")
    codec = EventCodec(view)
    table = _versions(connection, view, events)
    written = None
    while written is None:
        version, catalog = store.catalog()
        serving = store.serving(view, codec.schema, catalog)
        loading = catalog.of(view.name).loading
        spaces = [serving, *([loading] if loading is not None and loading.schema == serving.schema else [])]
        counts = []
        for space in spaces:
            told = _told(codec, table, space, at)
            counts.append(add_events(store, codec, space, told, fresh=accepted, at=at, version=version))
        written = None if None in counts else counts[0]
    return written


def add_events(
    store: OnlineStore,
    codec: EventCodec,
    space: Space,
    told: Told,
    *,
    fresh: Callable[[Lot, Lot], Lot],
    at: int | None = None,
    version: int | None = None,
) -> int | None:
    """
    Take versions into what keys have, move the high-water mark up to `at`, and return how many were taken in.

    fresh: gives those of told versions (second) that a key (first) is to take in. version: the catalog's, by which the
    space was chosen; None, and nothing written, if it has changed.
    """
    count: int | None = 0

    def decide(found: Found) -> Changes:
        nonlocal count
        clock = Clock.from_bytes(found[-1])
        if version is not None and clock.version != version:
            count = None
            return []
        made: Changes = []
        notes: Changes = []
        taken_in = 0
        for (key, (label, lots)), old in zip(told.items(), found, strict=False):
            before = whole = codec.nothing if old is None else codec.decode_lot(old)
            for lot in lots:
                new = fresh(whole, lot)
                if len(new):
                    whole = taken(whole, new)
                    taken_in += len(new)
            if whole is not before:
                whole = codec.trimmed(whole, clock.floor)
                release = 0 if old is None else codec.origin(old)[1]
                made.append((key, codec.encode(whole, space.epoch, release)))
            if whole.pushed.any():
                notes.append((PUSHED + key, label))
        # Where another writer came between, a part may be there already: it was taken in all the same.
        count = max(count or 0, taken_in)
        return [*made, *notes, *moved(clock, at)]

    store.backend.change([*told, CLOCK], decide)
    return count


def event_number(view: View) -> str:
    """Return SQL of 63 bits of hash of an event's id, NULL where it has none."""
    if not view.event_id:
        return "NULL::BIGINT"
    text = " || chr(31) || ".join(f"CAST({quote(name)} AS VARCHAR)" for name in view.event_id)
    return f"(md5_number({text}) & {2**63 - 1})::BIGINT"


def _versions(connection: Any, view: View, events: pa.Table) -> pa.Table:
    """Return the pushed rows in the order of keys, with their events and their numbers among versions of one."""
    events = events.drop_columns([name for name in ("known_from", "known_until") if name in events.column_names])
    connection.register("pushed_events", events)
    try:
        described = connection.execute("SELECT column_name, column_type FROM (DESCRIBE pushed_events)").fetchall()
        have = dict(described)
        require(view.event_id, have, "the pushed events", f"view {view.name!r}, to know events again,")
        query = EventQuery(view, view.windows, have, "as_known")
        ranks = [quote(name) for name in view.tie_break if name in have]
        texts = ", ".join(f"CAST({quote(key)} AS VARCHAR)" for key in query.keys)
        also = [f"{event_number(view)} AS {EVENT_COLUMN}", f"[{texts}]::VARCHAR[] AS {_LABEL}"]
        also += [f"{name} AS window_rank{i}" for i, name in enumerate(ranks)]
        if RETRACTED in have:
            also.append(f"CAST({quote(RETRACTED)} AS BOOLEAN) AS {RETRACTED_COLUMN}")
        source = query.versions("pushed_events", also)
        names = [f"window_k{i}" for i in range(len(query.keys))]
        kept = " AND ".join(f"{name} IS NOT NULL" for name in names) or "true"
        # What the tie-break leaves open the content decides, never the order in which rows came.
        order = ", ".join([*(f"window_rank{i} NULLS FIRST" for i in range(len(ranks))), "e"])
        number = f"row_number() OVER (PARTITION BY {', '.join([*names, EVENT_COLUMN])} ORDER BY {order})"
        table: pa.Table = connection.execute(
            f"SELECT *, CASE WHEN {EVENT_COLUMN} IS NULL THEN 1 ELSE {number} END AS {_NUMBER} "
            f"FROM ({source}) AS e WHERE {kept} ORDER BY {', '.join([*names, *query.order])}"
        ).to_arrow_table()
    finally:
        connection.unregister("pushed_events")
    if RETRACTED in have:
        retracted = pc.fill_null(table[RETRACTED_COLUMN], False)  # noqa: FBT003
        if pc.any(pc.and_(retracted, pc.is_null(table[EVENT_COLUMN]))).as_py():
            raise UsageError(
                f"a retraction pushed to view {view.name!r} says no event: give the columns of the view's event_id "
                f"({', '.join(view.event_id) or 'it has none: declare event_id on its source'})."
            )
    return table


def _told(codec: EventCodec, table: pa.Table, space: Space, at: int) -> Told:
    """Return the pushed rows by the space's keys: of each event one version after another."""
    told: Told = {}
    for number in range(1, (pc.max(table[_NUMBER]).as_py() or 0) + 1):
        batches = table.filter(pc.equal(table[_NUMBER], number)).combine_chunks().to_batches()
        labels: dict[bytes, list[str]] = {}
        for batch in batches:
            keys = codec.encoded(batch, space.prefix)
            labels |= zip(keys, batch.column(_LABEL).to_pylist(), strict=True)
        for key, lot in codec.by_key(batches, space.prefix, -(2**62), pushed=at):
            told.setdefault(key, (msgspec.msgpack.encode(labels[key]), []))[1].append(lot)
    return told
