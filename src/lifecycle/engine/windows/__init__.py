"""
Window features: point-in-time aggregates over events, Arrow in, Arrow out.

`evaluate(events, observations, windows)` is the kernel; `window_features(connection, view, ...)` prepares its
inputs by SQL and is what a frame calls. Neither knows Feast, and the kernel knows no DuckDB.

events: a `pa.Table` or `pa.RecordBatchReader`, sorted by (key, event_timestamp, known_from, tie-break), with
- `key` int64: a dense code of the key, or any whole number that stands for it;
- `event_timestamp` timestamp[us, UTC] or int64 microseconds, without NULLs;
- `known_from`, `known_until` of the same type: the version counts for t in [known_from, known_until). NULL means
  since ever and still. Both are absent where each event is known at its own time for good;
- the columns that windows name in `column` and `currency`, under their names;
- one BOOLEAN column for each `mask_column(window)`: `where` and bucket, worked out by SQL; NULL is false.

observations: a `pa.Table` sorted by (key, t), with `key` int64, `t` as event_timestamp, and `row` int64: 0 to
m - 1, each once.

Returns a `pa.Table` of m rows in order of `row`, one column per window under its name. An event counts at t when
t - window <= event_timestamp < t and its version is in force. `count` and `count_distinct` are 0 where no event
counts, all others NULL. Types: `count`, `count_distinct` and sums of whole numbers int64; `sum` of floats, `mean`,
`rate`, `var`, `std` and `seconds_since_*` double; `min`, `max`, `first`, `last` and `approx_quantile` the column's
own; `last_k` a list of it, oldest first, in which NULLs stay, so that the lists of several columns are aligned. All
other aggregations leave out events whose column is NULL. `first` and `last` take the stored tie-break's order.
`approx_quantile` is exact: the least value with at least that share of values at or below it (SQL's
quantile_disc), in time proportional to the window's events.

Raises DataError where a whole-number sum does not fit 64 bits, where a window mixes currencies, or for a type
that an aggregation cannot take; UsageError for a declaration that makes no sense.
"""

from __future__ import annotations

from lifecycle.engine.jit import code_folder
from lifecycle.engine.windows.evaluate import evaluate
from lifecycle.engine.windows.functions import FUNCTIONS, mask_column, result_type
from lifecycle.engine.windows.prepare import window_features

__all__ = ["FUNCTIONS", "evaluate", "mask_column", "result_type", "warm", "window_features"]


def warm() -> str:
    """Compile all kernels, or find them compiled; return the folder that keeps them. An installer calls this."""
    # Importing this package has done it: kernels have explicit signatures.
    return code_folder()
