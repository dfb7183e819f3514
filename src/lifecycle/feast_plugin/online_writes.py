"""What Feast writes, row by row or as Arrow, as columns for the store to pack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.feast_plugin.online_values import column_of, key_values, plain_column
from lifecycle.online.codec import Columns
from lifecycle.times import to_microseconds

if TYPE_CHECKING:
    from lifecycle.feast_plugin.online_tables import Table

Written = list[tuple[Any, dict[str, Any], Any, Any]]


def columns_of_rows(held: Table, data: Written) -> Columns:
    """Return Feast's rows as columns to pack."""
    view = held.view
    now = time.time_ns() // 1000
    given = [tuple(key_values(view, key)) if view.keys else () for key, *_ in data]
    events = [to_microseconds(event) for _, _, event, _ in data]
    # pandas' NULL time differs from itself.
    created = [None if one is None or one != one else to_microseconds(one) for *_, one in data]  # noqa: PLR0124
    # Rows without a created time count in the order in which they are written, in one call as in several calls: of
    # one key and event time the last replaces those before it.
    rows = enumerate(zip(given, events, created, strict=True))
    last = {(key, event, None if known is None else at): at for at, (key, event, known) in rows}
    if len(last) < len(data):
        kept = sorted(last.values())
        given, events = [given[at] for at in kept], [events[at] for at in kept]
        created, data = [created[at] for at in kept], [data[at] for at in kept]
    keys = list(zip(*given, strict=True)) if view.keys else []
    features = []
    missing = held.missing
    for field in view.features:
        if field.name not in held.kinds:
            features.append(pa.nulls(len(data), held.types[field.name]))
            continue
        values = [row.get(field.name, missing) for _, row, *_ in data]
        who = f"feature {view.name}:{field.name}"
        features.append(column_of(values, field.dtype, held.kinds[field.name], who))
    known = [now if one is None else min(one, now) for one in created]
    times = pa.timestamp("us", "UTC")
    return Columns(
        keys=[plain_column(list(values), field.dtype) for values, field in zip(keys, view.keys, strict=True)],
        features=features,
        event=pa.array(events, pa.int64()).cast(times),
        known=pa.array(known, pa.int64()).cast(times),
    )


def columns_of_batch(held: Table, batch: pa.RecordBatch, timestamp: str, created: str | None, now: int) -> Columns:
    """Return an Arrow batch as columns to pack; rows with a NULL key or time are left out. `now`: microseconds."""
    needed = [entity for entity, _ in held.view.join_keys] + [timestamp]
    for name in needed:
        if batch.column(name).null_count:
            batch = batch.filter(batch.column(name).is_valid())
    times = pa.timestamp("us", "UTC")
    latest = pa.scalar(now, pa.int64())

    def moment(name: str) -> pa.Array:
        column = batch.column(name)
        if not pa.types.is_timestamp(column.type):
            return plain_column(column.to_pylist(), "TIMESTAMP WITH TIME ZONE")
        return column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(times)

    known = pc.min_element_wise(moment(created).cast(pa.int64()), latest) if created else pa.repeat(latest, len(batch))
    return Columns(
        keys=[
            held.arrow(batch.column(entity), field.name)
            for (entity, _), field in zip(held.view.join_keys, held.view.keys, strict=True)
        ],
        features=[
            held.arrow(batch.column(field.name), field.name)
            if field.name in held.kinds
            else pa.nulls(len(batch), held.types[field.name])
            for field in held.view.features
        ],
        event=moment(timestamp),
        known=known.cast(times),
    )
