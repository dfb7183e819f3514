"""From sorted Arrow tables to one column per window: pieces of whole keys, spread over threads."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lifecycle.engine.windows import columns
from lifecycle.engine.windows.functions import function_of, mask_column, result_type
from lifecycle.engine.windows.piece import Observations, Piece
from lifecycle.engine.windows.pieces import key_codes, whole_keys
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.definitions import Window

PIECE_ROWS = 1 << 18


class Lists:
    """The lists of all last_k windows of one column and filter: each is the end of the longest one of its row."""

    def __init__(self, size: int) -> None:
        self._ends = np.zeros(size, np.int64)
        self._lengths: list[Any] = []
        self._values: list[Any] = []
        self._held = 0
        self._all: Any = None

    def lengths(self) -> Any:
        """Return zeros int64[m], for one more window to fill with the lengths of its lists."""
        self._lengths.append(np.zeros(len(self._ends), np.int64))
        return self._lengths[-1]

    def put(self, rows: Any, values: Any, ends: Any) -> None:
        """Take a piece's values, and where in them the lists of these rows end."""
        self._ends[rows] = ends + self._held
        self._values.append(values)
        self._held += len(values)

    def settle(self) -> None:
        """Bring the longest lists into the order of rows, once all lengths are known."""
        if self._held:
            longest = np.maximum.reduce(self._lengths)
            self._all = columns.runs(columns.joined(self._values), self._ends, longest)
            self._values = []
            np.cumsum(longest, out=self._ends)

    def finish(self, lengths: Any, kind: Any) -> Any:
        """Return the Arrow lists of these lengths, NULL where empty."""
        if self._all is None:
            return pa.nulls(len(lengths), kind)
        return columns.list_of(self._all, self._ends, lengths)


class Column:
    """One window's output over all observations, filled piece by piece."""

    def __init__(
        self, window: Window, kind: Any, size: int, shared: dict[tuple[str | None, str | None], Lists]
    ) -> None:
        self.window = window
        self.kind = kind
        self._gathered: list[tuple[Any, Any]] = []
        self._lists, self._leads = None, False
        if window.function == "last_k":
            of = (window.column, mask_column(window))
            self._leads = of not in shared
            self._lists = shared.setdefault(of, Lists(size))
            self._lengths = self._lists.lengths()
        self._as_array = function_of(window).of == "picked" or window.function in {"first", "last"}
        if not self._as_array:
            fractions = pa.types.is_floating(kind)
            self._values = np.zeros(size, np.float64 if fractions else np.int64)
            self._valid = np.full(size, function_of(window).least_count == 0)
        self._size = size

    def put(self, rows: Any, values: Any, valid: Any) -> None:
        """Take what `Piece.results` gave for this window."""
        if self._lists is not None:
            self._lengths[rows] = valid
            if self._leads:
                self._lists.put(rows, *values)
        elif self._as_array:
            self._gathered.append((rows, values))
        else:
            self._values[rows] = values
            self._valid[rows] = valid

    def finish(self) -> Any:
        """Return the Arrow array, in the order of the observations' row numbers."""
        if self._lists is not None:
            return self._lists.finish(self._lengths, self.kind)
        if not self._as_array:
            return columns.restored(self._values, self._valid, self.kind)
        places = np.full(self._size, -1, np.int64)
        begin = 0
        for rows, _ in self._gathered:
            places[rows] = np.arange(begin, begin + len(rows))
            begin += len(rows)
        if not self._gathered:
            return pa.nulls(self._size, self.kind)
        picked = pa.concat_arrays([values for _, values in self._gathered])
        return picked.take(pa.array(places, mask=places < 0))


def evaluate(
    events: Any,
    observations: Any,
    windows: Sequence[Window],
    *,
    threads: int = 0,
    history_cap: int | None = None,
    piece_rows: int = PIECE_ROWS,
) -> Any:
    """Evaluate `windows` at every observation; see the package's docstring for shapes and meaning."""
    kinds = _result_types(windows, events.schema)
    seen = Observations.of(observations)
    lists: dict[tuple[str | None, str | None], Lists] = {}
    outputs = [Column(window, kind, len(seen.rows), lists) for window, kind in zip(windows, kinds, strict=True)]
    batches = events.to_batches() if isinstance(events, pa.Table) else events
    workers = threads or os.cpu_count() or 1

    def work(batch: Any) -> list[Any]:
        return Piece(batch, seen, windows, history_cap).results()

    waiting: deque[tuple[Any, Future[list[Any]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for batch in whole_keys(batches, piece_rows):
                low, high = seen.range(key_codes(batch))
                if low == high:
                    continue
                if len(waiting) >= 2 * workers:
                    _collect(outputs, *waiting.popleft())
                waiting.append((seen.rows[low:high], pool.submit(work, batch)))
            while waiting:
                _collect(outputs, *waiting.popleft())
            list(pool.map(Lists.settle, lists.values()))
            made = list(pool.map(Column.finish, outputs))
        finally:
            for _, future in waiting:
                future.cancel()
    return pa.table(
        made,
        schema=pa.schema([(w.name, k) for w, k in zip(windows, kinds, strict=True)]),
    )


def _collect(outputs: list[Column], rows: Any, future: Future[list[Any]]) -> None:
    for column, (values, valid) in zip(outputs, future.result(), strict=True):
        column.put(rows, values, valid)


def _result_types(windows: Sequence[Window], schema: Any) -> list[Any]:
    for name in ("key", "event_timestamp"):
        if name not in schema.names:
            raise DataError(f"the events have no column {name!r}; there are: {', '.join(schema.names)}.")
    kinds = []
    for window in windows:
        inputs = (window.column, window.currency, mask_column(window))
        missing = [one for one in inputs if one is not None and one not in schema.names]
        if missing:
            raise DataError(
                f"window {window.name!r} reads {', '.join(map(repr, missing))}, which the events lack; there are: "
                f"{', '.join(schema.names)}."
            )
        kinds.append(result_type(window, schema.field(window.column).type if window.column else None))
    return kinds
