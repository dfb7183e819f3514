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

from numba import types
from numba.extending import overload

from lifecycle.engine.windows.jit import FLOAT, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

LOW_BITS = 0xFFFFFFFF
WORD = 4294967296.0
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
    high, low = add_float(float(x >> 32) * WORD, 0.0, float(x & LOW_BITS))
    product, rest = square_float(high)
    return product, rest + 2.0 * high * low


def _square_fraction(x: Any) -> Any:
    return square_float(x)


def _finite_whole(x: Any) -> Any:
    return x


def _finite_fraction(x: Any) -> Any:
    return x if x - x == 0 else math.nan


def _neutral_whole(total: Any) -> Any:
    return total - total, 9223372036854775807, -9223372036854775808


def _neutral_fraction(total: Any) -> Any:
    return 0.0, math.inf, -math.inf


def _by_type(whole: Callable[..., Any], fraction: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that kernels compile as `whole` or as `fraction`, by its first argument's type."""

    def interpreted(*values: Any) -> Any:
        return (whole if isinstance(values[0], int) else fraction)(*values)

    def choose(*kinds: Any) -> Any:
        return whole if isinstance(kinds[0], types.Integer) else fraction

    choose.__signature__ = inspect.signature(whole)  # type: ignore[attr-defined]
    overload(interpreted)(choose)
    return interpreted


add = _by_type(_add_whole, _add_fraction)
merge = _by_type(_merge_whole, _merge_fraction)
square = _by_type(_square_whole, _square_fraction)
finite = _by_type(_finite_whole, _finite_fraction)
neutral = _by_type(_neutral_whole, _neutral_fraction)
