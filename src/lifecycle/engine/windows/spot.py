"""
Kernels for one key at one time: what an online read asks of its events.

They take events in with the functions that `accumulate` uses, without its trees: one bisection per window, then each
input once, from the newest event back, each window extending the one before. `answer` does all of a view's windows in
one call, for handing arrays over from Python, one by one, takes longer than folding a few hundred events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from lifecycle.engine.jit import FLAG, FLAGS, FLOAT, FLOATS, INT, INTS, MATRIX, OUT_FLAGS, OUT_INTS, OUT_MATRIX, kernel
from lifecycle.engine.search import first_at
from lifecycle.engine.windows.functions import LARGEST_HIGH
from lifecycle.engine.windows.numbers import LOW_BITS, as_floats, by_type, variances
from lifecycle.engine.windows.piece import EMPTY_FRACTION, EMPTY_WHOLE
from lifecycle.engine.windows.schedule import FOREVER
from lifecycle.engine.windows.tree import take_events

_WANTED = types.UniTuple(types.boolean, 3)
_LINES = FLOAT[:, ::1]
TOTAL, LOST, LEAST, MOST = range(4)
MEAN, VARIANCE = range(2)

# Columns that every entry's layout begins with, and the types in a layout's second row.
TIMES, KNOWN_FROM, KNOWN_UNTIL = range(3)
WHOLES, FRACTIONS, BYTES = range(3)
# What a source does with its column, and what an output reads of it.
FOLD, ENDS, DISTINCT = range(3)
COUNT, SUM, AVERAGE, VAR, STD, MIN, MAX, FIRST, LAST, SINCE_FIRST, SINCE_LAST = range(11)
# What an output is: where it lies, or why there is none.
NULL, WHOLE, FRACTION, PLACE, TOO_LARGE, MIXED = range(6)
PLAN_HEAD, SOURCE, OUTPUT = 4, 7, 4
# How `answer` lays out what it tells: the newest event's time, the greatest code, how many outputs are NULL; then rows.
TOLD_HEAD = 3
VALUE, CODE, NULLS = range(3)
NEVER = -(2**63)


@kernel(types.Tuple((INT, INT, OUT_INTS, OUT_FLAGS))(INTS, INTS, INTS, INT, INTS, INT))
def look(event_times: Any, known_from: Any, known_until: Any, t: int, widths: Any, cap: int) -> Any:
    """
    Return what counts at `t`: the end of the events before it, the newest in force, where windows begin, what is on.

    widths: int64[w], ascending, FOREVER for all history. cap: events in force that any window takes, or NO_CAP.
    known_from, known_until: int64[n], or empty where each event is known at its own time for good.
    """
    end = first_at(event_times, 0, len(event_times), t)
    live = np.ones(end, np.uint8)
    newest = end - 1
    if len(known_from) > 0 or len(known_until) > 0:
        newest = -1
        for i in range(end):
            if len(known_from) > 0 and known_from[i] > t:
                live[i] = FLAG(0)
            if len(known_until) > 0 and known_until[i] <= t:
                live[i] = FLAG(0)
            if live[i]:
                newest = i
    begin = 0
    if cap >= 0:
        begin, left = end, cap
        while begin > 0 and left > 0:
            begin -= 1
            if live[begin]:
                left -= 1
    starts = np.empty(len(widths), np.int64)
    for w in range(len(widths)):
        reach = t - widths[w]
        low = 0
        if widths[w] != FOREVER and reach <= t:
            low = first_at(event_times, 0, end, reach)
        starts[w] = max(low, begin)
    return end, newest, starts, live


@kernel(OUT_FLAGS(OUT_FLAGS, FLAGS, FLAGS, INT), inline=True)
def switched(live: Any, mask: Any, gate: Any, end: int) -> Any:
    """Return which events count: in force, taken by the filter, with a value."""
    on = live.copy()
    for i in range(end):
        if (len(mask) > 0 and not mask[i]) or (len(gate) > 0 and not gate[i]):
            on[i] = FLAG(0)
    return on


def _state(value: Any) -> Any:
    return types.Tuple((INT, value, value, FLOAT, FLOAT, value, value))


def _fold(value: Any) -> Any:
    values = INTS if value is INT else FLOATS
    results = types.Tuple((OUT_INTS, value[:, ::1], _LINES))
    return results(values, _state(value), OUT_FLAGS, FLAGS, FLAGS, INTS, INT, _WANTED)


@kernel(_fold(INT), _fold(FLOAT))
def fold(values: Any, empty: Any, live: Any, mask: Any, gate: Any, starts: Any, end: int, flags: Any) -> Any:
    """
    Aggregate one input over all windows, each of which extends the one before.

    Returns counts int64[w]; TOTAL, LOST (the sum's two words), LEAST, MOST of the values' own type [4, w]; MEAN and
    VARIANCE float64[2, w].
    """
    windows = len(starts)
    counts = np.zeros(windows, np.int64)
    own = np.zeros((4, windows), values.dtype)
    floats = np.zeros((2, windows), np.float64)
    squares, squares_lost = np.zeros(windows, np.float64), np.zeros(windows, np.float64)
    on = switched(live, mask, gate, end)
    state, reached = empty, end
    for w in range(windows):
        state = take_events(state, values, on, starts[w], reached, flags)
        reached = min(reached, starts[w])
        counts[w], own[TOTAL, w], own[LOST, w] = state[0], state[1], state[2]
        squares[w], squares_lost[w] = state[3], state[4]
        own[LEAST, w], own[MOST, w] = state[5], state[6]
        if flags[0]:
            high, low = as_floats(own[TOTAL, w], own[LOST, w])
            floats[MEAN, w] = (high + low) / counts[w]
            if not np.isfinite(floats[MEAN, w]):
                floats[MEAN, w] = np.nan
    if flags[1]:
        floats[VARIANCE] = variances(counts, own[TOTAL], own[LOST], squares, squares_lost)
    return counts, own, floats


@kernel(types.UniTuple(OUT_INTS, 2)(OUT_FLAGS, FLAGS, FLAGS, INTS, INT))
def ends(live: Any, mask: Any, gate: Any, starts: Any, end: int) -> Any:
    """Return the oldest and the newest event of each window int64[w], -1 for none."""
    windows = len(starts)
    oldest, newest = np.full(windows, -1, np.int64), np.full(windows, -1, np.int64)
    on = switched(live, mask, gate, end)
    first, last, at = -1, -1, end
    for w in range(windows):
        while at > starts[w]:
            at -= 1
            if on[at]:
                first = at
                if last < 0:
                    last = at
        oldest[w], newest[w] = first, last
    return oldest, newest


@kernel(OUT_INTS(INTS, OUT_FLAGS, FLAGS, FLAGS, INTS, INT))
def distinct(ids: Any, live: Any, mask: Any, gate: Any, starts: Any, end: int) -> Any:
    """Return how many distinct `ids` each window holds, int64[w]: each is counted at its newest event."""
    windows = len(starts)
    counts = np.zeros(windows, np.int64)
    on = switched(live, mask, gate, end)
    size = 16
    while size < 2 * end:
        size *= 2
    held, full = np.empty(size, np.int64), np.zeros(size, np.uint8)
    at, seen = end, 0
    for w in range(windows):
        while at > starts[w]:
            at -= 1
            if not on[at]:
                continue
            one = ids[at]
            slot = ((one ^ (one >> 29)) * 0x9E3779B97F4A7C1) & (size - 1)
            while full[slot] and held[slot] != one:
                slot = (slot + 1) & (size - 1)
            if not full[slot]:
                held[slot], full[slot] = one, 1
                seen += 1
        counts[w] = seen
    return counts


@kernel(OUT_INTS(OUT_FLAGS, FLAGS, INT, INT, INT))
def tail(live: Any, mask: Any, start: int, end: int, k: int) -> Any:
    """Return the places of the newest `k` events of a window, oldest first."""
    on = switched(live, mask, mask[:0], end)
    places = np.empty(k, np.int64)
    at, left = end, k
    while at > start and left > 0:
        at -= 1
        if on[at]:
            left -= 1
            places[left] = at
    return places[left:]


def _pick(value: Any) -> Any:
    values = INTS if value is INT else FLOATS
    return types.Tuple((types.boolean, value))(values, OUT_FLAGS, FLAGS, FLAGS, INT, INT, FLOAT)


@kernel(_pick(INT), _pick(FLOAT))
def pick(values: Any, live: Any, mask: Any, gate: Any, start: int, end: int, share: float) -> Any:
    """Return whether a window holds a value, and the least one with at least `share` of them below or at it."""
    on = switched(live, mask, gate, end)
    held = np.empty(end - start, values.dtype)
    count, bad = 0, False
    for place in range(start, end):
        if on[place]:
            held[count] = values[place]
            bad = bad or not np.isfinite(held[count])
            count += 1
    if count == 0:
        return False, values.dtype.type(0)
    rank = max(count - INT(np.floor(count - share * count)), 1) - 1
    found = np.partition(held[:count], rank)[rank]
    if bad:
        found = np.nan
    return True, found


def _put_whole(x: Any, o: int, told: Any, fractions: Any) -> None:  # noqa: ARG001
    told[CODE, o], told[VALUE, o] = WHOLE, x


def _put_fraction(x: Any, o: int, told: Any, fractions: Any) -> None:
    told[CODE, o], fractions[o] = FRACTION, x


def _put_sum_whole(total: Any, lost: Any, o: int, told: Any, fractions: Any) -> None:  # noqa: ARG001
    high = total + (lost >> 32)
    if -LARGEST_HIGH <= high < LARGEST_HIGH:
        told[CODE, o], told[VALUE, o] = WHOLE, (high << 32) | (lost & LOW_BITS)
    else:
        told[CODE, o] = TOO_LARGE


def _put_sum_fraction(total: Any, lost: Any, o: int, told: Any, fractions: Any) -> None:
    both = total + lost
    told[CODE, o], fractions[o] = FRACTION, both if np.isfinite(both) else np.nan


put = by_type(_put_whole, _put_fraction)
put_sum = by_type(_put_sum_whole, _put_sum_fraction)


def _folded(value: Any) -> Any:
    return types.void(OUT_INTS, value[:, ::1], _LINES, INT, MATRIX, OUT_MATRIX, FLOAT[::1])


@kernel(_folded(INT), _folded(FLOAT))
def read_fold(counts: Any, own: Any, floats: Any, source: int, outputs: Any, told: Any, fractions: Any) -> None:
    """Write what outputs read of one folded source: `fold`'s three results."""
    for o in range(len(outputs)):
        w, read = outputs[o, 1], outputs[o, 2]
        if outputs[o, 3] == source and counts[w] > 0 and own[LEAST, w] != own[MOST, w]:
            told[CODE, o] = MIXED
        if outputs[o, 0] != source or told[CODE, o] == MIXED:
            continue
        if read == COUNT:
            put(counts[w], o, told, fractions)
        elif counts[w] == 0:
            continue
        elif read == SUM:
            put_sum(own[TOTAL, w], own[LOST, w], o, told, fractions)
        elif read == AVERAGE:
            put(floats[MEAN, w], o, told, fractions)
        elif read == MIN:
            put(own[LEAST, w], o, told, fractions)
        elif read == MAX:
            put(own[MOST, w], o, told, fractions)
        elif counts[w] > 1:  # a sample's spread takes two
            spread = floats[VARIANCE, w]
            put(np.sqrt(spread) if read == STD else spread, o, told, fractions)


@kernel(types.void(OUT_INTS, OUT_INTS, INTS, INT, INT, MATRIX, OUT_MATRIX, FLOAT[::1]))
def read_ends(
    oldest: Any, newest: Any, times: Any, t: int, source: int, outputs: Any, told: Any, fractions: Any
) -> None:
    """Write what outputs read of the first and last events of each window."""
    for o in range(len(outputs)):
        if outputs[o, 0] != source:
            continue
        w, read = outputs[o, 1], outputs[o, 2]
        place = oldest[w] if read in (FIRST, SINCE_FIRST) else newest[w]
        if place < 0:
            continue
        if read in (FIRST, LAST):
            told[CODE, o], told[VALUE, o] = PLACE, place
        else:
            put((t - times[place]) / 1e6, o, told, fractions)


@kernel(INTS(FLAGS, INT, INT, MATRIX, INT), inline=True)
def whole_column(data: Any, start: int, count: int, layout: Any, column: int) -> Any:
    """Return a column of 64 bits of an entry, empty where it is not there."""
    if layout[0, column] < 0:
        return data[:0].view(np.int64)
    at = start + layout[0, column] * count
    return data[at : at + 8 * count].view(np.int64)


@kernel(FLAGS(FLAGS, INT, INT, MATRIX, INT), inline=True)
def byte_column(data: Any, start: int, count: int, layout: Any, column: int) -> Any:
    """Return a column of bytes of an entry, empty where it is not there."""
    if column < 0 or layout[0, column] < 0:
        return data[:0]
    at = start + layout[0, column] * count
    return data[at : at + count]


def planned(layout: Any, sources: Any, outputs: Any, widths: Any, cap: int) -> Any:
    """
    Return all that `answer` needs to know besides events and time, as one int64[n]: an array costs more to hand over.

    layout: as in `Events`. sources: int64[s, 7]: what it does, columns of values, filter and of what must not be NULL
    (-1 for none), and whether sums, squares and extremes are wanted. outputs: int64[o, 4]: source (-1 for one that is
    made elsewhere), window, what it reads, source of its money (-1 for none). widths, cap: as in `look`.
    """
    head = layout.shape[1], len(sources), len(outputs), cap
    return np.concatenate([np.array(head, np.int64), layout.ravel(), sources.ravel(), outputs.ravel(), widths])


@kernel(types.void(types.Bytes(FLAG, 1, "C", readonly=True), INT, INT, INTS, INT, OUT_INTS))
def answer(entry: Any, start: int, count: int, plan: Any, t: int, out: Any) -> None:
    """
    Write what an entry tells at `t`, into memory that the caller keeps: handing over an array made here costs more.

    entry, start, count: as in `Events`. plan: what `planned` made. out: int64[TOLD_HEAD + 3 * o], the newest event's
    time (NEVER for none), the greatest code, how many outputs are NULL, and three rows: each one's VALUE (a whole
    number, a place or a fraction's bits), its CODE, and in NULLS which are NULL.
    """
    data = np.frombuffer(entry, np.uint8)
    columns, inputs, makes, cap = plan[0], plan[1], plan[2], plan[3]
    at = PLAN_HEAD
    layout = plan[at : at + 2 * columns].reshape(2, columns)
    at += 2 * columns
    sources = plan[at : at + SOURCE * inputs].reshape(inputs, SOURCE)
    at += SOURCE * inputs
    outputs = plan[at : at + OUTPUT * makes].reshape(makes, OUTPUT)
    widths = plan[at + OUTPUT * makes :]
    times = whole_column(data, start, count, layout, TIMES)
    known_from = whole_column(data, start, count, layout, KNOWN_FROM)
    known_until = whole_column(data, start, count, layout, KNOWN_UNTIL)
    end, newest, starts, live = look(times, known_from, known_until, t, widths, cap)
    out[:] = NULL
    told = out[TOLD_HEAD:].reshape(3, makes)
    fractions = out[TOLD_HEAD : TOLD_HEAD + makes].view(np.float64)
    for s in range(len(sources)):
        does, column = sources[s, 0], sources[s, 1]
        mask = byte_column(data, start, count, layout, sources[s, 2])
        gate = byte_column(data, start, count, layout, sources[s, 3])
        values = whole_column(data, start, count, layout, column)
        flags = sources[s, 4] > 0, sources[s, 5] > 0, sources[s, 6] > 0
        if does == ENDS:
            oldest, latest = ends(live, mask, gate, starts, end)
            read_ends(oldest, latest, times, t, s, outputs, told, fractions)
        elif does == DISTINCT:
            counts = distinct(values, live, mask, gate, starts, end)
            read_fold(counts, np.zeros((4, 0), np.int64), np.zeros((2, 0)), s, outputs, told, fractions)
        elif layout[1, column] == FRACTIONS:
            shares = values.view(np.float64)
            counts, apart, floats = fold(shares, EMPTY_FRACTION, live, mask, gate, starts, end, flags)
            read_fold(counts, apart, floats, s, outputs, told, fractions)
        else:
            counts, own, floats = fold(values, EMPTY_WHOLE, live, mask, gate, starts, end, flags)
            read_fold(counts, own, floats, s, outputs, told, fractions)
    most, nulls = NULL, 0
    for o in range(makes):
        most = max(most, told[CODE, o])
        if told[CODE, o] == NULL:
            told[NULLS, nulls] = o
            nulls += 1
    out[0], out[1], out[2] = times[newest] if newest >= 0 else NEVER, most, nulls
