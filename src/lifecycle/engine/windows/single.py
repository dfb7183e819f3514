"""
Windows of one key at one time, over a key's events as they lie in memory: what an online read asks.

The arithmetic is that of `evaluate` (the same compiled functions take the events in and finish the sums), without the
machinery that many observations need.
"""

from __future__ import annotations

from struct import Struct
from threading import local
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lifecycle.engine.windows import spot
from lifecycle.engine.windows.functions import function_of, mask_column
from lifecycle.engine.windows.schedule import FOREVER
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lifecycle.definitions import Window

NO_CAP = -1
NOWHERE = -1
DTYPES: dict[int, np.dtype[Any]] = {
    spot.WHOLES: np.dtype(np.int64),
    spot.FRACTIONS: np.dtype(np.float64),
    spot.BYTES: np.dtype(np.uint8),
}


class Inputs(NamedTuple):
    """
    The columns of a view's events besides their times, in the order of a layout.

    numbers: of values. ids: of what only equality is asked of. present: which may hold NULLs. masks: `mask_column`.
    """

    numbers: Sequence[str]
    ids: Sequence[str]
    present: Sequence[str]
    masks: Sequence[str]

    def places(self) -> dict[tuple[str, str], int]:
        """Return where in a layout each column stands, by kind and name; the times stand before them."""
        named = [(kind, name) for kind, names in zip(self._fields, self, strict=True) for name in names]
        return {one: at for at, one in enumerate(named, start=spot.KNOWN_UNTIL + 1)}


class Events(NamedTuple):
    """
    One key's events in the kernel's order, column by column, as they lie in memory.

    data: bytes, in which `start` is where columns begin (a multiple of 8); size: how many events. layout: int64[2, c]
    for event times, known_from, known_until and `Inputs`: how many bytes an event take the columns before this one, -1
    for one that is not there, and its type; one object for all events laid out so. known_from and known_until are not
    there where each event is known at its own time for good, a column of `present` where no value is NULL. read: gives
    the values of a column at some places.
    """

    data: bytes
    start: int
    size: int
    layout: Any
    read: Callable[[Events, str, Sequence[int]], list[Any]]

    def values(self, column: str, places: Sequence[int]) -> list[Any]:
        """Return the values of a column at some places, None for NULL."""
        return self.read(self, column, places)

    def column(self, place: int) -> Any:
        """Return a column as a numpy array, empty where it is not there."""
        stride, kind = self.layout[:, place].tolist()
        dtype = DTYPES[kind]
        if stride < 0:
            return np.empty(0, dtype)
        return np.frombuffer(self.data, dtype, self.size, self.start + stride * self.size)


class _Plan(NamedTuple):
    """
    How events of one layout are read.

    layout: kept so that its id stays its own. planned: `spot.planned`. unpack: reads what `spot.answer` wrote, up to
    the codes.
    """

    layout: Any
    planned: Any
    unpack: Callable[[Any], tuple[Any, ...]]


class _Told(local):
    """What `spot.answer` writes into, one array a thread."""

    def __init__(self, outputs: int) -> None:
        self.array = np.zeros(spot.TOLD_HEAD + 3 * outputs, np.int64)
        _, self.codes, self.nulls = self.array[spot.TOLD_HEAD :].reshape(3, outputs)


class Single:
    """The windows of one view, ready to be evaluated for a key at a time; safe to share between threads."""

    def __init__(self, windows: Sequence[Window], inputs: Inputs, history_cap: int | None = None) -> None:
        self.windows = tuple(windows)
        lengths = [FOREVER if one.window_us is None else one.window_us for one in windows]
        self.widths = np.array(sorted(set(lengths)), np.int64)
        self.cap = NO_CAP if history_cap is None else history_cap
        self._places = inputs.places()
        at = {width: place for place, width in enumerate(self.widths.tolist())}
        self._widths_of = [at[length] for length in lengths]
        self._apart = [n for n, one in enumerate(windows) if one.function not in _WAYS]
        # Outputs that are values at places, by column.
        self._placed: dict[str, list[int]] = {}
        for n, one in enumerate(windows):
            if one.function in {"first", "last", "last_k"}:
                self._placed.setdefault(one.column or "", []).append(n)
        self._plans: dict[int, _Plan] = {}  # by the layout's id
        self._told = _Told(len(self.windows))

    def _plan(self, layout: Any) -> _Plan:
        sources: list[list[int]] = []
        outputs = []
        for window, width in zip(self.windows, self._widths_of, strict=True):
            does, read = _WAYS.get(window.function, (NOWHERE, NOWHERE))
            source = money = NOWHERE
            if does != NOWHERE:
                flags = map(bool, function_of(window).flags)
                source = _shared(sources, [does, *self._columns(window, does, layout), *flags])
            if window.currency is not None:
                columns = self._place("ids", window.currency), *self._switches(window, window.column, layout)
                money = _shared(sources, [spot.FOLD, *columns, False, False, True])
            outputs.append((source, width, read, money))
        made = (
            np.array(sources, np.int64).reshape(-1, spot.SOURCE),
            np.array(outputs, np.int64).reshape(-1, spot.OUTPUT),
        )
        kinds = [
            "d" if read in _FRACTIONS or (read in _OWN and layout[1, sources[source][1]] == spot.FRACTIONS) else "q"
            for source, _, read, _ in outputs
        ]
        told = Struct(f"={spot.TOLD_HEAD}q{''.join(kinds)}")
        plan = _Plan(layout, spot.planned(layout, *made, self.widths, self.cap), told.unpack_from)
        self._plans[id(layout)] = plan
        return plan

    def _place(self, kind: str, name: str | None) -> int:
        return NOWHERE if name is None else self._places[kind, name]

    def _switches(self, window: Window, gate: str | None, layout: Any) -> tuple[int, int]:
        """Return the columns of a window's filter and of which values are not NULL, NOWHERE where all count."""
        present = self._place("present", gate)
        there = present != NOWHERE and layout[0, present] >= 0
        return self._place("masks", mask_column(window)), present if there else NOWHERE

    def _columns(self, window: Window, does: int, layout: Any) -> tuple[int, int, int]:
        values = spot.TIMES  # which are there always, for what reads no values
        if does == spot.DISTINCT:
            values = self._place("ids", window.column)
        elif does == spot.FOLD and window.function != "count":
            values = self._place("numbers", window.column)
        return values, *self._switches(window, window.column, layout)

    def values(self, events: Events, t: int) -> tuple[list[Any], int | None]:
        """
        Return the windows' values at `t` in order, and when the newest event happened, None for none; in microseconds.

        `first`, `last` and `last_k` give what `events.values` gives, all others int, float or None. Raises DataError
        as `evaluate` does.
        """
        data, start, size, layout, _ = events
        _, planned, unpack = self._plans.get(id(layout)) or self._plan(layout)
        told = self._told
        spot.answer(data, start, size, planned, t, told.array)
        newest, most, nulls, *made = unpack(told.array)
        if most > spot.PLACE:
            self._refuse(told.codes.tolist())
        if nulls:
            for n in told.nulls[:nulls].tolist():
                made[n] = None
        if self._apart:
            self._evaluate_apart(events, t, made)
        for column, placed in self._placed.items():
            self._look_up(events, column, placed, made)
        return made, None if newest == spot.NEVER else newest

    def _evaluate_apart(self, events: Events, t: int, made: list[Any]) -> None:
        """Write quantiles, and the places of the last events, which share nothing with other windows."""
        times, known_from, known_until = map(events.column, (spot.TIMES, spot.KNOWN_FROM, spot.KNOWN_UNTIL))
        end, _, starts, live = spot.look(times, known_from, known_until, t, self.widths, self.cap)
        for n in self._apart:
            window, start = self.windows[n], starts[self._widths_of[n]]
            last_k = window.function == "last_k"
            gated = None if last_k else window.column
            mask, gate = map(self._flags(events), self._switches(window, gated, events.layout))
            if last_k:
                made[n] = spot.tail(live, mask, start, end, int(window.parameter or 1)).tolist() or None
            else:
                values = events.column(self._place("numbers", window.column))
                found, value = spot.pick(values, live, mask, gate, start, end, float(window.parameter or 0.0))
                made[n] = value if found else None

    def _look_up(self, events: Events, column: str, outputs: Sequence[int], made: list[Any]) -> None:
        """Put the values of a column where its places stand."""
        places = [made[n] if isinstance(made[n], list) else [made[n]] for n in outputs if made[n] is not None]
        values = iter(events.values(column, [place for some in places for place in some]))
        for n in outputs:
            if isinstance(made[n], list):
                made[n] = [next(values) for _ in made[n]]
            elif made[n] is not None:
                made[n] = next(values)

    @staticmethod
    def _flags(events: Events) -> Callable[[int], Any]:
        return lambda place: _NO_FLAGS if place == NOWHERE else events.column(place)

    def _refuse(self, codes: Sequence[int]) -> None:
        for window, code in zip(self.windows, codes, strict=True):
            if code == spot.MIXED:
                raise DataError(
                    f"window {window.name!r} mixes money in several currencies ({window.currency!r}). Declare one "
                    "window per currency with a bucket, or convert by a dated rate table before."
                )
            if code == spot.TOO_LARGE:
                raise DataError(
                    f"window {window.name!r}: the {window.function} of {window.column!r} does not fit 64 bits. Take a "
                    "shorter window or a coarser unit, or cast the column to DOUBLE."
                )


_NO_FLAGS = np.empty(0, np.uint8)


def _shared(sources: list[list[int]], wanted: list[int]) -> int:
    """Return where a source stands among the view's, adding what is wanted of it."""
    does, column, *switches = wanted[:4]
    for place, one in enumerate(sources):
        # Counting what is not NULL rides on a run over the values.
        same = one[1] == column or (does == spot.FOLD and spot.TIMES in {one[1], column})
        if same and one[0] == does and one[2:4] == switches:
            sources[place] = [does, max(one[1], column), *switches, *map(max, one[4:], wanted[4:])]
            return place
    sources.append(wanted)
    return len(sources) - 1


# By function: what its source does, and what is read of it. The others are evaluated each by itself.
_WAYS = {
    "count": (spot.FOLD, spot.COUNT),
    "count_distinct": (spot.DISTINCT, spot.COUNT),
    "sum": (spot.FOLD, spot.SUM),
    "mean": (spot.FOLD, spot.AVERAGE),
    "rate": (spot.FOLD, spot.AVERAGE),
    "var": (spot.FOLD, spot.VAR),
    "std": (spot.FOLD, spot.STD),
    "min": (spot.FOLD, spot.MIN),
    "max": (spot.FOLD, spot.MAX),
    "first": (spot.ENDS, spot.FIRST),
    "last": (spot.ENDS, spot.LAST),
    "seconds_since_first": (spot.ENDS, spot.SINCE_FIRST),
    "seconds_since_last": (spot.ENDS, spot.SINCE_LAST),
}
# What is read as a fraction always, and what is one where the column is.
_FRACTIONS = frozenset({spot.AVERAGE, spot.VAR, spot.STD, spot.SINCE_FIRST, spot.SINCE_LAST})
_OWN = frozenset({spot.SUM, spot.MIN, spot.MAX})
