"""
The one summing structure: per key, blocks of 32 events, blocks of 32 blocks, and so on.

A window is a range of events; it takes whole blocks where it can and single events at its edges. The windows
of one observation are worked through from the shortest, each extending the one before. An event that comes
into force late, or goes out, has the blocks above it worked out again, so nothing is ever subtracted.

A *state* is (count, sum in two words, sum of squares in two words, minimum, maximum). A *tree* holds the states
of full blocks, level by level: counts [N], words [N, 4], products [N, 2], and where each level begins.
`flags` say which of sums, squares and extremes are wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from lifecycle.engine.jit import (
    BOOL,
    FLAG,
    FLAGS,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    MATRIX,
    OUT_FLAGS,
    TOGGLES,
    Function,
    kernel,
)
from lifecycle.engine.windows.numbers import add, finite, merge, square

if TYPE_CHECKING:
    from collections.abc import Callable

SHIFT = 5
BLOCK = 1 << SHIFT
MAX_LEVELS = 16
_LINES = FLOAT[:, ::1]
_WANTED = types.UniTuple(BOOL, 3)


def _state(value: Any) -> Any:
    return types.Tuple((INT, value, value, FLOAT, FLOAT, value, value))


def _values(value: Any) -> Any:
    return INTS if value is INT else FLOATS


def _tree(value: Any) -> Any:
    return types.Tuple((INT[::1], value[:, ::1], _LINES, INT[::1]))


def _both(signature: Callable[[Any], Any], *, inline: bool = False) -> Callable[[Function], Function]:
    """Compile for whole numbers and for floats."""
    return kernel(signature(INT), signature(FLOAT), inline=inline)


@_both(lambda v: _state(v)(_state(v), _values(v), OUT_FLAGS, INT, INT, _WANTED), inline=True)
def take_events(state: Any, values: Any, on: Any, low: int, high: int, flags: Any) -> Any:
    """Return the state with the events [low, high) that are on."""
    sums, squares, extremes = flags
    count, total, lost, square_total, square_lost, least, most = state
    for j in range(low, high):
        if on[j]:
            count += 1
            if sums or extremes:
                x = finite(values[j])
                if sums:
                    total, lost = add(total, lost, x)
                if squares:
                    product, rest = square(x)
                    square_total, square_lost = merge(square_total, square_lost, product, rest)
                if extremes:
                    # A NaN is unequal to itself; once taken, nothing compares below or above it.
                    if x < least or x != x:  # noqa: PLR0124
                        least = x
                    if x > most or x != x:  # noqa: PLR0124
                        most = x
    return count, total, lost, square_total, square_lost, least, most


@_both(lambda v: _state(v)(_state(v), _tree(v), INT, INT, _WANTED), inline=True)
def take_blocks(state: Any, tree: Any, low: int, high: int, flags: Any) -> Any:
    """Return the state with the blocks [low, high)."""
    sums, squares, extremes = flags
    counts, words, products, _ = tree
    count, total, lost, square_total, square_lost, least, most = state
    for j in range(low, high):
        if counts[j] == 0:
            continue
        count += counts[j]
        if sums:
            total, lost = merge(total, lost, words[j, 0], words[j, 1])
        if squares:
            square_total, square_lost = merge(square_total, square_lost, products[j, 0], products[j, 1])
        if extremes:
            x, y = words[j, 2], words[j, 3]
            if x < least or x != x:  # noqa: PLR0124
                least = x
            if y > most or y != y:  # noqa: PLR0124
                most = y
    return count, total, lost, square_total, square_lost, least, most


@_both(lambda v: types.void(_tree(v), INT, INT, _values(v), OUT_FLAGS, INT, _state(v), _WANTED), inline=True)
def work_out(tree: Any, level: int, block: int, values: Any, on: Any, base: int, empty: Any, flags: Any) -> None:
    """Work out one block from the 32 below it."""
    counts, words, products, offsets = tree
    if level == 0:
        low = base + block * BLOCK
        state = take_events(empty, values, on, low, low + BLOCK, flags)
    else:
        low = offsets[level - 1] + block * BLOCK
        state = take_blocks(empty, tree, low, low + BLOCK, flags)
    place = offsets[level] + block
    counts[place] = state[0]
    if flags[0]:
        words[place, 0], words[place, 1] = state[1], state[2]
    if flags[1]:
        products[place, 0], products[place, 1] = state[3], state[4]
    if flags[2]:
        words[place, 2], words[place, 3] = state[5], state[6]


@_both(lambda v: INT(_tree(v), _values(v), OUT_FLAGS, INT, INT, _state(v), _WANTED))
def grow(tree: Any, values: Any, on: Any, base: int, events: int, empty: Any, flags: Any) -> int:
    """Work out all full blocks of a key; return the number of levels."""
    offsets = tree[3]
    level, size = 0, events >> SHIFT
    offsets[0] = 0
    while size > 0:
        for block in range(size):
            work_out(tree, level, block, values, on, base, empty, flags)
        offsets[level + 1] = offsets[level] + size
        level += 1
        size >>= SHIFT
    return level


@_both(lambda v: types.void(_tree(v), INT, OUT_FLAGS, INT, INT, INT), inline=True)
def recount(tree: Any, levels: int, on: Any, base: int, events: int, place: int) -> None:
    """Turn an event on or off in a tree of counts alone, which may be added to and taken from."""
    counts, _, _, offsets = tree
    on[place] ^= FLAG(1)
    step = 1 if on[place] else -1
    block = place - base
    for level in range(levels):
        block >>= SHIFT
        if block >= events >> (SHIFT * (level + 1)):
            return
        counts[offsets[level] + block] += step


@_both(lambda v: types.void(_tree(v), INT, _values(v), OUT_FLAGS, INT, INT, INT, _state(v), _WANTED))
def flip(
    tree: Any, levels: int, values: Any, on: Any, base: int, events: int, place: int, empty: Any, flags: Any
) -> None:
    """Turn an event on or off and bring the blocks above it up to date."""
    on[place] ^= FLAG(1)
    block = place - base
    for level in range(levels):
        block >>= SHIFT
        if block >= events >> (SHIFT * (level + 1)):
            return
        work_out(tree, level, block, values, on, base, empty, flags)


@_both(lambda v: _state(v)(_state(v), _tree(v), INT, _values(v), OUT_FLAGS, INT, INT, INT, _WANTED), inline=True)
def take_range(
    state: Any, tree: Any, levels: int, values: Any, on: Any, base: int, low: int, high: int, flags: Any
) -> Any:
    """Return the state with the key's events [low, high): edges one by one, the middle by blocks."""
    offsets = tree[3]
    level = 0
    while low < high:
        left, right = high, high
        if level < levels:
            left = min(high, (low + BLOCK - 1) >> SHIFT << SHIFT)
            right = max(left, high >> SHIFT << SHIFT)
        if level == 0:
            state = take_events(state, values, on, base + low, base + left, flags)
            state = take_events(state, values, on, base + right, base + high, flags)
        else:
            at = offsets[level - 1]
            state = take_blocks(state, tree, at + low, at + left, flags)
            state = take_blocks(state, tree, at + right, at + high, flags)
        low, high = left >> SHIFT, right >> SHIFT
        level += 1
    return state


@kernel(INT(MATRIX))
def blocks_needed(groups: Any) -> int:
    """Return how many blocks the longest key has, on all levels."""
    longest = 0
    for g in range(len(groups)):
        longest = max(longest, groups[g, 1] - groups[g, 0])
    return (longest >> SHIFT) + (longest >> (2 * SHIFT)) * 2 + 1


def _results(value: Any) -> Any:
    whole = value[:, ::1]
    return types.Tuple((INT[:, ::1], whole, whole, _LINES, _LINES, whole, whole))


@_both(lambda v: _results(v)(_values(v), _state(v), OUT_FLAGS, FLAGS, MATRIX, INTS, MATRIX, TOGGLES, _WANTED))
def accumulate(
    values: Any, empty: Any, on: Any, mask: Any, groups: Any, end: Any, start: Any, toggles: Any, flags: Any
) -> Any:
    """
    Aggregate `values` over every window of every observation.

    values: int64[n] or float64[n]. empty: the state of no events. on: uint8[n], whether an event counts when
    first seen; changed in place. mask: uint8[n], the events that may ever count, or empty for all. groups,
    end, toggles: what `schedule` returns; start: its rows of the wanted windows, ascending.

    Returns [w, m] each: count, the two words of the sum, those of the sum of squares, minimum, maximum; what
    the flags do not ask for has no rows.
    """
    w, m = start.shape
    sums, squares, extremes = flags
    out_count = np.zeros((w, m), np.int64)
    out_sum = np.zeros((w if sums else 0, m), values.dtype)
    out_lost = np.zeros((w if sums else 0, m), values.dtype)
    out_square = np.zeros((w if squares else 0, m), np.float64)
    out_square_lost = np.zeros((w if squares else 0, m), np.float64)
    out_least = np.zeros((w if extremes else 0, m), values.dtype)
    out_most = np.zeros((w if extremes else 0, m), values.dtype)
    head, following, flipped = toggles
    room = blocks_needed(groups)
    offsets = np.zeros(MAX_LEVELS + 1, np.int64)
    tree = (np.empty(room, np.int64), np.empty((room, 4), values.dtype), np.empty((room, 2), np.float64), offsets)
    for g in range(len(groups)):
        base, events = groups[g, 0], groups[g, 1] - groups[g, 0]
        levels = grow(tree, values, on, base, events, empty, flags)
        for row in range(groups[g, 2], groups[g, 3]):
            toggle = head[row]
            while toggle >= 0:
                place = flipped[toggle]
                if len(mask) == 0 or mask[place]:
                    flip(tree, levels, values, on, base, events, place, empty, flags)
                toggle = following[toggle]
            state = empty
            reached = end[row] - base
            for k in range(w):
                low = start[k, row] - base
                state = take_range(state, tree, levels, values, on, base, low, reached, flags)
                reached = min(reached, low)
                out_count[k, row] = state[0]
                if sums:
                    out_sum[k, row], out_lost[k, row] = state[1], state[2]
                if squares:
                    out_square[k, row], out_square_lost[k, row] = state[3], state[4]
                if extremes:
                    out_least[k, row], out_most[k, row] = state[5], state[6]
    return out_count, out_sum, out_lost, out_square, out_square_lost, out_least, out_most
