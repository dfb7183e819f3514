"""
A key's recent events as one entry, from which windows are evaluated when they are read.

    entry   format, 0, epoch, schema hash; number of events, what is there, which columns hold fractions, which hold
            NULLs, release, number of past versions; then columns, one after another, in the kernel's order of events
    columns event times; known_from and known_until, where a version is not known at its own time for good; numbers;
            ids; 64 bits of hash of each event's id, where the view has one; then a byte an event: pushed, present,
            filters; then the values that are no numbers, as MessagePack; then four numbers for each past version

Which columns there are follows from the view. Numbers and times are int64 or float64, little end first, aligned.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.engine.windows import spot
from lifecycle.engine.windows.functions import mask_column
from lifecycle.engine.windows.schedule import ALWAYS, FOREVER
from lifecycle.engine.windows.single import DTYPES, Events, Inputs
from lifecycle.online.codec import ENTRY, EVENTS_FORMAT, schema_hash
from lifecycle.online.keys import KeyCodec
from lifecycle.online.kinds import kind_of
from lifecycle.online.lots import NEW, RELEASED, RETRACTING, TIME, Lot
from lifecycle.times import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lifecycle.definitions import View

HEAD = struct.Struct("<6I")
START = 40  # behind both heads and a byte of padding
HEAD_AT = START - HEAD.size
# The bits of what is there.
KNOWN_FROM, KNOWN_UNTIL, PUSHED, IDENTIFIED = 1, 2, 4, 8
EVENT_COLUMN, RETRACTED_COLUMN = "window_event", "window_retracted"
_NUMERIC = {
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE",
    "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip
_WHOLE, _FRACTION = struct.Struct("<q"), struct.Struct("<d")
# Columns of an entry that only merging reads, last in a layout.
EVENTS_AT, PUSHED_AT = -2, -1
_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
_DATE_EPOCH = EPOCH.date()
_PLACED = {"first", "last", "last_k"}
_IDENTIFIED = {"count_distinct"}
_VALUED = {"sum", "mean", "min", "max", "var", "std", "rate", "approx_quantile"}
_CONVERTED: dict[str, Callable[[Any], Any]] = {
    "BOOLEAN": bool,
    "DATE": lambda days: _DATE_EPOCH + timedelta(days=days),
    "TIMESTAMP": lambda us: _NAIVE_EPOCH + timedelta(microseconds=us),
    "TIMESTAMP WITH TIME ZONE": lambda us: EPOCH + timedelta(microseconds=us),
}


def converter(dtype: str) -> Callable[[Any], Any] | None:
    """Return what makes a value of DuckDB's type `dtype` from a number, None where the number is the value."""
    return _CONVERTED.get(dtype)


class Layout(NamedTuple):
    """Where columns lie, as `Events.layout`; how many bytes an event they take in all; and `Events.read`."""

    columns: Any
    width: int
    read: Callable[[Events, str, Sequence[int]], list[Any]]


class EventCodec:
    """Packs and unpacks the events of one window view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.keys = KeyCodec(view)
        self.schema = schema_hash(view)
        self.exclude = True  # an event counts only after its time
        types = {field.name: field.dtype for field in view.features}
        placed = {one.column: types[one.name] for one in view.windows if one.function in _PLACED and one.column}
        placed = {column: _element(dtype, view, column) for column, dtype in placed.items()}
        texts = {column: dtype for column, dtype in placed.items() if dtype not in _NUMERIC}
        columns = {one.column for one in view.windows if one.column is not None}
        valued = {one.column for one in view.windows if one.column is not None and one.function in _VALUED}
        numbers = sorted(valued | (placed.keys() - texts.keys()))
        identified = [one.column for one in view.windows if one.function in _IDENTIFIED]
        money = [one.currency for one in view.windows]
        ids = sorted({name for name in (*identified, *money) if name is not None})
        masks = sorted({name for name in map(mask_column, view.windows) if name is not None})
        self.inputs = Inputs(numbers, ids, sorted(columns), masks)
        self._places = self.inputs.places()
        self._layouts: dict[tuple[int, ...], Layout] = {}
        self.texts = sorted(texts)
        self._convert = {column: converter(dtype) for column, dtype in placed.items() if column not in texts}
        self._decode = [kind_of(f"{texts[column]}[]", f"column {column!r}").unpack for column in self.texts]
        lengths = [one.window_us for one in view.windows]
        self.reach = None if None in lengths else max(one for one in lengths if one is not None)
        whole, flags = np.empty(0, np.int64), np.empty(0, np.uint8)
        none: dict[str, list[Any]] = {
            kind: [whole] * len(names) for kind, names in zip(Inputs._fields, self.inputs, strict=True)
        }
        none |= {kind: [flags] * len(none[kind]) for kind in ("present", "masks")}
        self.nothing = Lot(whole, whole, whole, flags, whole, **none, texts=[[] for _ in self.texts])

    def lot(self, batch: pa.RecordBatch | pa.Table, *, pushed: int | None = None) -> Lot:
        """
        Return a batch of `EventQuery.versions` as arrays.

        Further columns: EVENT_COLUMN, the events' ids as int64; RETRACTED_COLUMN, whether a pushed row retracts its
        event. pushed: microseconds at which all of them become known, for pushed events.
        """
        names = set(batch.schema.names)
        times = _numbers(batch.column("event_timestamp"))
        count = len(times)
        known_from, known_until = np.full(count, ALWAYS), np.full(count, FOREVER)
        if pushed is not None:
            known_from = np.full(count, pushed)
        elif "known_from" in names:
            known_from = _numbers(batch.column("known_from"), ALWAYS)
            known_until = _numbers(batch.column("known_until"), FOREVER)
        return Lot(
            times,
            known_from,
            known_until,
            self._said(batch, pushed=pushed is not None),
            _numbers(batch.column(EVENT_COLUMN)) if EVENT_COLUMN in names else np.zeros(count, np.int64),
            [_numbers(batch.column(name)) for name in self.inputs.numbers],
            [_identities(batch.column(name)) for name in self.inputs.ids],
            [_flags(batch.column(name).is_valid()) for name in self.inputs.present],
            [_flags(pc.fill_null(batch.column(name), False)) for name in self.inputs.masks],  # noqa: FBT003
            [batch.column(name).to_pylist() for name in self.texts],
        )

    def encoded(self, batch: pa.RecordBatch, prefix: bytes) -> list[bytes]:
        """Return the store's key of each row of a batch."""
        keys = [_single(batch.column(f"window_k{i}")) for i in range(len(self.view.join_keys))]
        return self.keys.encode(keys, prefix, batch.num_rows)

    def by_key(
        self, batches: Iterable[pa.RecordBatch], prefix: bytes, floor: int, *, pushed: int | None = None
    ) -> Iterator[tuple[bytes, Lot]]:
        """Return each key's events from batches sorted by key, without those that no read from `floor` on needs."""
        held: tuple[bytes, Lot] | None = None
        for batch in batches:
            keys = self.encoded(batch, prefix)
            lot = self.lot(batch, pushed=pushed)
            start = 0
            for end in range(1, len(keys) + 1):
                if end < len(keys) and keys[end] == keys[start]:
                    continue
                one = (keys[start], lot.take(slice(start, end)))
                if held is not None and held[0] == one[0]:
                    one = (one[0], held[1].with_(one[1]))
                elif held is not None:
                    yield from self._needed(held, floor)
                held, start = one, end
        if held is not None:
            yield from self._needed(held, floor)

    def _needed(self, one: tuple[bytes, Lot], floor: int) -> Iterator[tuple[bytes, Lot]]:
        lot = self.trimmed(one[1], floor)
        if len(lot) or len(lot.past):
            yield one[0], lot

    def _said(self, batch: pa.RecordBatch | pa.Table, *, pushed: bool) -> Any:
        if RETRACTED_COLUMN in batch.schema.names:
            retracted = _flags(pc.fill_null(batch.column(RETRACTED_COLUMN), False))  # noqa: FBT003
            return np.where(retracted, RETRACTING, NEW).astype(np.uint8)
        return np.full(batch.num_rows, NEW if pushed else RELEASED, np.uint8)

    def encode(self, lot: Lot, epoch: int, release: int) -> bytes:
        """Return an entry; `release` is the number of the one that it was written from last."""
        there = 0
        parts = [lot.times]
        pushed = lot.pushed.any()
        # What was pushed keeps when it became known: a release that has it takes its place.
        if pushed or (lot.known_from > lot.times + 1).any():
            there |= KNOWN_FROM
            parts.append(lot.known_from)
        if (lot.known_until != FOREVER).any():
            there |= KNOWN_UNTIL
            parts.append(lot.known_until)
        parts += [*lot.numbers, *lot.ids]
        if lot.events.any():
            there |= IDENTIFIED
            parts.append(lot.events)
        if pushed:
            there |= PUSHED
            parts.append(lot.pushed)
        nulls = 0
        for at, one in enumerate(lot.present):
            if not one.all():
                nulls |= 1 << at
                parts.append(one)
        parts += lot.masks
        fractions = sum(1 << at for at, one in enumerate(lot.numbers) if one.dtype == np.float64)
        head = ENTRY.pack(EVENTS_FORMAT, 0, epoch, self.schema)
        texts = [msgspec.msgpack.encode(one) for one in lot.texts]
        sizes = [len(one).to_bytes(4, "little") for one in texts]
        return b"".join(
            (
                head.ljust(HEAD_AT, b"\0"),
                HEAD.pack(len(lot), there, fractions, nulls, release, len(lot.past)),
                *(one.tobytes() for one in parts),
                *(piece for pair in zip(sizes, texts, strict=True) for piece in pair),
                lot.past.tobytes(),
            )
        )

    def decode(self, entry: bytes) -> Events:
        """Return an entry as the kernel reads it, without a copy."""
        count, *head, _, _ = HEAD.unpack_from(entry, HEAD_AT)
        laid = self._layouts.get(tuple(head)) or self._lay_out(*head)
        return Events(entry, START, count, laid.columns, laid.read)

    def _lay_out(self, there: int, fractions: int, nulls: int) -> Layout:
        """Return where the columns of an entry with such a head lie; the same for any number of events."""
        inputs = self.inputs
        wide = [(spot.WHOLES, True), (spot.WHOLES, there & KNOWN_FROM), (spot.WHOLES, there & KNOWN_UNTIL)]
        wide += [(spot.FRACTIONS if fractions >> n & 1 else spot.WHOLES, True) for n in range(len(inputs.numbers))]
        wide += [(spot.WHOLES, True)] * len(inputs.ids)
        narrow = [(spot.BYTES, nulls >> n & 1) for n in range(len(inputs.present))]
        narrow += [(spot.BYTES, True)] * len(inputs.masks)
        own = [(spot.WHOLES, there & IDENTIFIED), (spot.BYTES, there & PUSHED)]
        kinds, stored = zip(*wide, *narrow, *own, strict=True)
        strides, width = [-1] * len(kinds), 0
        # As they follow one another in an entry.
        for place in (*range(len(wide)), EVENTS_AT, PUSHED_AT, *range(len(wide), len(wide + narrow))):
            if stored[place]:
                strides[place] = width
                width += DTYPES[kinds[place]].itemsize
        laid = Layout(np.array([strides, kinds], np.int64), width, partial(self._values, (strides, kinds, width)))
        self._layouts[there, fractions, nulls] = laid
        return laid

    def _values(
        self, lies: tuple[Sequence[int], Sequence[int], int], events: Events, column: str, places: Sequence[int]
    ) -> list[Any]:
        strides, kinds, width = lies
        data, start, size, *_ = events
        if column not in self._convert:
            *_, texts = self._texts(data, start + width * size, self.texts.index(column) + 1)
            return [texts[place] for place in places]
        at = self._places["numbers", column]
        packed = _FRACTION if kinds[at] == spot.FRACTIONS else _WHOLE
        begin = start + strides[at] * size
        numbers = [packed.unpack_from(data, begin + 8 * place)[0] for place in places]
        convert = self._convert[column]
        if convert is not None:
            numbers = list(map(convert, numbers))
        flags = strides[self._places["present", column]]
        if flags < 0:
            return numbers
        there = start + flags * size
        return [number if data[there + place] else None for number, place in zip(numbers, places, strict=True)]

    def origin(self, entry: bytes) -> tuple[bool, int]:
        """Return whether pushed events are among an entry's, and the release it was written from last."""
        _, there, _, _, release, _ = HEAD.unpack_from(entry, HEAD_AT)
        return bool(there & PUSHED), release

    def decode_lot(self, entry: bytes) -> Lot:
        """Return an entry as arrays to merge with others."""
        count, *head, _, gone = HEAD.unpack_from(entry, HEAD_AT)
        found, laid = self.decode(entry), self._layouts[tuple(head)]

        def column(place: int, missing: int) -> Any:
            array = found.column(place)
            return array if len(array) else np.full(count, missing, array.dtype)

        def columns(kind: str, missing: int = 0) -> list[Any]:
            return [column(self._places[kind, name], missing) for name in getattr(self.inputs, kind)]

        return Lot(
            found.column(spot.TIMES),
            column(spot.KNOWN_FROM, ALWAYS),
            column(spot.KNOWN_UNTIL, FOREVER),
            column(PUSHED_AT, RELEASED),
            column(EVENTS_AT, 0),
            columns("numbers"),
            columns("ids"),
            columns("present", 1),
            columns("masks"),
            list(self._texts(entry, START + laid.width * count)),
            np.frombuffer(entry, np.int64, 4 * gone, len(entry) - 32 * gone).reshape(-1, 4),
        )

    def _texts(self, entry: Any, at: int, count: int | None = None) -> Iterator[list[Any]]:
        """Return the columns that begin at `at`; if only `count` are wanted, decode the last of them alone."""
        for number, decode in enumerate(self._decode[:count], start=1):
            size = int.from_bytes(entry[at : at + 4], "little")
            yield decode(bytes(entry[at + 4 : at + 4 + size])) if count in {None, number} else []  # type: ignore[misc]
            at += 4 + size

    def trimmed(self, lot: Lot, at: int) -> Lot:
        """
        Return the events that any read from `at` (microseconds) on may need: not those behind the longest window.

        Of versions that were superseded by then it is remembered that they were there. Retractions stay.
        """
        if self.reach is not None:
            low = max(at - self.reach, ALWAYS)
            lot = lot.chosen(lot.times >= low)
            if len(lot.past):
                lot = replace(lot, past=lot.past[lot.past[:, TIME] >= low])
        return lot.without((lot.known_until <= at) & (lot.pushed != RETRACTING))


def _element(dtype: str, view: View, column: str) -> str:
    """Return the type of a placed column: `last_k` gives lists of it."""
    listed = any(one.function == "last_k" and one.column == column for one in view.windows)
    return dtype.removesuffix("[]") if listed and dtype.endswith("[]") else dtype


def _single(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _numbers(column: Any, missing: int = 0) -> Any:
    """Return a column as int64 or float64, microseconds for times; `missing` stands for NULL."""
    array = _single(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_timestamp(array.type) and array.type.unit != "us":
        array = array.cast(pa.timestamp("us", array.type.tz))
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    array = array.cast(pa.float64() if pa.types.is_floating(array.type) else pa.int64())
    if array.null_count:
        array = pc.fill_null(array, missing)
    return np.array(array.to_numpy(zero_copy_only=False))


def _flags(column: Any) -> Any:
    return np.array(_single(column).to_numpy(zero_copy_only=False), dtype=np.uint8)


def _identities(column: Any) -> Any:
    """
    Return int64 that are equal where the values are, 0 for NULL.

    Whole numbers, times and truth values stand for themselves; floats for their bits; all else for 64 bits of hash,
    which two of a key's 10,000 values share once in 10^11 keys.
    """
    array = _single(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        numbers = _numbers(array) + 0.0  # -0.0 and 0.0 are one value
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.int64)
    whole = pa.types.is_integer(array.type) or pa.types.is_boolean(array.type)
    if whole or pa.types.is_timestamp(array.type) or pa.types.is_date32(array.type):
        return _numbers(array)
    from pandas.util import hash_array

    coded = array.cast(pa.string()).dictionary_encode()
    hashed = hash_array(np.array(coded.dictionary.to_pylist(), dtype=object), categorize=False).view(np.int64)
    return np.append(hashed, 0)[pc.fill_null(coded.indices, len(hashed)).to_numpy(zero_copy_only=False)]
