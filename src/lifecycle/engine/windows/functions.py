"""The aggregations by name: what each needs from the kernels, and how its numbers come out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa

from lifecycle.engine.windows import columns
from lifecycle.engine.windows.numbers import LOW_BITS, WORD, variances
from lifecycle.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lifecycle.definitions import Window

LARGEST_HIGH = 1 << 31


class Sums(NamedTuple):
    """One window's totals per observation, each [m]: two words a sum, as `accumulate` makes them."""

    count: Any
    total: Any
    lost: Any
    square: Any
    square_lost: Any
    least: Any
    most: Any


class OverflowFound(Exception):  # noqa: N818 - a signal to the caller, which knows the window's name
    """A whole-number sum does not fit 64 bits, at observation `place`."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def total(sums: Sums) -> Any:
    """Return the sums, int64 or float64; raises OverflowFound."""
    if sums.total.dtype != np.int64:
        return _closed(sums.total + sums.lost)
    high, low = _normal(sums)
    outside = (high < -LARGEST_HIGH) | (high >= LARGEST_HIGH)
    if outside.any():
        raise OverflowFound(int(np.argmax(outside)))
    return (high << 32) | low


def mean(sums: Sums) -> Any:
    """Return float64 means; those of whole numbers do not overflow."""
    high, low = _as_floats(sums)
    return _closed((high + low) / sums.count)


def variance(sums: Sums) -> Any:
    """Return float64 sample variances."""
    return variances(sums.count, sums.total, sums.lost, sums.square, sums.square_lost)


def _normal(sums: Sums) -> tuple[Any, Any]:
    return sums.total + (sums.lost >> 32), sums.lost & LOW_BITS


def _as_floats(sums: Sums) -> tuple[Any, Any]:
    """Return sums as two doubles, the second far smaller."""
    if sums.total.dtype == np.int64:
        high, low = _normal(sums)
        return _two_sum(high * WORD, low.astype(np.float64))
    return _two_sum(sums.total, sums.lost)


def _two_sum(x: Any, y: Any) -> tuple[Any, Any]:
    both = x + y
    part = both - x
    return both, (x - (both - part)) + (y - part)


def _closed(values: Any) -> Any:
    """Replace what lies outside a double's range by NaN."""
    values[~np.isfinite(values)] = np.nan
    return values


@dataclass(frozen=True)
class Function:
    """
    One aggregation.

    of: what it works on: `values` of the column, `places` of events, `distinct` values, or rows `picked` one
    by one. sums, squares, extremes: what the kernel must hold. least_count: events it takes to be other than
    NULL. value: its numbers from the kernel's.
    """

    of: str
    value: Callable[[Sums], Any] | None = None
    sums: bool = False
    squares: bool = False
    extremes: bool = False
    least_count: int = 1
    accepts: Callable[[Any], bool] = lambda _: True
    needs_column: bool = True

    @property
    def flags(self) -> tuple[bool, bool, bool]:
        """What the kernel is told to hold."""
        return self.sums, self.squares, self.extremes


def _number(of: str = "values", **given: Any) -> Function:
    return Function(of, accepts=columns.is_numeric, **given)


FUNCTIONS: Mapping[str, Function] = {
    "count": Function("values", lambda s: s.count, least_count=0, needs_column=False),
    "count_distinct": Function("distinct", lambda s: s.count, least_count=0),
    "sum": _number(value=total, sums=True),
    "mean": _number(value=mean, sums=True),
    "rate": Function("values", mean, sums=True, accepts=pa.types.is_boolean),
    "var": _number(value=variance, sums=True, squares=True, least_count=2),
    "std": _number(value=lambda s: np.sqrt(variance(s)), sums=True, squares=True, least_count=2),
    "min": Function("values", lambda s: s.least, extremes=True, accepts=columns.is_ordered),
    "max": Function("values", lambda s: s.most, extremes=True, accepts=columns.is_ordered),
    "first": Function("places", lambda s: s.least, extremes=True),
    "last": Function("places", lambda s: s.most, extremes=True),
    "seconds_since_first": Function("places", lambda s: s.least, extremes=True, needs_column=False),
    "seconds_since_last": Function("places", lambda s: s.most, extremes=True, needs_column=False),
    "last_k": Function("picked"),
    "approx_quantile": Function("picked", accepts=columns.is_ordered),
}


def function_of(window: Window) -> Function:
    """Return a window's aggregation; raises UsageError where the declaration makes no sense."""
    if window.function not in FUNCTIONS:
        raise unknown("aggregation", window.function, FUNCTIONS)
    function = FUNCTIONS[window.function]
    if window.column is None and function.needs_column:
        raise UsageError(f"window {window.name!r}: {window.function} needs a column.")
    if window.window_us is not None and window.window_us <= 0:
        raise UsageError(f"window {window.name!r} is {window.window_us} µs long; it must be longer than 0, or None.")
    if window.function == "last_k" and not (window.parameter and window.parameter >= 1):
        raise UsageError(f"window {window.name!r}: last_k needs parameter=k of at least 1, not {window.parameter}.")
    if window.function == "approx_quantile" and not (window.parameter is not None and 0.0 <= window.parameter <= 1.0):
        raise UsageError(
            f"window {window.name!r}: approx_quantile needs parameter from 0 to 1, not {window.parameter}."
        )
    return function


def result_type(window: Window, column: Any) -> Any:
    """Return the Arrow type of a window's output; `column` is its input's type, None without a column."""
    function = function_of(window)
    if column is not None and pa.types.is_dictionary(column):
        column = column.value_type
    if column is not None and not function.accepts(column):
        hint = ""
        if pa.types.is_decimal(column):
            hint = " Make money a BIGINT of minor units, or cast to DOUBLE."
        raise DataError(f"window {window.name!r}: {window.function} cannot take {window.column!r} of {column}.{hint}")
    if window.function in {"count", "count_distinct"}:
        return pa.int64()
    if window.function == "sum":
        return pa.float64() if pa.types.is_floating(column) else pa.int64()
    if window.function in {"mean", "rate", "var", "std", "seconds_since_first", "seconds_since_last"}:
        return pa.float64()
    return pa.list_(column) if window.function == "last_k" else column


def mask_column(window: Window) -> str | None:
    """Return the name of the boolean column that holds the window's `where` and bucket, None without either."""
    parts = [f"where {window.where}"] if window.where else []
    if window.bucket:
        parts.append(f"{window.bucket[0]} is {window.bucket[1]}")
    name = " and ".join(parts)
    # SQL takes names that differ in case alone for one.
    return (name if name == name.lower() else f"{name} #{crc32(name.encode()):08x}") or None
