"""
When each event counts, in terms of its key's observations instead of times.

Within a key observations are in order of t, so "in force at t" becomes "from observation `on` up to
observation `off`". An event that is in force when the first observation after it comes, and stays so, needs
no further work: that is nearly all of them. The others are *toggles*: a chained list per observation of the
events whose state it flips. No heap is needed, as the place in the list is found by bisection, once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from lifecycle.engine.jit import BOOL, FLAG, INT, INTS, OUT_FLAGS, OUT_INTS, OUT_MATRIX, kernel
from lifecycle.engine.search import first_at

FOREVER = int(np.iinfo(np.int64).max)
ALWAYS = int(np.iinfo(np.int64).min)
_SPREAD = types.Tuple((OUT_MATRIX, OUT_INTS, OUT_MATRIX, OUT_FLAGS, OUT_INTS, OUT_INTS, OUT_INTS))


@kernel(BOOL(INTS, INTS))
def in_order(keys: Any, times: Any) -> bool:
    """Whether rows are sorted by key and time."""
    for i in range(1, len(keys)):
        if keys[i] < keys[i - 1] or (keys[i] == keys[i - 1] and times[i] < times[i - 1]):
            return False
    return True


@kernel(types.UniTuple(INT, 2)(INT, INT, INT, INT, INTS), inline=True)
def lifetime(row: int, last: int, known_from: int, known_until: int, times: Any) -> Any:
    """Return the first observation, of those from `row` to `last`, at which a version counts, and its end."""
    on, off = row, last
    if known_from > times[row]:
        on = first_at(times, row + 1, last, known_from)
    if known_until != FOREVER:
        off = first_at(times, row, last, known_until)
    return on, off


@kernel(INT(INT, INT, INT, OUT_INTS, OUT_INTS, OUT_INTS), inline=True)
def chain(used: int, row: int, place: int, head: Any, following: Any, flipped: Any) -> int:
    """Put an event into an observation's list of flips; return how many flips there are."""
    flipped[used], following[used] = place, head[row]
    head[row] = used
    return used + 1


@kernel(_SPREAD(INTS, INTS, INTS, INTS, INTS, INTS, INTS))
def schedule(
    keys: Any, event_times: Any, known_from: Any, known_until: Any, spine_keys: Any, spine_times: Any, widths: Any
) -> Any:
    """
    Lay out events (sorted by key and time) against observations (sorted by key and t).

    keys, event_times, known_from, known_until: int64[n], times in microseconds; the last two are empty
    where each event is known at its own time for good. spine_keys, spine_times: int64[m]. widths: int64[w],
    ascending, FOREVER for all history.

    Returns groups int64[g, 4] (a key's first event, its end, its first observation, its end), end int64[m],
    start int64[w, m] (events [start, end) lie in the window), live uint8[n] (in force when first seen),
    and the toggles: head int64[m] and following int64[], -1 for none, flipped int64[].
    """
    m, n = len(spine_keys), len(keys)
    groups = np.empty((m, 4), np.int64)
    found = 0
    end = np.zeros(m, np.int64)
    start = np.zeros((len(widths), m), np.int64)
    live = np.zeros(n, np.uint8)
    head = np.full(m, -1, np.int64)
    # Untouched memory costs nothing, so these may be as long as the worst case.
    following = np.empty(2 * n, np.int64)
    flipped = np.empty(2 * n, np.int64)
    toggles = 0
    dated = len(known_from) > 0
    edge = np.empty(len(widths), np.int64)
    event, first = 0, 0
    while first < m:
        key = spine_keys[first]
        last = first + 1
        while last < m and spine_keys[last] == key:
            last += 1
        while event < n and keys[event] < key:
            event += 1
        begin = event
        while event < n and keys[event] == key:
            event += 1
        if event == begin:
            first = last
            continue
        groups[found, 0], groups[found, 1], groups[found, 2], groups[found, 3] = begin, event, first, last
        found += 1
        edge[:] = begin
        seen = begin
        for row in range(first, last):
            now = spine_times[row]
            while seen < event and event_times[seen] < now:
                if not dated:
                    live[seen] = FLAG(1)
                    seen += 1
                    continue
                on, off = lifetime(row, last, known_from[seen], known_until[seen], spine_times)
                if on == row and on < off:
                    live[seen] = FLAG(1)
                elif on < off:
                    toggles = chain(toggles, on, seen, head, following, flipped)
                if on < off < last:
                    toggles = chain(toggles, off, seen, head, following, flipped)
                seen += 1
            end[row] = seen
            for w in range(len(widths)):
                reach = now - widths[w]
                if widths[w] != FOREVER and reach <= now:
                    place = edge[w]
                    while place < seen and event_times[place] < reach:
                        place += 1
                    edge[w] = place
                start[w, row] = edge[w]
        first = last
    return groups[:found], end, start, live, head, following[:toggles], flipped[:toggles]
