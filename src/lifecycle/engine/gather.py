"""
The as-of kernel for facts in any order: one pass over them, and nothing is sorted but the observations.

A fact counts from the first observation of its key that is not before it became visible. There the greatest such fact
is kept, by event time and then by when it became visible. As the winner of an as-of join only ever grows, the greatest
up to an observation is the one there or the one at the observation before. Memory follows the observations; what is
kept of the facts (those that were the greatest when they came) goes to a file. Where the winner shares both its times
with another fact, the answer is in doubt until they are ranked.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numba import types

from lifecycle.engine.jit import FLAGS, INT, INTS, OUT_INTS, OUT_MATRIX, kernel
from lifecycle.engine.merge import CODE, EVENT, NOTHING, VISIBLE, inputs_of
from lifecycle.engine.search import first_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lifecycle.engine.merge import Observations

# Of the greatest fact at an observation: event time, visible time, place among the kept, and marks. Side by side in
# memory, for it is reaching them that takes the time.
SINCE, SEEN, PLACE, MARKS = range(4)
TIED, DEAD = 1, 2


class Gather:
    """
    Answers observations from facts in any order; `doubtful` says, afterwards, which hang on a rank not asked for.

    observations: what to answer. features: how many columns f0, f1, ... facts have. ttl_us: microseconds after which a
    state has expired; None or 0 never.
    """

    def __init__(self, observations: Observations, features: int, *, ttl_us: int | None) -> None:
        self._of = observations
        self._names = [f"f{position}" for position in range(features)]
        self._ttl = ttl_us or 0
        count = len(observations.row)
        keys = int(observations.code[-1]) + 1 if count else 0
        self._starts = np.searchsorted(observations.code, np.arange(keys + 1)).astype(np.int64)
        self._greatest = np.zeros((count, 4), np.int64)
        self._greatest[:, PLACE] = NOTHING

    def kept(self, facts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """
        Yield f0, f1, ... of facts that may win, for `places` to point into.

        facts: batches of `code` whole numbers, `v` and, where it is another, `e` int64 microseconds (visible and event
        time), `d` bool where there are tombstones, and f0, f1, ...
        """
        kept = 0
        with ThreadPoolExecutor(1) as beside:  # one batch is taken in while the next one is read
            waiting: Future[pa.RecordBatch] | None = None
            for batch in chain(facts, [None]):
                some = waiting.result() if waiting is not None else None
                kept += some.num_rows if some is not None else 0
                waiting = beside.submit(self._collected, batch, kept) if batch is not None else None
                if some is not None and some.num_rows:
                    yield some

    def _collected(self, batch: pa.RecordBatch, kept: int) -> pa.RecordBatch:
        """Take in a batch and return what is kept of it, behind so many others."""
        rows = np.empty(batch.num_rows, np.int64)
        code, visible, event, dead = inputs_of(batch)
        found = _collect(code, visible, event, dead, self._starts, self._of.t, self._greatest, rows, kept)
        return batch.select(self._names).take(pa.array(rows[:found]))

    def places(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the observations' rows that certainly have a state, and where among the kept facts each lies."""
        _accumulate(self._of.code, self._greatest)
        since, _, place, marks = self._greatest.T
        alive = place >= 0
        if self._ttl:
            alive &= self._of.t - since <= self._ttl
        self._doubt = np.flatnonzero(alive & (marks & TIED > 0))
        at = np.flatnonzero(alive & (marks == 0))
        return self._of.row[at], place[at]

    def doubtful(self) -> tuple[Observations, pa.Table]:
        """Return the observations in doubt, and (code, v, e), each once, of the facts between which it lies."""
        at = self._doubt
        of = self._of[at]
        groups = pa.table({CODE: of.code, VISIBLE: self._greatest[at, SEEN], EVENT: self._greatest[at, SINCE]})
        return of, groups.group_by(groups.column_names).aggregate([])


@kernel(INT(INTS, INTS, INTS, FLAGS, INTS, INTS, OUT_MATRIX, OUT_INTS, INT))
def _collect(
    code: Any, visible: Any, event: Any, dead: Any, starts: Any, times: Any, greatest: Any, rows: Any, kept: int
) -> int:
    """Take in a batch of facts; write which of its rows are kept, and return how many."""
    found = 0
    for j in range(len(code)):
        key, v, e = code[j], visible[j], event[j]
        if key >= len(starts) - 1:
            continue
        end = starts[key + 1]
        at = first_at(times, starts[key], end, v)
        if at == end:
            continue
        place, since, seen = greatest[at, PLACE], greatest[at, SINCE], greatest[at, SEEN]
        if place != NOTHING:
            if e < since or (e == since and v < seen):
                continue
            if e == since and v == seen:
                greatest[at, MARKS] |= TIED
                continue
        if place >= NOTHING:
            rows[found] = at
            found += 1
        # The place is the batch's own row, until all of the batch is in.
        greatest[at, SINCE], greatest[at, SEEN], greatest[at, PLACE] = e, v, NOTHING - 1 - j
        greatest[at, MARKS] = DEAD if len(dead) > 0 and dead[j] else 0
    for i in range(found):
        at = rows[i]
        rows[i] = NOTHING - 1 - greatest[at, PLACE]
        greatest[at, PLACE] = kept + i
    return found


@kernel(types.void(INTS, OUT_MATRIX))
def _accumulate(codes: Any, greatest: Any) -> None:
    """Let each observation have the greatest fact up to it."""
    for at in range(1, len(codes)):
        before = at - 1
        if codes[at] != codes[before] or greatest[before, PLACE] == NOTHING:
            continue
        if greatest[at, PLACE] == NOTHING or greatest[before, SINCE] > greatest[at, SINCE]:
            greatest[at] = greatest[before]
