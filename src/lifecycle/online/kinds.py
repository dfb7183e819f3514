"""
How each of DuckDB's types is laid down in a packed row, and read back.

A fixed kind takes one field of the row's fixed part; a variable kind takes the end of its bytes there, and its
bytes behind. Lists are MessagePack: the few features that are lists need not be vectorised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from lifecycle.errors import UsageError
from lifecycle.times import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)\Z")
_LIST = re.compile(r"(.+)\[\d*\]\Z")
_NUMBERS = {
    "BOOLEAN": ("?", "u1", pa.uint8()),
    "TINYINT": ("b", "<i1", pa.int8()),
    "SMALLINT": ("h", "<i2", pa.int16()),
    "INTEGER": ("i", "<i4", pa.int32()),
    "BIGINT": ("q", "<i8", pa.int64()),
    "UTINYINT": ("B", "<u1", pa.uint8()),
    "USMALLINT": ("H", "<u2", pa.uint16()),
    "UINTEGER": ("I", "<u4", pa.uint32()),
    "UBIGINT": ("Q", "<u8", pa.uint64()),
    "FLOAT": ("f", "<f4", pa.float32()),
    "DOUBLE": ("d", "<f8", pa.float64()),
}
_TIMES = {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE", "TIME"}
_TEXTS = {"VARCHAR", "UUID", "JSON"}
_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
_DATE_EPOCH = EPOCH.date()
_EXACT = Context(prec=40)
DECIMAL_BYTES = 16


@dataclass(frozen=True)
class Kind:
    """
    One type's layout.

    code: the field's character for `struct`. dtype: the same for numpy. pack: a column of Arrow values -> numpy
    array (fixed; the column holds no NULL) or Arrow binary (variable). unpack: what `struct` gives (fixed) or the
    bytes (variable) -> the Python value; None leaves it as it is. variable: the field is the end of the bytes.
    """

    code: str
    dtype: str
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any] | None
    variable: bool = False


def kind_of(dtype: str, who: str) -> Kind:
    """Return the layout of DuckDB's type `dtype`; raises UsageError, naming `who`, for one without any."""
    if dtype in _NUMBERS:
        code, number, arrow = _NUMBERS[dtype]
        return Kind(code, number, lambda column: column.cast(arrow).to_numpy(zero_copy_only=False), None)
    if dtype in _TIMES:
        return _time_kind(dtype)
    if dtype in _TEXTS or dtype.startswith("ENUM"):
        return Kind("I", "<u4", lambda column: column.cast(pa.string()).cast(pa.binary()), bytes.decode, variable=True)
    if dtype == "BLOB":
        return Kind("I", "<u4", lambda column: column.cast(pa.binary()), None, variable=True)
    scale = decimal_scale(dtype)
    if scale is not None:
        return Kind(f"{DECIMAL_BYTES}s", f"V{DECIMAL_BYTES}", _decimal_bytes, _decimal_reader(scale))
    element = _LIST.match(dtype)
    if element:
        decoder = msgspec.msgpack.Decoder(_python_type(dtype, who))
        return Kind("I", "<u4", _message, lambda data: decoder.decode(data) if data else None, variable=True)
    raise UsageError(
        f"{who} has type {dtype}, which the online store does not keep. Cast it in the view's relation: to text, "
        "a number, DECIMAL, BOOLEAN, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, BLOB, or a list of these."
    )


def arrow_type(dtype: str) -> Any:
    """Return the Arrow type that holds values of DuckDB's type `dtype`, which is one the store keeps."""
    if dtype == "BOOLEAN":
        return pa.bool_()
    if dtype in _NUMBERS:
        return _NUMBERS[dtype][2]
    times = {
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
        "BLOB": pa.binary(),
        "HUGEINT": pa.decimal128(38),
    }
    decimal = _DECIMAL.match(dtype)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    element = _LIST.match(dtype)
    if element:
        return pa.list_(arrow_type(element[1]))
    return times.get(dtype, pa.string())


def decimal_scale(dtype: str) -> int | None:
    """Return the digits behind the point of a DECIMAL or HUGEINT type, None for any other."""
    if dtype in {"HUGEINT", "UHUGEINT"}:
        return 0
    found = _DECIMAL.match(dtype)
    return int(found[2]) if found else None


def whole_numbers(column: pa.Array) -> np.ndarray[Any, Any]:
    """Return a time column's microseconds (or a date's days) as int64, NULL as 0."""
    if pa.types.is_timestamp(column.type) and column.type.unit != "us":
        column = column.cast(pa.timestamp("us", column.type.tz))
    narrow = pa.types.is_date32(column.type)
    numbers = column.cast(pa.int32() if narrow else pa.int64())
    return np.asarray(numbers.fill_null(0).to_numpy(zero_copy_only=False), dtype="<i8")


def decimal_matrix(column: pa.Array) -> np.ndarray[Any, Any]:
    """Return a decimal column's unscaled values as rows of 16 bytes, little end first (two's complement)."""
    if column.type.bit_width != 8 * DECIMAL_BYTES:
        column = column.cast(pa.decimal128(column.type.precision, column.type.scale))
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    start = column.offset * DECIMAL_BYTES
    return data[start : start + len(column) * DECIMAL_BYTES].reshape(-1, DECIMAL_BYTES)


def _time_kind(dtype: str) -> Kind:
    if dtype == "DATE":
        return Kind("i", "<i4", whole_numbers, lambda days: _DATE_EPOCH + timedelta(days=days))
    if dtype == "TIME":
        return Kind("q", "<i8", whole_numbers, lambda us: (_NAIVE_EPOCH + timedelta(microseconds=us)).time())
    epoch = _NAIVE_EPOCH if dtype == "TIMESTAMP" else EPOCH
    return Kind("q", "<i8", whole_numbers, lambda us: epoch + timedelta(microseconds=us))


def _decimal_bytes(column: pa.Array) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(decimal_matrix(column)).view(f"V{DECIMAL_BYTES}").reshape(-1)


def _decimal_reader(scale: int) -> Callable[[bytes], Decimal]:
    def unpack(data: bytes) -> Decimal:
        return Decimal(int.from_bytes(data, "little", signed=True)).scaleb(-scale, _EXACT)

    return unpack


def _message(column: pa.Array) -> pa.Array:
    encode = msgspec.msgpack.Encoder().encode
    return pa.array([b"" if one is None else encode(one) for one in column.to_pylist()], pa.binary())


def _python_type(dtype: str, who: str) -> Any:
    element = _LIST.match(dtype)
    if element:
        return list[_python_type(element[1], who) | None]  # type: ignore[misc]
    if dtype in {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}:
        return datetime
    plain = {"DATE": date, "TIME": time, "BLOB": bytes, "BOOLEAN": bool, "FLOAT": float, "DOUBLE": float}
    if dtype in plain:
        return plain[dtype]
    if decimal_scale(dtype) is not None:
        return Decimal
    kind_of(dtype, who)
    return int if dtype in _NUMBERS else str
