"""
The hash of a table's content, the same for the same values whatever holds them.

Per column three digests: the positions of NULLs, the lengths (text and bytes) or values at one fixed width,
and the bytes of text. NULLs hash as zero or empty, so what lies under them does not matter; nor do batch
boundaries, Arrow's several encodings of text, integer widths, or a time's unit and zone. Schema, row count and
the columns' digests, in order, make the table's hash.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NANOSECONDS = 1000


class ColumnHash:
    """Digest of one column, fed in order, in any number of pieces."""

    def __init__(self, name: str, dtype: pa.DataType) -> None:
        self.name = name
        self.kind = _kind(dtype)
        self._rows = 0
        self._parts = tuple(hashlib.blake2b(digest_size=32) for _ in range(3))
        self._fraction_seen = False

    def update(self, array: pa.Array) -> None:
        """Feed the next values."""
        nulls, values, extra = self._parts
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if array.null_count:
            nulls.update((np.flatnonzero(pc.is_null(array)) + self._rows).astype("<i8").tobytes())
        self._rows += len(array)
        if self.kind in {"text", "bytes"}:
            lengths, data = _text(array)
            values.update(lengths)
            extra.update(data)
        elif self.kind == "time":
            whole, fraction = _time(array)
            values.update(whole.tobytes())
            extra.update(fraction.tobytes())
            self._fraction_seen = self._fraction_seen or bool(fraction.any())
        elif self.kind != "null":
            values.update(_values(array, self.kind))

    def hexdigest(self) -> str:
        """Return the column's digest in hexadecimal."""
        nulls, values, extra = self._parts
        with_extra = self.kind in {"text", "bytes"} or self._fraction_seen
        parts = [nulls.hexdigest(), values.hexdigest(), extra.hexdigest() if with_extra else ""]
        return hashlib.blake2b("|".join([self.kind, *parts]).encode(), digest_size=16).hexdigest()


class ContentHash:
    """Digest of a table, fed batch by batch."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [ColumnHash(field.name, field.type) for field in schema]
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Feed the next rows."""
        self._rows += batch.num_rows
        for column, array in zip(self._columns, batch.columns, strict=True):
            column.update(array)

    def columns(self) -> list[list[str]]:
        """Return [name, kind, digest] per column, in order."""
        return [[column.name, column.kind, column.hexdigest()] for column in self._columns]

    def hexdigest(self) -> str:
        """Return the table's digest in hexadecimal."""
        text = json.dumps([self._rows, self.columns()], separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


_KINDS: tuple[tuple[Any, str], ...] = (
    (pa.types.is_null, "null"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_uint64, "unsigned"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_floating, "float"),
    (pa.types.is_timestamp, "time"),
    (pa.types.is_date, "date"),
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_string_view, "text"),
    (pa.types.is_binary, "bytes"),
    (pa.types.is_large_binary, "bytes"),
    (pa.types.is_binary_view, "bytes"),
)
_WIDTHS = {
    "boolean": (pa.uint8(), "<u1"),
    "unsigned": (pa.uint64(), "<u8"),
    "integer": (pa.int64(), "<i8"),
    "float": (pa.float64(), "<f8"),
}


def _kind(dtype: pa.DataType) -> str:
    if pa.types.is_dictionary(dtype):
        return _kind(dtype.value_type)
    for test, kind in _KINDS:
        if test(dtype):
            return kind
    return str(dtype)


def _values(array: pa.Array, kind: str) -> bytes:
    if kind == "date":
        return np.asarray(array.cast(pa.date32()).cast(pa.int32()).fill_null(0)).astype("<i4").tobytes()
    if kind in _WIDTHS:
        dtype, width = _WIDTHS[kind]
        return np.asarray(array.cast(dtype).fill_null(0)).astype(width).tobytes()
    # Lists, structs, decimals, durations: rare in a spine, so their Python form will do.
    return "".join(f"{value!r}\x1f" for value in array.to_pylist()).encode()


def _text(array: pa.Array) -> tuple[bytes, bytes]:
    plain = array.cast(pa.large_binary()).fill_null(b"")
    _, offset_buffer, data = plain.buffers()
    offsets = np.frombuffer(offset_buffer, dtype="<i8", count=len(plain) + 1, offset=plain.offset * 8)
    lengths = np.diff(offsets).astype("<i8").tobytes()
    return lengths, memoryview(data)[offsets[0] : offsets[-1]].tobytes() if data is not None else b""


def _time(array: pa.Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return microseconds rounded down, and the nanoseconds beyond them."""
    unit = array.type.unit
    if unit != "ns":
        whole = np.asarray(array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64()).fill_null(0))
        return whole.astype("<i8"), np.zeros(len(whole), dtype="<i2")
    exact = np.asarray(array.cast(pa.int64()).fill_null(0))
    whole, fraction = np.divmod(exact, _NANOSECONDS)
    return whole.astype("<i8"), fraction.astype("<i2")
