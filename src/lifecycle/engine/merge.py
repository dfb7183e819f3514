"""
The as-of kernel: one pass over facts and observations that are both sorted by key and time.

Facts arrive as Arrow batches in order of (key code, visible time); observations are in order of (key code, t). Per key,
in the order in which facts become visible, the winner is the last fact that no fact before it beats by event time. It
only ever grows, so one pass with one winner in hand answers every observation; between batches only that winner is
carried on. Of facts that share both times the last one wins.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numba import types

from lifecycle.engine.jit import FLAGS, INT, INTS, OUT_INTS, kernel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CODE, VISIBLE, EVENT, DELETED = "code", "v", "e", "d"
NOTHING, CARRIED = -1, -2
PART_ROWS = 50_000  # below so many observations a thread costs more than it brings
_NONE = int(np.iinfo(np.int64).min)
_UNSORTED = -1
# The state between batches: next observation, the winner's key code, event time, tombstone mark, its place in the batch
# (or CARRIED, NOTHING), the last fact's code and visible time.
_AT, _KEY, _SINCE, _DEAD, _PLACE, _LAST_KEY, _LAST_TIME = range(7)


@dataclass(frozen=True)
class Observations:
    """Rows to answer, sorted by (code, t): `row` and `code` int64, `t` int64 microseconds, UTC."""

    row: np.ndarray[Any, Any]
    code: np.ndarray[Any, Any]
    t: np.ndarray[Any, Any]

    def __getitem__(self, chosen: Any) -> Observations:
        return Observations(self.row[chosen], self.code[chosen], self.t[chosen])

    def parts(self, most: int) -> list[tuple[Observations, int, int]]:
        """Cut between keys into at most so many parts of like size; each with its least and greatest code."""
        wanted = max(1, min(most, len(self.row) // PART_ROWS))
        ends = [len(self.row) * part // wanted for part in range(wanted)]
        cuts = sorted({int(np.searchsorted(self.code, self.code[end])) for end in ends if end})
        bounds = [0, *(cut for cut in cuts if cut), len(self.row)]
        pieces = [self[first:last] for first, last in itertools.pairwise(bounds)]
        return [(one, int(one.code[0]), int(one.code[-1])) if len(one.row) else (one, 0, -1) for one in pieces]


class Unsorted(Exception):  # noqa: N818 - a finding, which the caller answers by sorting
    """Facts did not come in order of key code and visible time."""


class Merge:
    """
    Merges facts with observations.

    observations: what to answer. features: how many columns f0, f1, ... facts have. ttl_us: microseconds after which a
    state has expired; None or 0 never.
    """

    def __init__(self, observations: Observations, features: int, *, ttl_us: int | None) -> None:
        self._of = observations
        self._names = [f"f{position}" for position in range(features)]
        self._ttl = ttl_us or 0
        self._state = np.array([0, _NONE, _NONE, 0, NOTHING, _NONE, _NONE], np.int64)
        self._found = np.empty(len(observations.row), np.int64)

    def answers(self, facts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """
        Yield (row int64, f0, f1, ...) of the observations that have a state, each once, in any order.

        facts: batches of `code` whole numbers, `v` and, where it is another, `e` int64 microseconds (visible and event
        time), `d` bool where there are tombstones, and f0, f1, ..., sorted by (code, v). Raises Unsorted.
        """
        of, state = self._of, self._state
        carried: pa.RecordBatch | None = None
        for batch in facts:
            start = state[_AT]
            code, visible, event, dead = inputs_of(batch)
            if _advance(code, visible, event, dead, of.code, of.t, self._ttl, state, self._found) == _UNSORTED:
                raise Unsorted
            own = batch.select(self._names)
            yield from self._taken(start, own, carried)
            if state[_PLACE] >= 0:
                carried = own.take(pa.array([state[_PLACE]]))
                state[_PLACE] = CARRIED
        start = state[_AT]
        _finish(of.code, of.t, self._ttl, state, self._found)
        state[_AT] = len(of.row)
        if carried is not None:
            yield from self._taken(start, carried, carried)

    def _taken(self, start: int, batch: pa.RecordBatch, carried: pa.RecordBatch | None) -> Iterator[pa.RecordBatch]:
        rows, found = self._of.row[start : self._state[_AT]], self._found[start : self._state[_AT]]
        names = ["row", *self._names]
        chosen = found >= 0
        if chosen.any():
            columns = batch.take(pa.array(found[chosen])).columns
            yield pa.RecordBatch.from_arrays([pa.array(rows[chosen]), *columns], names=names)
        chosen = found == CARRIED
        if carried is not None and chosen.any():
            columns = carried.take(pa.array(np.zeros(np.count_nonzero(chosen), np.int64))).columns
            yield pa.RecordBatch.from_arrays([pa.array(rows[chosen]), *columns], names=names)


def inputs_of(batch: pa.RecordBatch) -> tuple[np.ndarray[Any, Any], ...]:
    """Return a batch's key codes, visible times, event times and tombstone marks (none where there are no such)."""
    names = batch.schema.names
    code, visible = (np.asarray(batch.column(name).cast(pa.int64())) for name in (CODE, VISIBLE))
    event = np.asarray(batch.column(EVENT)) if EVENT in names else visible
    dead = np.asarray(batch.column(DELETED).cast(pa.uint8())) if DELETED in names else np.empty(0, np.uint8)
    return code, visible, event, dead


@kernel(types.void(INT, INTS, INTS, INT, INTS, OUT_INTS), inline=True)
def _answer(at: int, codes: Any, times: Any, ttl: int, state: Any, found: Any) -> None:
    """Answer observation `at`: the winner's place; NOTHING for another key, a tombstone or an expired one."""
    found[at] = NOTHING
    if state[_KEY] != codes[at] or (ttl > 0 and times[at] - state[_SINCE] > ttl):
        return
    if state[_DEAD] == 0:
        found[at] = state[_PLACE]


@kernel(INT(INTS, INTS, INTS, FLAGS, INTS, INTS, INT, OUT_INTS, OUT_INTS))
def _advance(
    code: Any, visible: Any, event: Any, dead: Any, codes: Any, times: Any, ttl: int, state: Any, found: Any
) -> int:
    """Take in a batch of facts; answer each observation that comes before one of them."""
    at, observations, marks = state[_AT], len(codes), len(dead) > 0
    last_key, last_time = state[_LAST_KEY], state[_LAST_TIME]
    for j in range(len(code)):
        key, seen, since = code[j], visible[j], event[j]
        if key < last_key or (key == last_key and seen < last_time):
            return _UNSORTED
        last_key, last_time = key, seen
        while at < observations and (codes[at] < key or (codes[at] == key and times[at] < seen)):
            _answer(at, codes, times, ttl, state, found)
            at += 1
        if key == state[_KEY] and since < state[_SINCE]:
            continue
        state[_KEY], state[_SINCE], state[_PLACE] = key, since, j
        state[_DEAD] = dead[j] if marks else 0
    state[_AT], state[_LAST_KEY], state[_LAST_TIME] = at, last_key, last_time
    return 0


@kernel(types.void(INTS, INTS, INT, OUT_INTS, OUT_INTS))
def _finish(codes: Any, times: Any, ttl: int, state: Any, found: Any) -> None:
    """Answer the observations that no fact follows."""
    for at in range(state[_AT], len(codes)):
        _answer(at, codes, times, ttl, state, found)
