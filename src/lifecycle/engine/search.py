"""Searching times, as compiled code that other kernels call."""

from __future__ import annotations

from typing import Any

from lifecycle.engine.jit import INT, INTS, kernel


@kernel(INT(INTS, INT, INT, INT))
def first_at(times: Any, low: int, high: int, moment: int) -> int:
    """Return the first index in [low, high) whose time is `moment` or later, or `high`."""
    while low < high:
        middle = (low + high) >> 1
        if times[middle] < moment:
            low = middle + 1
        else:
            high = middle
    return low
