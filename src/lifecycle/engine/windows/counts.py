"""
How many events count in each window, from one bit an event.

A word of 64 bits is counted by one instruction, so that a window of a few hundred events takes a few steps. Above the
words stand the counts of 64 words, of 64 of those, and so on, which a flip adds to or takes from: whole numbers do not
mind. What is not added up needs no more than this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from lifecycle.engine.jit import FLAGS, INT, INTS, MATRIX, OUT_INTS, OUT_MATRIX, TOGGLES, kernel

SHIFT = 6
FAN = 1 << SHIFT
LEVELS = 12
_WORD = types.uint64
_ONE, _TWO, _FOUR, _TOP = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
_ALL, _PLACE = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(FAN - 1)
_PAIRS, _NIBBLES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_BYTES, _SUM = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


@kernel(INT(_WORD), inline=True)
def ones(word: Any) -> Any:
    """Return how many bits of a word are set; the compiler knows this form and makes one instruction of it."""
    word = word - ((word >> _ONE) & _PAIRS)
    word = (word & _NIBBLES) + ((word >> _TWO) & _NIBBLES)
    word = (word + (word >> _FOUR)) & _BYTES
    return INT((word * _SUM) >> _TOP)


@kernel(INT(_WORD[::1], OUT_INTS, OUT_INTS, INT, INT, INT), inline=True)
def count_between(bits: Any, counts: Any, offsets: Any, levels: int, low: int, high: int) -> Any:
    """Return how many of a key's events [low, high) are on."""
    if low >= high:
        return 0
    begin, end = low >> SHIFT, high >> SHIFT
    after, before = _ALL << (_WORD(low) & _PLACE), (_ONE << (_WORD(high) & _PLACE)) - _ONE
    if begin == end:
        return ones(bits[begin] & after & before)
    found = ones(bits[begin] & after)
    if before:
        found += ones(bits[end] & before)
    begin += 1
    level = 0
    while begin < end:
        left, right = end, end
        if level < levels:
            left = min(end, (begin + FAN - 1) >> SHIFT << SHIFT)
            right = max(left, end >> SHIFT << SHIFT)
        if level == 0:
            for j in range(begin, left):
                found += ones(bits[j])
            for j in range(right, end):
                found += ones(bits[j])
        else:
            at = offsets[level - 1]
            for j in range(at + begin, at + left):
                found += counts[j]
            for j in range(at + right, at + end):
                found += counts[j]
        begin, end = left >> SHIFT, right >> SHIFT
        level += 1
    return found


@kernel(INT(FLAGS, INT, INT, _WORD[::1], OUT_INTS, OUT_INTS))
def lay_out(on: Any, base: int, events: int, bits: Any, counts: Any, offsets: Any) -> int:
    """Set a key's bits and the counts above them; return the number of levels of those."""
    size = (events >> SHIFT) + 1
    for word in range(size):
        held = _WORD(0)
        for place in range(word << SHIFT, min(events, (word + 1) << SHIFT)):
            held |= _WORD(on[base + place]) << (_WORD(place) & _PLACE)
        bits[word] = held
    level = 0
    offsets[0] = 0
    while size > FAN:
        blocks = size >> SHIFT
        for block in range(blocks):
            inside = 0
            for below in range(block << SHIFT, (block + 1) << SHIFT):
                inside += ones(bits[below]) if level == 0 else counts[offsets[level - 1] + below]
            counts[offsets[level] + block] = inside
        offsets[level + 1] = offsets[level] + blocks
        level += 1
        size = blocks
    return level


@kernel(types.void(_WORD[::1], OUT_INTS, OUT_INTS, INT, INT), inline=True)
def switch(bits: Any, counts: Any, offsets: Any, levels: int, place: int) -> None:
    """Turn a key's event on or off."""
    block = place >> SHIFT
    bit = _ONE << (_WORD(place) & _PLACE)
    bits[block] ^= bit
    step = 1 if bits[block] & bit else -1
    for level in range(levels):
        block >>= SHIFT
        if block >= offsets[level + 1] - offsets[level]:
            return
        counts[offsets[level] + block] += step


@kernel(OUT_MATRIX(FLAGS, FLAGS, MATRIX, INTS, MATRIX, TOGGLES))
def tally(on: Any, mask: Any, groups: Any, end: Any, start: Any, toggles: Any) -> Any:
    """
    Return how many events every window of every observation holds, int64[w, m].

    on, mask, groups, end, start, toggles: as `accumulate` takes them; `on` stays as it is.
    """
    w, m = start.shape
    out = np.zeros((w, m), np.int64)
    head, following, flipped = toggles
    longest = 0
    for g in range(len(groups)):
        longest = max(longest, groups[g, 1] - groups[g, 0])
    bits = np.empty((longest >> SHIFT) + 1, np.uint64)
    counts = np.empty((len(bits) >> SHIFT) * 2 + 1, np.int64)
    offsets = np.zeros(LEVELS, np.int64)
    for g in range(len(groups)):
        base = groups[g, 0]
        levels = lay_out(on, base, groups[g, 1] - base, bits, counts, offsets)
        for row in range(groups[g, 2], groups[g, 3]):
            toggle = head[row]
            while toggle >= 0:
                place = flipped[toggle]
                if len(mask) == 0 or mask[place]:
                    switch(bits, counts, offsets, levels, place - base)
                toggle = following[toggle]
            found, reached = 0, end[row] - base
            for k in range(w):
                low = start[k, row] - base
                found += count_between(bits, counts, offsets, levels, low, reached)
                reached = min(reached, low)
                out[k, row] = found
    return out
