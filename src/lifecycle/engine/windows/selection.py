"""Kernels that pick events instead of adding them up: distinct values, the newest k, a cap, quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from lifecycle.engine.jit import (
    FLAG,
    FLAGS,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    MATRIX,
    OUT_FLAGS,
    OUT_INTS,
    OUT_MATRIX,
    TOGGLES,
    kernel,
)
from lifecycle.engine.windows.schedule import chain
from lifecycle.engine.windows.tree import BLOCK, MAX_LEVELS, SHIFT, blocks_needed, grow, recount

NO_FLAGS = (False, False, False)
NOTHING = (0, 0, 0, 0.0, 0.0, 0, 0)
_TREE = types.Tuple((INT[::1], INT[:, ::1], FLOAT[:, ::1], INT[::1]))


@kernel(_TREE(MATRIX))
def counting_tree(groups: Any) -> Any:
    """Return room for a tree that counts."""
    room = blocks_needed(groups)
    offsets = np.zeros(MAX_LEVELS + 1, np.int64)
    return np.empty(room, np.int64), np.empty((0, 4), np.int64), np.empty((0, 2), np.float64), offsets


@kernel(types.UniTuple(INT, 2)(_TREE, INT, OUT_FLAGS, INT, INT, INT), inline=True)
def step_back(tree: Any, levels: int, on: Any, base: int, high: int, most: int) -> Any:
    """Go back from `high` over the largest whole block with at most `most` events on, or over one event."""
    counts, _, _, offsets = tree
    level = 0
    passed = FLAG(0)
    while level < levels and high & ((1 << (SHIFT * (level + 1))) - 1) == 0:
        inside = counts[offsets[level] + (high >> (SHIFT * (level + 1))) - 1]
        if inside > most:
            break
        passed = inside
        level += 1
    if level == 0:
        return high - 1, INT(on[base + high - 1])
    return high - (1 << (SHIFT * level)), INT(passed)


@kernel(types.Tuple((OUT_MATRIX, OUT_INTS, OUT_INTS))(OUT_FLAGS, FLAGS, MATRIX, INTS, MATRIX, TOGGLES, INT))
def newest(on: Any, mask: Any, groups: Any, end: Any, start: Any, toggles: Any, k: int) -> Any:
    """
    Find the newest `k` events of the widest window, and how many of them each window holds.

    on, mask, groups, end, start, toggles: as `accumulate` takes them.

    Returns held int64[w, m]; after int64[m]: where an observation's places end in places int64[], oldest first.
    """
    w, m = start.shape
    held = np.zeros((w, m), np.int64)
    after = np.zeros(m, np.int64)
    places = np.empty(1024, np.int64)
    used = 0
    head, following, flipped = toggles
    nothing = np.empty(0, np.int64)
    tree = counting_tree(groups)
    for g in range(len(groups)):
        base, events = groups[g, 0], groups[g, 1] - groups[g, 0]
        levels = grow(tree, nothing, on, base, events, NOTHING, NO_FLAGS)
        for row in range(groups[g, 2], groups[g, 3]):
            toggle = head[row]
            while toggle >= 0:
                place = flipped[toggle]
                if len(mask) == 0 or mask[place]:
                    recount(tree, levels, on, base, events, place)
                toggle = following[toggle]
            if used + k > len(places):
                wider = np.empty(2 * (used + k), np.int64)
                wider[:used] = places[:used]
                places = wider
            at, low, first = end[row] - base, start[w - 1, row] - base, used
            while at > low and used - first < k:
                if at & (BLOCK - 1):
                    at -= 1
                    taken = INT(on[base + at])
                else:
                    at, taken = step_back(tree, levels, on, base, at, 0)
                if taken:
                    places[used] = base + at
                    used += 1
            for v in range(w):
                while held[v, row] < used - first and places[first + held[v, row]] >= start[v, row]:
                    held[v, row] += 1
            for i in range((used - first) // 2):
                other = used - 1 - i
                places[first + i], places[other] = places[other], places[first + i]
            after[row] = used
    return held, after, places[:used]


@kernel(types.void(INTS, INTS, OUT_INTS))
def tail_places(ends: Any, lengths: Any, out: Any) -> None:
    """Write end - length, ..., end - 1 for each pair, one after another."""
    used = 0
    for i in range(len(ends)):
        for place in range(ends[i] - lengths[i], ends[i]):
            out[used] = place
            used += 1


def _tails(value: Any) -> Any:
    return types.void(types.Array(value, 1, "C", readonly=True), INTS, INTS, value[::1])


@kernel(_tails(INT), _tails(types.int32))
def tails(values: Any, ends: Any, lengths: Any, out: Any) -> None:
    """Write values[end - length : end] for each pair, one after another."""
    used = 0
    for i in range(len(ends)):
        for place in range(ends[i] - lengths[i], ends[i]):
            out[used] = values[place]
            used += 1


@kernel(OUT_INTS(OUT_FLAGS, MATRIX, INTS, TOGGLES, INT))
def capped(on: Any, groups: Any, end: Any, toggles: Any, cap: int) -> Any:
    """Return, per observation, where the newest `cap` events in force begin; `on` is used up."""
    begin = np.zeros(len(end), np.int64)
    head, following, flipped = toggles
    nothing = np.empty(0, np.int64)
    tree = counting_tree(groups)
    for g in range(len(groups)):
        base, events = groups[g, 0], groups[g, 1] - groups[g, 0]
        levels = grow(tree, nothing, on, base, events, NOTHING, NO_FLAGS)
        for row in range(groups[g, 2], groups[g, 3]):
            toggle = head[row]
            while toggle >= 0:
                recount(tree, levels, on, base, events, flipped[toggle])
                toggle = following[toggle]
            at, left = end[row] - base, cap
            while at > 0 and left > 0:
                at, taken = step_back(tree, levels, on, base, at, left)
                left -= taken
            begin[row] = base + at
    return begin


_MARKS = types.Tuple((OUT_FLAGS, OUT_INTS, OUT_INTS, OUT_INTS))


@kernel(_MARKS(INTS, INT, OUT_FLAGS, FLAGS, MATRIX, INTS, TOGGLES))
def mark_newest(codes: Any, size: int, on: Any, mask: Any, groups: Any, end: Any, toggles: Any) -> Any:
    """
    Mark, per key and value, the newest event that is on; distinct values of a window are its marks.

    That holds for every window at once, since all end at the observation. codes: int64[n] in [0, size).

    Returns marks uint8[n], as they stand when an event is first seen, and how they change from observation to
    observation, in the form of `schedule`'s toggles.
    """
    head, following, flipped = toggles
    n, m = len(codes), len(end)
    marks = np.zeros(n, np.uint8)
    older = np.empty(n, np.int64)
    last = np.full(size, -1, np.int64)
    newest_on = np.full(size, -1, np.int64)
    out_head = np.full(m, -1, np.int64)
    out_following = np.empty(n + 2 * len(flipped), np.int64)
    out_flipped = np.empty(n + 2 * len(flipped), np.int64)
    used = 0
    for g in range(len(groups)):
        base = groups[g, 0]
        for place in range(base, groups[g, 1]):
            last[codes[place]] = -1
            newest_on[codes[place]] = -1
        seen = base
        for row in range(groups[g, 2], groups[g, 3]):
            toggle = head[row]
            while toggle >= 0:
                place = flipped[toggle]
                toggle = following[toggle]
                if len(mask) > 0 and not mask[place]:
                    continue
                on[place] ^= FLAG(1)
                code = codes[place]
                before = newest_on[code]
                after = before
                if on[place] and place > before:
                    after = place
                elif not on[place] and place == before:
                    after = older[place]
                    while after >= 0 and not on[after]:
                        after = older[after]
                newest_on[code] = after
                for changed in (before, after):
                    if before != after and changed >= 0:
                        used = chain(used, row, changed, out_head, out_following, out_flipped)
            while seen < end[row]:
                code = codes[seen]
                older[seen] = last[code]
                last[code] = seen
                if on[seen]:
                    before = newest_on[code]
                    newest_on[code] = seen
                    marks[seen] = FLAG(1)
                    if before >= 0:
                        used = chain(used, row, before, out_head, out_following, out_flipped)
                seen += 1
    return marks, out_head, out_following[:used], out_flipped[:used]


def _quantiles(value: Any, values: Any) -> Any:
    return types.Tuple((OUT_FLAGS, value[::1]))(values, OUT_FLAGS, FLAGS, MATRIX, INTS, INTS, TOGGLES, FLOAT)


@kernel(_quantiles(INT, INTS), _quantiles(FLOAT, FLOATS))
def quantile(values: Any, on: Any, mask: Any, groups: Any, end: Any, start: Any, toggles: Any, share: float) -> Any:
    """
    Return, per observation, whether its window holds a value, and the least x with at least `share` below or at it.

    Exact, by selection, so it takes time proportional to the events of each window. A NaN or infinity gives NaN.
    """
    head, following, flipped = toggles
    found = np.zeros(len(end), np.uint8)
    out = np.zeros(len(end), values.dtype)
    held = np.empty(16, values.dtype)
    for g in range(len(groups)):
        if groups[g, 1] - groups[g, 0] > len(held):
            held = np.empty(groups[g, 1] - groups[g, 0], values.dtype)
        for row in range(groups[g, 2], groups[g, 3]):
            toggle = head[row]
            while toggle >= 0:
                if len(mask) == 0 or mask[flipped[toggle]]:
                    on[flipped[toggle]] ^= FLAG(1)
                toggle = following[toggle]
            count, bad = 0, False
            for place in range(start[row], end[row]):
                if on[place]:
                    held[count] = values[place]
                    bad = bad or not np.isfinite(held[count])
                    count += 1
            if count == 0:
                continue
            found[row] = FLAG(1)
            rank = max(count - INT(np.floor(count - share * count)), 1) - 1
            # Two statements: one conditional expression would make whole numbers pass through a double.
            out[row] = np.partition(held[:count], rank)[rank]
            if bad:
                out[row] = np.nan
    return found, out
