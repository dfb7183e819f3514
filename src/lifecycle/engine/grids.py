"""
Making spines: every row of a mart, a monthly grid, samples with weights, and splits in time.

Queries come back as SQL text, so that a receipt can name them; samples and splits as Arrow tables.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.engine.settle import facts
from lifecycle.engine.spines import TIME, observation_times, time_column
from lifecycle.errors import UsageError, unknown
from lifecycle.names import literal, quote, quote_all, relation
from lifecycle.times import MICROSECOND, iso, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from lifecycle.definitions import KnownTime
    from lifecycle.engine.selection import Selection

WEIGHT = "weight"


def every_row(
    name: str,
    keys: Sequence[str],
    time: str = TIME,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    where: str = "true",
) -> str:
    """
    Return SQL of one spine row per row of relation `name`.

    It selects the keys and `time` as `event_timestamp`, in time's order.

    start, end: observation times in [start, end). where: an SQL condition on the relation's columns.
    """
    at = f"CAST({quote(time)} AS TIMESTAMPTZ)"
    conditions = [f"({where})", f"{at} IS NOT NULL", *_between(at, start, end)]
    return (
        f"SELECT {quote_all(keys)}, {at} AS {quote(TIME)} FROM {relation(name)} "
        f"WHERE {' AND '.join(conditions)} ORDER BY {quote(TIME)}, {quote_all(keys)}"
    )


def monthly(name: str, key: str, time: str = TIME, *, start: datetime, end: datetime) -> str:
    """
    Return SQL of one row per key and month, at the firsts of months (UTC) in [start, end).

    A key begins with the month after its first row in relation `name`.
    """
    at = f"CAST({quote(time)} AS TIMESTAMPTZ)"
    months = (
        f"SELECT unnest(generate_series(date_trunc('month', TIMESTAMPTZ {literal(iso(start))}), "
        f"TIMESTAMPTZ {literal(iso(end))}, INTERVAL 1 MONTH)) AS month"
    )
    return (
        f"SELECT {quote(key)}, month AS {quote(TIME)} "
        f"FROM (SELECT {quote(key)}, min({at}) AS first FROM {relation(name)} "
        f"WHERE {quote(key)} IS NOT NULL GROUP BY ALL), ({months}) "
        f"WHERE month > first AND {' AND '.join(_between('month', start, end))} "
        f"ORDER BY {quote(TIME)}, {quote(key)}"
    )


def between_dates(
    connection: Any, selections: Iterable[Selection], known_time: KnownTime, start: datetime, end: datetime
) -> str:
    """
    Return SQL of (event_timestamp, keys) for each moment in [start, end] at which a view's state changed.

    This is the spine of a frame asked for by dates alone. As known, a row changes the state once it is both true
    and known; by event time alone ("feast"), once it is true. Keys that a view lacks are NULL in its rows. In
    order of time, then keys.
    """
    chosen = list(selections)
    names = list(dict.fromkeys(key for one in chosen for key in one.spine_keys))
    parts = []
    for one in chosen:
        of = facts(connection, one.view)
        moment = of.visible if known_time == "as_known" else of.first
        own = dict(zip(one.spine_keys, of.keys, strict=True))
        listed = [f"{quote(own[name]) if name in own else 'NULL'} AS {quote(name)}" for name in names]
        span = f"{moment} BETWEEN TIMESTAMPTZ {literal(iso(start))} AND TIMESTAMPTZ {literal(iso(end))}"
        columns = ", ".join([f"{moment} AS {quote(TIME)}", *listed])
        parts.append(f"SELECT {columns} FROM {of.relation} WHERE {of.usable} AND {span}")
    if not parts:
        raise UsageError("no view is asked for, so there are no moments between the dates. Name features.")
    return f"SELECT DISTINCT * FROM ({' UNION ALL '.join(parts)}) ORDER BY ALL"


def sample(table: pa.Table, by: str, rates: Mapping[Any, float], *, keys: Sequence[str], seed: int = 0) -> pa.Table:
    """
    Keep each row with the probability of its value in column `by`, and say so in a DOUBLE column `weight`.

    by: usually a label's column. rates: probability in (0, 1] per value; every value present needs one.
    keys: columns that, with the time column, decide by a hash whether a row stays: the same row stays in every
    sample of the same seed, whatever else is in the table. weight is 1 / probability.
    """
    for name in (by, *keys):
        if name not in table.column_names:
            raise unknown("column of the table to sample", name, table.column_names)
    if WEIGHT in table.column_names:
        raise UsageError(f"the table already has a column {WEIGHT!r}. Rename it before sampling.")
    for value, rate in rates.items():
        if not 0 < rate <= 1:
            raise UsageError(f"the rate of {value!r} is {rate}; a probability lies above 0 and is at most 1.")
    values = table[by].to_pylist()
    missing = sorted({str(value) for value in values if value not in rates})
    if missing:
        raise UsageError(f"column {by!r} has values without a rate: {', '.join(missing)}. Give each one a rate.")
    chance = np.array([rates[value] for value in values], dtype=np.float64)
    kept = _uniform(table, keys, seed) < chance
    weighted = table.append_column(WEIGHT, pa.array(1.0 / chance, pa.float64()))
    return weighted.filter(pa.array(kept))


def split(table: pa.Table, *, validation: datetime, test: datetime, embargo: timedelta) -> dict[str, pa.Table]:
    """
    Cut a frame in time: train before `validation`, validation before `test`, test from `test` on (UTC).

    embargo: rows this close before a cut are left out, so that no label of an earlier part looks into a later
    one: a label's horizon and maturity delay together, at least. Rows keep their order.
    """
    if to_microseconds(validation) >= to_microseconds(test):
        raise UsageError(f"validation begins at {iso(validation)}, not before test at {iso(test)}.")
    t = _observed(table)
    first, second, gap = to_microseconds(validation), to_microseconds(test), embargo // MICROSECOND
    parts = {
        "train": t < first - gap,
        "validation": (t >= first) & (t < second - gap),
        "test": t >= second,
    }
    return {part: table.filter(pa.array(rows)) for part, rows in parts.items()}


def _uniform(table: pa.Table, keys: Sequence[str], seed: int) -> np.ndarray[Any, Any]:
    """Return a number in [0, 1) per row, from a hash of seed, time and keys: the same on every machine."""
    parts = [pa.chunked_array([_observed(table)]), *(table[key] for key in keys)]
    text = [pc.fill_null(part.cast(pa.string()), "").combine_chunks() for part in parts]
    joined = pc.binary_join_element_wise(str(seed), *text, "\x1f")
    hashes = b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in joined.to_pylist())
    # 53 bits are what a double holds exactly.
    return (np.frombuffer(hashes, "<u8") >> 11) / 2.0**53


def _observed(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return the rows' observation times in microseconds."""
    name = time_column(table.schema)
    parts = [np.asarray(observation_times(part, name).cast(pa.int64())) for part in table[name].chunks]
    return np.concatenate(parts or [np.array([], np.int64)])


def _between(at: str, start: datetime | None, end: datetime | None) -> list[str]:
    lower = [f"{at} >= TIMESTAMPTZ {literal(iso(start))}"] if start is not None else []
    upper = [f"{at} < TIMESTAMPTZ {literal(iso(end))}"] if end is not None else []
    return lower + upper
