"""
Keys as bytes: typed by the view, in the same order as DuckDB sorts them, and never ambiguous.

Parts follow each other, so the keys that share their first parts share a prefix. A whole number is eight bytes
with the sign flipped; text but the last part ends in 00 01, with 00 written as 00 FF. A key longer than the
store takes keeps its first bytes and ends in its hash.
"""

from __future__ import annotations

import hashlib
import operator
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.errors import UsageError
from lifecycle.online.kinds import decimal_matrix, decimal_scale, whole_numbers
from lifecycle.times import EPOCH, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lifecycle.definitions import Field, View

LONGEST = 480  # LMDB takes 511
KEPT = 449  # with the hash one byte longer than any key kept whole
_INTEGERS = {
    "TINYINT": (-(2**7), 2**7),
    "SMALLINT": (-(2**15), 2**15),
    "INTEGER": (-(2**31), 2**31),
    "BIGINT": (-(2**63), 2**63),
    "UTINYINT": (0, 2**8),
    "USMALLINT": (0, 2**16),
    "UINTEGER": (0, 2**32),
    "UBIGINT": (0, 2**64),
}
_SIGN = 2**63
_BIG_SIGN = 2**127
_DATE_EPOCH = EPOCH.date()


class KeyCodec:
    """Turns a view's keys into bytes, whole columns or one at a time."""

    def __init__(self, view: View) -> None:
        self.fields = _key_fields(view)
        last = len(self.fields) - 1
        who = f"view {view.name!r}"
        self._single = [_single(field, who, last=at == last) for at, field in enumerate(self.fields)]

    def encode(self, columns: Sequence[pa.Array], prefix: bytes, count: int) -> list[bytes]:
        """Return `prefix` and key for each of `count` rows; the columns hold no NULL."""
        if not columns:
            return [prefix] * count
        last = len(columns) - 1
        parts = [
            _column(one, field, last=at == last)
            for at, (one, field) in enumerate(zip(columns, self.fields, strict=True))
        ]
        joined = pc.binary_join_element_wise(
            pa.scalar(prefix, pa.large_binary()), *parts, pa.scalar(b"", pa.large_binary())
        )
        keys = slices(joined)
        longest = pc.max(pc.binary_length(joined)).as_py() or 0
        return keys if longest <= LONGEST else [_bounded(key) for key in keys]

    def one(self, values: Sequence[Any], prefix: bytes) -> bytes | None:
        """
        Return one key's bytes; None where it can match nothing (a NULL, or a value its type cannot hold).

        Fewer values than the view has keys give the prefix that all keys beginning with them share.
        Raises UsageError for a value of another kind, such as text for a whole number.
        """
        key = prefix
        for encode, value in zip(self._single, values):  # noqa: B905 - a prefix has fewer; strict costs a third
            part = encode(value)
            if part is None:
                return None
            key += part
        return key if len(key) <= LONGEST else _bounded(key)


def slices(column: pa.Array) -> list[bytes]:
    """Return a binary column's values as Python bytes (twice as fast as `to_pylist`)."""
    wide = pa.types.is_large_binary(column.type)
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64 if wide else np.int32)[column.offset : column.offset + len(column) + 1]
    content = b"" if data is None else data.to_pybytes()
    listed = ends.tolist()
    return [content[a:b] for a, b in pairwise(listed)]


def fixed_binary(matrix: np.ndarray[Any, Any]) -> pa.Array:
    """Return rows of equally many bytes as an Arrow binary column."""
    rows, width = matrix.shape
    ends = np.arange(rows + 1, dtype=np.int64) * width
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(matrix))]
    return pa.Array.from_buffers(pa.large_binary(), rows, buffers)


def _key_fields(view: View) -> list[Field]:
    by_name = {field.name: field for field in view.keys}
    missing = [column for _, column in view.join_keys if column not in by_name]
    if missing:
        raise UsageError(f"the definition of view {view.name!r} does not state the type of {', '.join(missing)}.")
    return [by_name[column] for _, column in view.join_keys]


def _bounded(key: bytes) -> bytes:
    return key if len(key) <= LONGEST else key[:KEPT] + hashlib.sha256(key).digest()


def _column(column: pa.Array, field: Field, *, last: bool) -> pa.Array:
    dtype = field.dtype
    if dtype in _INTEGERS:
        return _numbers(column.cast(pa.uint64() if dtype == "UBIGINT" else pa.int64()), signed=dtype != "UBIGINT")
    if dtype == "DATE" or dtype.startswith("TIMESTAMP"):
        return fixed_binary(_big_endian(whole_numbers(column), signed=True))
    if dtype == "BOOLEAN":
        return fixed_binary(column.cast(pa.uint8()).to_numpy(zero_copy_only=False).reshape(-1, 1))
    if decimal_scale(dtype) is not None:
        matrix = decimal_matrix(column)[:, ::-1].copy()
        matrix[:, 0] ^= 0x80
        return fixed_binary(matrix)
    text = column if pa.types.is_binary(column.type) else column.cast(pa.string())
    data = text.cast(pa.large_binary())
    if last:
        return data
    escaped = pc.replace_substring(data, pattern=b"\x00", replacement=b"\x00\xff")
    return pc.binary_join_element_wise(
        escaped, pa.scalar(b"\x00\x01", pa.large_binary()), pa.scalar(b"", pa.large_binary())
    )


def _numbers(column: pa.Array, *, signed: bool) -> pa.Array:
    return fixed_binary(_big_endian(column.to_numpy(zero_copy_only=False), signed=signed))


def _big_endian(numbers: np.ndarray[Any, Any], *, signed: bool) -> np.ndarray[Any, Any]:
    plain = numbers.view(np.uint64) ^ np.uint64(_SIGN) if signed else numbers
    return plain.astype(">u8").view(np.uint8).reshape(-1, 8)


def _single(field: Field, who: str, *, last: bool) -> Callable[[Any], bytes | None]:
    dtype = field.dtype
    if dtype in _INTEGERS:
        return _integer(field, who, *_INTEGERS[dtype])
    if dtype == "DATE" or dtype.startswith("TIMESTAMP"):
        return _time(field, who)
    if dtype == "BOOLEAN":
        return lambda value: None if value is None else bytes([bool(value)])
    scale = decimal_scale(dtype)
    if scale is not None:
        return _decimal(field, who, scale)
    if dtype in {"VARCHAR", "UUID", "JSON", "BLOB"} or dtype.startswith("ENUM"):
        return _text(field, who, last=last)
    raise UsageError(
        f"{who} is keyed by {field.name!r} of type {dtype}. A key online is text, a whole number, DECIMAL, "
        "BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ or BLOB."
    )


def _absent(value: Any) -> bool:
    """Whether a value stands for NULL: None, NaN, NaT, or pandas' NA, which has no truth value."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124 - only NaN and NaT differ from themselves
    except TypeError:
        return True


def _mismatch(field: Field, who: str, value: Any) -> UsageError:
    return UsageError(
        f"{who} is keyed by {field.name!r}, which is {field.dtype}, and got {value!r} ({type(value).__name__})."
    )


def _integer(field: Field, who: str, low: int, high: int) -> Callable[[Any], bytes | None]:
    bias = 0 if field.dtype == "UBIGINT" else _SIGN

    def encode(value: Any) -> bytes | None:
        if _absent(value):
            return None
        try:
            number = operator.index(value)
        except TypeError:
            if isinstance(value, str | bytes | date):
                raise _mismatch(field, who, value) from None
            try:
                number = int(value)
            except (OverflowError, ValueError):
                return None
            if value != number:
                return None
        return (number + bias).to_bytes(8, "big") if low <= number < high else None

    return encode


def _text(field: Field, who: str, *, last: bool) -> Callable[[Any], bytes | None]:
    def encode(value: Any) -> bytes | None:
        if isinstance(value, str):
            data = value.encode()
        elif _absent(value):
            return None
        elif isinstance(value, bytes) and field.dtype == "BLOB":
            data = value
        elif isinstance(value, UUID):
            data = str(value).encode()
        else:
            raise _mismatch(field, who, value)
        return data if last else data.replace(b"\x00", b"\x00\xff") + b"\x00\x01"

    return encode


def _time(field: Field, who: str) -> Callable[[Any], bytes | None]:
    def encode(value: Any) -> bytes | None:
        if _absent(value):
            return None
        if field.dtype == "DATE":
            if not isinstance(value, date) or isinstance(value, datetime):
                raise _mismatch(field, who, value)
            number = (value - _DATE_EPOCH).days
        elif isinstance(value, datetime):
            number = to_microseconds(value)
        else:
            raise _mismatch(field, who, value)
        return (number + _SIGN).to_bytes(8, "big")

    return encode


def _decimal(field: Field, who: str, scale: int) -> Callable[[Any], bytes | None]:
    def encode(value: Any) -> bytes | None:
        if _absent(value):
            return None
        try:
            unscaled = Decimal(value) * 10**scale
        except (InvalidOperation, TypeError, ValueError) as error:
            raise _mismatch(field, who, value) from error
        if unscaled != int(unscaled) or not -_BIG_SIGN <= unscaled < _BIG_SIGN:
            return None
        return (int(unscaled) + _BIG_SIGN).to_bytes(16, "big")

    return encode
