"""
Arithmetic of one value, for whole numbers and for floats, chosen when a kernel is compiled.

Sums are held in two words. Whole numbers: the high and the low 32 bits, added apart, so that neither word can
overflow below 2^31 events. Floats: the rounded sum and the sum of what rounding lost (Knuth's TwoSum); the
result then does not depend on how the events were cut into blocks, but far below a double's last bit.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types
from numba.extending import overload

from lifecycle.engine.jit import FLOAT, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

LOW_BITS = 0xFFFFFFFF
WORD = 4294967296.0
# The square of a smaller whole number is a double.
EXACT_SQUARE = 1 << 26
SPLITTER = 134217729.0
_PAIR = types.UniTuple(FLOAT, 2)


@kernel(_PAIR(FLOAT, FLOAT, FLOAT), inline=True)
def add_float(high: float, low: float, x: float) -> tuple[float, float]:
    """Add `x` to an unevaluated sum of two doubles (Knuth's TwoSum)."""
    total = high + x
    part = total - high
    return total, low + ((high - (total - part)) + (x - part))


@kernel(_PAIR(FLOAT), inline=True)
def square_float(x: float) -> tuple[float, float]:
    """Return x * x as two doubles (Dekker's product by Veltkamp's splitting)."""
    carry = SPLITTER * x
    high = carry - (carry - x)
    low = x - high
    product = x * x
    return product, ((high * high - product) + 2.0 * high * low) + low * low


def _add_whole(high: Any, low: Any, x: Any) -> Any:
    return high + (x >> 32), low + (x & LOW_BITS)


def _add_fraction(high: Any, low: Any, x: Any) -> Any:
    return add_float(high, low, x)


def _merge_whole(high: Any, low: Any, other: Any, rest: Any) -> Any:
    return high + other, low + rest


def _merge_fraction(high: Any, low: Any, other: Any, rest: Any) -> Any:
    total, lost = add_float(high, low, other)
    return total, lost + rest


def _square_whole(x: Any) -> Any:
    if -EXACT_SQUARE < x < EXACT_SQUARE:
        return float(x * x), 0.0
    high, low = add_float(float(x >> 32) * WORD, 0.0, float(x & LOW_BITS))
    product, rest = square_float(high)
    return product, rest + 2.0 * high * low


def _square_fraction(x: Any) -> Any:
    return square_float(x)


def _finite_whole(x: Any) -> Any:
    return x


def _finite_fraction(x: Any) -> Any:
    return x if x - x == 0 else math.nan


def by_type(whole: Callable[..., Any], fraction: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that kernels compile as `whole` or as `fraction`, by its first argument's type."""

    def interpreted(*values: Any) -> Any:
        return (whole if isinstance(values[0], int) else fraction)(*values)

    def choose(*kinds: Any) -> Any:
        return whole if isinstance(kinds[0], types.Integer) else fraction

    choose.__signature__ = inspect.signature(whole)  # type: ignore[attr-defined]
    overload(interpreted)(choose)
    return interpreted


add = by_type(_add_whole, _add_fraction)
merge = by_type(_merge_whole, _merge_fraction)
square = by_type(_square_whole, _square_fraction)
finite = by_type(_finite_whole, _finite_fraction)


@kernel(_PAIR(FLOAT, FLOAT), inline=True)
def multiply(x: float, y: float) -> tuple[float, float]:
    """Return x * y as two doubles (Dekker's product by Veltkamp's splitting)."""
    carry = SPLITTER * x
    x_high = carry - (carry - x)
    x_low = x - x_high
    carry = SPLITTER * y
    y_high = carry - (carry - y)
    y_low = y - y_high
    product = x * y
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _as_floats_whole(high: Any, low: Any) -> Any:
    return add_float((high + (low >> 32)) * WORD, 0.0, float(low & LOW_BITS))


def _as_floats_fraction(high: Any, low: Any) -> Any:
    return add_float(high, 0.0, low)


as_floats = by_type(_as_floats_whole, _as_floats_fraction)


def _variances(value: Any) -> Any:
    row, floats = types.Array(value, 1, "C", readonly=True), types.Array(FLOAT, 1, "C", readonly=True)
    return FLOAT[::1](types.Array(types.int64, 1, "C", readonly=True), row, row, floats, floats)


@kernel(_variances(types.int64), _variances(FLOAT))
def variances(counts: Any, totals: Any, lost: Any, squares: Any, squares_lost: Any) -> Any:
    """
    Return sample variances float64[m] from two-word sums, NaN below two values.

    n * sum(x^2) - sum(x)^2, both products exact to about 100 bits, so that what cancels is not what rounding
    left over.
    """
    out = np.full(len(counts), np.nan)
    for i in range(len(counts)):
        if counts[i] < 2:  # noqa: PLR2004 - a sample's spread takes two
            continue
        n = float(counts[i])
        high, low = as_floats(totals[i], lost[i])
        squared, rest = multiply(high, high)
        scaled, more = multiply(squares[i], n)
        difference, left = add_float(scaled, 0.0, -squared)
        numerator = difference + (left + ((more + n * squares_lost[i]) - (rest + 2.0 * high * low)))
        spread = max(numerator, 0.0) / (n * (n - 1.0))
        if spread - spread == 0 and numerator == numerator:  # noqa: PLR0124 - a NaN is unequal to itself
            out[i] = spread
    return out
