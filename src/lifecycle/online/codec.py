"""
Packed rows: a view's state of one key as bytes.

    entry   format, number of rows, epoch, schema hash; then its rows, in the order in which they become visible
    row     length, rank (event time, known time, release), flags, NULL bitmap, fixed fields, variable bytes

Ranks compare as bytes, so the guard never decodes a row. Times are microseconds since 1970, sign flipped, big
end first; features are little end first, unaligned. `release` is 0 for a pushed row. A reader whose schema
hash differs refuses the entry.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.errors import DataError, PlatformError
from lifecycle.online.keys import KeyCodec, slices
from lifecycle.online.kinds import kind_of, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.definitions import View

FORMAT = 1
EVENTS_FORMAT = 3  # of a window view's entries
DELETED = 1
BIAS = 2**63
ENTRY = struct.Struct(">BHI8s")
ROW = struct.Struct(">IQQIB")
FIRST = struct.Struct(">7x8sIQQIB")  # an entry's schema hash and its first row
SCHEMA = slice(7, 15)  # of an entry
RANK = slice(4, 24)  # of a row: event time, known time, release
_PREFIX = [
    ("format", "u1"),
    ("count", ">u2"),
    ("epoch", ">u4"),
    ("schema", "V8"),
    ("length", ">u4"),
    ("event", ">u8"),
    ("known", ">u8"),
    ("release", ">u4"),
    ("flags", "u1"),
]
_MOST_BYTES = 2**31


@dataclass(frozen=True)
class Packed:
    """
    A batch of single-row entries.

    keys: with the prefix of their place in the store. visible: int64 microseconds, the first read time that may
    use the row.
    """

    keys: list[bytes]
    values: list[bytes]
    visible: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Columns:
    """
    Rows to pack, as Arrow columns of one length.

    keys, features: in the view's order. event: timestamps, none NULL. known: timestamps, NULL meaning the event
    time, or None for a view without known time. deleted: booleans, or None for a view without tombstones.
    """

    keys: Sequence[pa.Array]
    features: Sequence[pa.Array]
    event: pa.Array
    known: pa.Array | None = None
    deleted: pa.Array | None = None


class Codec:
    """Packs and unpacks one view's rows. `features`: names in the row's order."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.keys = KeyCodec(view)
        self.features = tuple(field.name for field in view.features)
        self.exclude = view.at_t == "exclude"
        self._kinds = [kind_of(field.dtype, f"feature {view.name}:{field.name}") for field in view.features]
        self.schema = schema_hash(view)
        nulls = max(1, (len(self._kinds) + 7) // 8)
        self._fields = struct.Struct(f"<{nulls}s" + "".join(kind.code for kind in self._kinds))
        self._no_nulls = bytes(nulls)
        body = [(f"f{at}", kind.dtype) for at, kind in enumerate(self._kinds)]
        self._dtype = np.dtype([*_PREFIX, ("nulls", f"V{nulls}"), *body])
        self._fixed_bytes = self._dtype.itemsize - ENTRY.size
        unpacks = [
            (at, kind.unpack or bytes, kind.variable)
            for at, kind in enumerate(self._kinds)
            if kind.unpack or kind.variable
        ]
        self._variable = [(at, unpack) for at, unpack, variable in unpacks if variable]
        self._converted = [(at, unpack) for at, unpack, variable in unpacks if not variable]
        self._plain = not unpacks

    def pack(self, rows: Columns, *, prefix: bytes, epoch: int, release: int) -> Packed:
        """
        Pack rows into entries of one row each; `prefix` goes before every key.

        release: the release's number, 0 for pushed rows.
        """
        count = len(rows.event)
        fixed = np.zeros(count, dtype=self._dtype)
        event = whole_numbers(rows.event)
        known = event
        if rows.known is not None:
            known = np.where(_nulls(rows.known), event, whole_numbers(rows.known))
        lengths = np.full(count, self._fixed_bytes, dtype=np.int64)
        tails = self._fill(fixed, rows.features, lengths)
        if count and int(lengths.max()) >= _MOST_BYTES:
            raise DataError(f"a row of view {self.view.name!r} takes more than 2 GiB: shorten its text.")
        fixed["format"], fixed["count"], fixed["epoch"], fixed["schema"] = FORMAT, 1, epoch, self.schema
        fixed["length"], fixed["release"] = lengths, release
        fixed["event"], fixed["known"] = _biased(event), _biased(known)
        if rows.deleted is not None:
            fixed["flags"] = np.asarray(rows.deleted.fill_null(False).cast(pa.uint8())) * DELETED  # noqa: FBT003
        values = fixed.view(f"V{self._dtype.itemsize}").tolist()
        if tails is not None:
            values = [head + tail for head, tail in zip(values, slices(tails), strict=True)]
        visible = np.maximum(event + 1 if self.exclude else event, known)
        return Packed(self.keys.encode(rows.keys, prefix, count), values, visible)

    def _fill(self, fixed: Any, features: Sequence[pa.Array], lengths: Any) -> pa.Array | None:
        """Write the features' fields; return the variable bytes of each row, if the view has any."""
        nulls = np.zeros((len(fixed), len(features)), dtype=bool)
        parts = []
        end = np.zeros(len(fixed), dtype=np.int64)
        for at, (column, kind) in enumerate(zip(features, self._kinds, strict=True)):
            if column.null_count:
                nulls[:, at] = _nulls(column)
            if kind.variable:
                data = kind.pack(column).fill_null(b"").cast(pa.large_binary())
                end += np.asarray(pc.binary_length(data))
                fixed[f"f{at}"] = end
                parts.append(data)
            elif column.null_count:
                fixed[f"f{at}"][~nulls[:, at]] = kind.pack(column.drop_null())
            else:
                fixed[f"f{at}"] = kind.pack(column)
        if len(features):
            bits = np.packbits(nulls, axis=1, bitorder="little")
            fixed["nulls"] = np.ascontiguousarray(bits).view(f"V{bits.shape[1]}").reshape(-1)
        lengths += end
        if not parts:
            return None
        return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))

    def check(self, entry: bytes) -> None:
        """Raise PlatformError unless this codec's schema wrote the entry."""
        known = EVENTS_FORMAT if self.view.windows else FORMAT
        if entry[0] != known or entry[SCHEMA] != self.schema:
            raise PlatformError(
                f"a row of view {self.view.name!r} in the online store has format {entry[0]} and schema "
                f"{entry[SCHEMA].hex()}; this reader knows format {known} and schema {self.schema.hex()}. Read with "
                "the definitions the store was filled from, or materialize again."
            )

    def unpack(self, entry: bytes, start: int = ENTRY.size) -> Sequence[Any]:
        """Return the features of the row at `start`, in the view's order."""
        fields = self._fields.unpack_from(entry, start + ROW.size)
        if self._plain and fields[0] == self._no_nulls:
            return fields[1:]
        nulls, *values = fields
        begin = tail = start + self._fixed_bytes
        for at, convert in self._variable:
            end = tail + values[at]
            values[at] = convert(entry[begin:end])
            begin = end
        for at, convert in self._converted:
            values[at] = convert(values[at])
        if nulls != self._no_nulls:
            bits = int.from_bytes(nulls, "little")
            for at in range(len(values)):
                if bits >> at & 1:
                    values[at] = None
        return values


def schema_hash(view: View) -> bytes:
    """Return eight bytes that stand for all a packed row's meaning depends on: key types, features, `at_t`."""
    keys = [(field.name, field.dtype) for field in view.keys]
    features = [(field.name, field.dtype) for field in view.features]
    text = repr((FORMAT, view.name, view.join_keys, keys, features, view.at_t))
    if view.windows:
        text += repr((EVENTS_FORMAT, view.windows, view.history_cap, view.event_id))
    return hashlib.sha256(text.encode()).digest()[:8]


def _biased(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return numbers.view(np.uint64) ^ np.uint64(BIAS)


def _nulls(column: pa.Array) -> np.ndarray[Any, Any]:
    return np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))
