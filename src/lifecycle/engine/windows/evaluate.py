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
    """Lists over all observations, which share their values with those of other windows."""

    def __init__(self, size: int) -> None:
        self._begins = np.zeros(size, np.int64)
        self._lengths = np.zeros(size, np.int64)
        self._values: list[Any] = []
        self._held = 0

    def put(self, rows: Any, values: Any, begins: Any, lengths: Any) -> None:
        """Take a piece's values, and where in them the lists of these rows begin."""
        self._begins[rows] = begins + self._held
        self._lengths[rows] = lengths
        self._values.append(values)
        self._held += len(values)

    def finish(self, kind: Any) -> Any:
        """Return the Arrow lists, NULL where empty."""
        if not self._held:
            return pa.nulls(len(self._begins), kind)
        return columns.list_of(pa.concat_arrays(self._values), self._begins, self._lengths)


class Column:
    """One window's output over all observations, filled piece by piece."""

    def __init__(self, window: Window, kind: Any, size: int) -> None:
        self.window = window
        self.kind = kind
        self._gathered: list[tuple[Any, Any]] = []
        self._lists = Lists(size) if window.function == "last_k" else None
        self._as_array = function_of(window).of == "picked" or window.function in {"first", "last"}
        if not self._as_array:
            fractions = pa.types.is_floating(kind)
            self._values = np.zeros(size, np.float64 if fractions else np.int64)
            self._valid = np.full(size, function_of(window).least_count == 0)
        self._size = size

    def put(self, rows: Any, values: Any, valid: Any) -> None:
        """Take what `Piece.results` gave for this window."""
        if self._lists is not None:
            found, begins = values
            self._lists.put(rows, found, begins, valid)
        elif self._as_array:
            self._gathered.append((rows, values))
        else:
            self._values[rows] = values
            self._valid[rows] = valid

    def finish(self) -> Any:
        """Return the Arrow array, in the order of the observations' row numbers."""
        if self._lists is not None:
            return self._lists.finish(self.kind)
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
    outputs = [Column(window, kind, len(seen.rows)) for window, kind in zip(windows, kinds, strict=True)]
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
