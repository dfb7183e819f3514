"""
Windows of one key at one time, over plain arrays: what an online read asks.

The arithmetic is that of `evaluate` (the same compiled functions take the events in and finish the sums), without the
machinery that many observations need.
"""

from __future__ import annotations

from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lifecycle.engine.windows.functions import LARGEST_HIGH, function_of, mask_column
from lifecycle.engine.windows.numbers import LOW_BITS
from lifecycle.engine.windows.piece import EMPTY_FRACTION, EMPTY_WHOLE
from lifecycle.engine.windows.schedule import FOREVER
from lifecycle.engine.windows.spot import (
    LEAST,
    LOST,
    MEAN,
    MOST,
    TOTAL,
    VARIANCE,
    distinct,
    ends,
    fold,
    look,
    pick,
    tail,
)
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lifecycle.definitions import Window

NO_CAP = -1
NO_FLAGS = np.empty(0, np.uint8)
LEAST_FOR_SPREAD = 2


class Events(NamedTuple):
    """
    One key's events in the kernel's order, as arrays of n.

    times, known_from, known_until: int64 microseconds, the last two empty where each event is known at its own time
    for good. numbers: int64 or float64 by column. ids: int64 by column, equal where the values are. present: uint8 by
    column that may hold NULLs. masks: uint8 by `mask_column`. value: gives the value of a column at a place.
    """

    times: Any
    known_from: Any
    known_until: Any
    numbers: Mapping[str, Any]
    ids: Mapping[str, Any]
    present: Mapping[str, Any]
    masks: Mapping[str, Any]
    value: Callable[[str, int], Any]


class Source(NamedTuple):
    """An input that several windows share: kind, column, filter, the column that must not be NULL, what is wanted."""

    kind: str
    column: str | None
    mask: str | None
    gate: str | None
    flags: tuple[bool, bool, bool] = (False, False, False)


class Spot(NamedTuple):
    """What counts at one time, as `look` returns it."""

    events: Events
    t: int
    end: int
    starts: Any
    live: Any

    def switches(self, source: Source) -> tuple[Any, Any]:
        """Return the flags of a source's filter and of its values, empty where all count."""
        mask = NO_FLAGS if source.mask is None else self.events.masks[source.mask]
        gate = NO_FLAGS if source.gate is None else self.events.present.get(source.gate, NO_FLAGS)
        return mask, gate


class Single:
    """The windows of one view, ready to be evaluated for a key at a time; safe to share between threads."""

    def __init__(self, windows: Sequence[Window], history_cap: int | None = None) -> None:
        self.windows = tuple(windows)
        lengths = [FOREVER if one.window_us is None else one.window_us for one in windows]
        self.widths = np.array(sorted(set(lengths)), np.int64)
        self.cap = NO_CAP if history_cap is None else history_cap
        at = {width: place for place, width in enumerate(self.widths.tolist())}
        self._sources: list[Source] = []
        self._outputs: list[tuple[Window, int, int, Any, int | None]] = []
        for window, length in zip(windows, lengths, strict=True):
            kind, read = _WAYS[window.function]
            mask = mask_column(window)
            column = None if kind == "ends" or window.function == "count" else window.column
            gate = None if kind == "one" else window.column
            place = self._place(Source(kind, column, mask, gate, function_of(window).flags))
            money = None
            if window.currency is not None:
                money = self._place(Source("money", window.currency, mask, window.column, (False, False, True)))
            self._outputs.append((window, place, at[length], read, money))

    def _place(self, wanted: Source) -> int:
        """Return where a source stands among the view's, adding what is wanted of it."""
        for place, one in enumerate(self._sources):
            # Counting what is not NULL rides on a run over the values.
            same = one.column == wanted.column or (wanted.kind == "fold" and None in {one.column, wanted.column})
            if same and (one.kind, one.mask, one.gate) == (wanted.kind, wanted.mask, wanted.gate):
                sums, squares, extremes = (a or b for a, b in zip(one.flags, wanted.flags, strict=True))
                column = one.column or wanted.column
                self._sources[place] = one._replace(column=column, flags=(sums, squares, extremes))
                return place
        self._sources.append(wanted)
        return len(self._sources) - 1

    def values(self, events: Events, t: int) -> tuple[list[Any], int]:
        """
        Return the windows' values at `t` (microseconds) in order, and the newest event's place, -1 for none.

        `first`, `last` and `last_k` give what `events.value` gives, all others int, float or None. Raises DataError
        as `evaluate` does.
        """
        end, newest, starts, live = look(events.times, events.known_from, events.known_until, t, self.widths, self.cap)
        spot = Spot(events, t, end, starts, live)
        found = [_RUNS[one.kind](spot, one) for one in self._sources]
        made = []
        for window, place, width, read, money in self._outputs:
            if money is not None:
                _refuse_mixed(window, found[money], width)
            made.append(read(window, found[place], width, spot))
        return made, newest


def _run_fold(spot: Spot, source: Source) -> Any:
    values = spot.events.times if source.column is None else spot.events.numbers[source.column]
    empty = EMPTY_FRACTION if values.dtype == np.float64 else EMPTY_WHOLE
    return _folded(spot, source, values, empty)


def _run_money(spot: Spot, source: Source) -> Any:
    return _folded(spot, source, spot.events.ids[source.column or ""], EMPTY_WHOLE)


def _folded(spot: Spot, source: Source, values: Any, empty: Any) -> Any:
    mask, gate = spot.switches(source)
    counts, own, floats = fold(values, empty, spot.live, mask, gate, spot.starts, spot.end, source.flags)
    return counts.tolist(), own.tolist(), floats.tolist()


def _run_ends(spot: Spot, source: Source) -> Any:
    oldest, newest = ends(spot.live, *spot.switches(source), spot.starts, spot.end)
    return oldest.tolist(), newest.tolist()


def _run_distinct(spot: Spot, source: Source) -> Any:
    ids = spot.events.ids[source.column or ""]
    return distinct(ids, spot.live, *spot.switches(source), spot.starts, spot.end).tolist()


def _count(_: Window, found: Any, w: int, __: Spot) -> int:
    return int(found[0][w])


def _distinct(_: Window, found: Any, w: int, __: Spot) -> int:
    return int(found[w])


def _sum(window: Window, found: Any, w: int, _: Spot) -> Any:
    if not found[0][w]:
        return None
    total, lost = found[1][TOTAL][w], found[1][LOST][w]
    if isinstance(total, float):
        both = total + lost
        return both if isfinite(both) else nan
    high = total + (lost >> 32)
    if not -LARGEST_HIGH <= high < LARGEST_HIGH:
        raise DataError(
            f"window {window.name!r}: the {window.function} of {window.column!r} does not fit 64 bits. Take a shorter "
            "window or a coarser unit, or cast the column to DOUBLE."
        )
    return (high << 32) | (lost & LOW_BITS)


def _own(row: int) -> Any:
    return lambda _, found, w, __: found[1][row][w] if found[0][w] else None


def _mean(_: Window, found: Any, w: int, __: Spot) -> Any:
    return found[2][MEAN][w] if found[0][w] else None


def _var(_: Window, found: Any, w: int, __: Spot) -> Any:
    return found[2][VARIANCE][w] if found[0][w] >= LEAST_FOR_SPREAD else None


def _std(_: Window, found: Any, w: int, __: Spot) -> Any:
    return sqrt(found[2][VARIANCE][w]) if found[0][w] >= LEAST_FOR_SPREAD else None


def _picked(which: int) -> Any:
    def read(window: Window, found: Any, w: int, spot: Spot) -> Any:
        place = found[which][w]
        return None if place < 0 else spot.events.value(window.column or "", place)

    return read


def _seconds(which: int) -> Any:
    def read(_: Window, found: Any, w: int, spot: Spot) -> Any:
        place = found[which][w]
        return None if place < 0 else (spot.t - int(spot.events.times[place])) / 1e6

    return read


def _last_k(window: Window, _: Any, w: int, spot: Spot) -> Any:
    mask = spot.switches(Source("one", None, mask_column(window), None))[0]
    places = tail(spot.live, mask, spot.starts[w], spot.end, int(window.parameter or 1)).tolist()
    return [spot.events.value(window.column or "", place) for place in places] or None


def _quantile(window: Window, _: Any, w: int, spot: Spot) -> Any:
    mask, gate = spot.switches(Source("one", None, mask_column(window), window.column))
    values = spot.events.numbers[window.column or ""]
    found, value = pick(values, spot.live, mask, gate, spot.starts[w], spot.end, float(window.parameter or 0.0))
    return value if found else None


def _refuse_mixed(window: Window, found: Any, w: int) -> None:
    if found[0][w] and found[1][LEAST][w] != found[1][MOST][w]:
        raise DataError(
            f"window {window.name!r} mixes money in several currencies ({window.currency!r}). Declare one window per "
            "currency with a bucket, or convert by a dated rate table before."
        )


_RUNS: Mapping[str, Callable[[Spot, Source], Any]] = {
    "fold": _run_fold,
    "money": _run_money,
    "ends": _run_ends,
    "distinct": _run_distinct,
    "one": lambda _, __: None,  # each window by itself
}
# By function: how its source is run, and how a window's value is read from what that gives.
_WAYS: Mapping[str, tuple[str, Any]] = {
    "count": ("fold", _count),
    "count_distinct": ("distinct", _distinct),
    "sum": ("fold", _sum),
    "mean": ("fold", _mean),
    "rate": ("fold", _mean),
    "var": ("fold", _var),
    "std": ("fold", _std),
    "min": ("fold", _own(LEAST)),
    "max": ("fold", _own(MOST)),
    "first": ("ends", _picked(0)),
    "last": ("ends", _picked(1)),
    "seconds_since_first": ("ends", _seconds(0)),
    "seconds_since_last": ("ends", _seconds(1)),
    "last_k": ("one", _last_k),
    "approx_quantile": ("one", _quantile),
}
