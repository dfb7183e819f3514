"""One piece of whole keys: each distinct input goes through the kernels once, for all windows that share it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lifecycle.engine.windows import columns
from lifecycle.engine.windows.counts import tally
from lifecycle.engine.windows.functions import OverflowFound, Sums, function_of, mask_column
from lifecycle.engine.windows.schedule import ALWAYS, FOREVER, in_order, schedule
from lifecycle.engine.windows.selection import capped, mark_newest, newest, quantile
from lifecycle.engine.windows.tree import accumulate
from lifecycle.errors import DataError
from lifecycle.times import from_microseconds, iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.definitions import Window

EMPTY_WHOLE = (0, 0, 0, 0.0, 0.0, FOREVER, ALWAYS)
EMPTY_FRACTION = (0, 0.0, 0.0, 0.0, 0.0, np.inf, -np.inf)
LAST_YEAR = 60_000_000_000_000_000
NOTHING_WANTED = (False, False, False)
COUNTED = Sums(*[None] * 7)


@dataclass(frozen=True)
class Observations:
    """The spine as numpy arrays: key codes and times int64[m], sorted by both, and row numbers."""

    keys: Any
    times: Any
    rows: Any

    @classmethod
    def of(cls, table: Any) -> Observations:
        """Read an Arrow table with columns key, t and row."""
        missing = {"key", "t", "row"} - set(table.column_names)
        if missing:
            raise DataError(f"the observations lack {', '.join(sorted(missing))}; they have {table.column_names}.")
        keys, times, rows = (columns.times(table.column(name)) for name in ("key", "t", "row"))
        if not in_order(keys, times):
            raise DataError("the observations are not sorted by (key, t).")
        return cls(keys, times, rows)

    def range(self, keys: Any) -> tuple[int, int]:
        """Return where the observations of these sorted event keys begin and end."""
        low = np.searchsorted(self.keys, keys[0], "left")
        return int(low), int(np.searchsorted(self.keys, keys[-1], "right"))


class Source(NamedTuple):
    """A kernel's input: `count`, `values`, `places`, `distinct` or `currency` of a column, and which events count."""

    of: str
    column: str | None
    mask: str | None
    gate: str | None


class Piece:
    """Events of whole keys with their observations, laid out by `schedule`."""

    def __init__(self, batch: Any, seen: Observations, windows: Sequence[Window], cap: int | None) -> None:
        self.batch = batch
        self.windows = windows
        keys = columns.times(batch.column("key"))
        low, high = seen.range(keys)
        self.times = seen.times[low:high]
        self.widths = sorted({_width(window) for window in windows})
        self.event_times = columns.times(batch.column("event_timestamp"))
        if not in_order(keys, self.event_times):
            raise DataError("the events are not sorted by (key, event_timestamp).")
        groups, end, start, live, *toggles = schedule(
            keys, self.event_times, *self._known(), seen.keys[low:high], self.times, np.array(self.widths)
        )
        self.groups, self.end, self.live, self.toggles = groups, end, live, tuple(toggles)
        if cap is not None:
            start = np.maximum(start, capped(live.copy(), groups, end, self.toggles, cap))
        self.start = start
        self.counting = cache(self._counting)
        self.found = cache(self._found)
        self.gathered = cache(self._gathered)
        self.sums: dict[tuple[Source, int], Sums] = {}
        self.stand_ins: dict[Source, Source] = {}

    def _known(self) -> tuple[Any, Any]:
        if "known_from" not in self.batch.schema.names:
            return columns.NO_TIMES, columns.NO_TIMES
        return (
            columns.times(self.batch.column("known_from"), ALWAYS),
            columns.times(self.batch.column("known_until"), FOREVER),
        )

    def results(self) -> list[tuple[Any, Any]]:
        """
        Return (values, valid) per window: numpy arrays, or an Arrow array of picked events' values.

        A last_k window gives ((events' values, where lists end), lengths of lists) instead.
        """
        for source, (widths, flags) in self._shared(self._wanted()).items():
            self._run(source, sorted(widths), flags)
        with np.errstate(all="ignore"):
            return [self._result(window) for window in self.windows]

    def _source(self, of: str, window: Window, column: str | None) -> Source:
        # A column without NULLs lets its windows share the run of those that count events.
        gate = window.column
        if gate is not None and not self.batch.column(gate).null_count:
            gate = None
        return Source(of, column, mask_column(window), gate)

    def _of(self, window: Window) -> Source:
        of = function_of(window).of
        if window.function == "count":
            of = "count"
        return self._source(of, window, window.column if of in {"values", "distinct"} else None)

    def _wanted(self) -> dict[Source, tuple[set[int], tuple[bool, ...]]]:
        wanted: dict[Source, tuple[set[int], tuple[bool, ...]]] = {}

        def add(source: Source, width: int, flags: tuple[bool, ...]) -> None:
            widths, before = wanted.get(source, (set(), NOTHING_WANTED))
            wanted[source] = (widths | {width}, tuple(a or b for a, b in zip(before, flags, strict=True)))

        for window in self.windows:
            function = function_of(window)
            if function.of != "picked":
                add(self._of(window), _width(window), function.flags)
            if window.currency is not None:
                add(self._source("currency", window, window.currency), _width(window), (False, False, True))
        return wanted

    def _shared(self, wanted: dict[Source, tuple[set[int], tuple[bool, ...]]]) -> Any:
        """Let counts of events ride on a run over the same events, if there is one."""
        for source in [one for one in wanted if one.of == "count"]:
            for host, (widths, flags) in wanted.items():
                if host.of in {"values", "places"} and (host.mask, host.gate) == (source.mask, source.gate):
                    wanted[host] = (widths | wanted.pop(source)[0], flags)
                    self.stand_ins[source] = host
                    break
        return wanted

    def _counting(self, mask: str | None, gate: str | None) -> Any:
        """Return uint8[n] of the events that may count, an empty array for all."""
        allowed = columns.truths(self.batch.column(mask)) if mask else columns.NO_FLAGS
        return columns.both(allowed, columns.present(self.batch.column(gate)) if gate else columns.NO_FLAGS)

    def _switches(self, source: Source) -> tuple[Any, Any]:
        """Return (on, mask) for a kernel, which changes `on`."""
        mask = self.counting(source.mask, source.gate)
        return (self.live & mask if len(mask) else self.live.copy()), mask

    def _starts(self, widths: list[int]) -> Any:
        if widths == self.widths:
            return self.start
        return self.start[[self.widths.index(width) for width in widths]]

    def _run(self, source: Source, widths: list[int], flags: tuple[bool, ...]) -> None:
        on, mask = self._switches(source)
        values, toggles = columns.NO_TIMES, self.toggles
        if source.of == "values":
            values = columns.numbers(self.batch.column(source.column))
        elif source.of == "places":
            values = np.arange(self.batch.num_rows)
        elif source.of == "currency":
            values = columns.codes(self.batch.column(source.column))[0]
        elif source.of == "distinct":
            values, size = columns.codes(self.batch.column(source.column))
            on, *marks = mark_newest(values, size, on, mask, self.groups, self.end, toggles)
            mask, toggles = columns.NO_FLAGS, tuple(marks)
        if not any(flags):
            found = tally(on, mask, self.groups, self.end, self._starts(widths), toggles)
            self.sums.update(((source, width), COUNTED._replace(count=found[at])) for at, width in enumerate(widths))
            return
        empty = EMPTY_FRACTION if values.dtype == np.float64 else EMPTY_WHOLE
        found = accumulate(values, empty, on, mask, self.groups, self.end, self._starts(widths), toggles, flags)
        for place, width in enumerate(widths):
            self.sums[source, width] = Sums(*(part[place] if len(part) else None for part in found))

    def _result(self, window: Window) -> tuple[Any, Any]:
        function = function_of(window)
        self._refuse_mixed_money(window)
        if function.value is None:
            return self._picked(window)
        source = self._of(window)
        sums = self.sums[self.stand_ins.get(source, source), _width(window)]
        valid = sums.count >= function.least_count
        try:
            values = function.value(sums)
        except OverflowFound as found:
            raise DataError(
                f"window {window.name!r}: the {window.function} of {window.column!r} at {self._moment(found.place)} "
                "does not fit 64 bits. Take a shorter window or a coarser unit, or cast the column to DOUBLE."
            ) from found
        if function.of != "places":
            return np.where(valid, values, values.dtype.type(0)), valid
        places = np.where(valid, values, 0)
        if window.function in {"first", "last"}:
            return columns.plain(self.batch.column(window.column)).take(pa.array(places, mask=~valid)), valid
        # An age can exceed an int64 only where times lie at both ends of the range; as unsigned it fits.
        return (self.times - self.event_times[places]).view(np.uint64) / 1e6, valid

    def _picked(self, window: Window) -> tuple[Any, Any]:
        start = self.start[self.widths.index(_width(window))]
        values = columns.plain(self.batch.column(window.column))
        if window.function == "last_k":
            ends, lengths = self._newest(window)
            return (self.gathered(window.column, mask_column(window)), ends), lengths
        on, mask = self._switches(self._source("values", window, window.column))
        share = float(window.parameter or 0.0)
        found, numbers = quantile(columns.numbers(values), on, mask, self.groups, self.end, start, self.toggles, share)
        return columns.restored(numbers, found.view(bool), values.type), found.view(bool)

    def _newest(self, window: Window) -> tuple[Any, Any]:
        """Return where each list of a last_k window ends among the events found, and its length."""
        held, after, _ = self.found(mask_column(window))
        lengths = np.minimum(held[self.widths.index(_width(window))], int(window.parameter or 1))
        return after, lengths

    def _gathered(self, column: str, name: str | None) -> Any:
        # NULLs stay, so that the lists of several columns are aligned.
        return columns.plain(self.batch.column(column)).take(pa.array(self.found(name)[2]))

    def _found(self, name: str | None) -> Any:
        most = max(
            int(one.parameter or 1) for one in self.windows if one.function == "last_k" and mask_column(one) == name
        )
        on, mask = self._switches(Source("places", None, name, None))
        return newest(on, mask, self.groups, self.end, self.start, self.toggles, most)

    def _refuse_mixed_money(self, window: Window) -> None:
        if window.currency is None:
            return
        sums = self.sums[self._source("currency", window, window.currency), _width(window)]
        mixed = (sums.count > 0) & (sums.least != sums.most)
        if mixed.any():
            place = int(np.argmax(mixed))
            column = self.batch.column(window.currency)
            seen = columns.codes(column)[0]
            one, other = (column[int(np.argmax(seen == code[place]))].as_py() for code in (sums.least, sums.most))
            raise DataError(
                f"window {window.name!r} at {self._moment(place)} mixes money in {one} and {other} "
                f"({window.currency!r}). Declare one window per currency "
                "with a bucket, or convert by a dated rate table before."
            )

    def _moment(self, place: int) -> str:
        moment = int(self.times[place])
        # Python's own times end with the year 9999.
        return iso(from_microseconds(moment)) if abs(moment) < LAST_YEAR else f"{moment} µs after 1970"


def _width(window: Window) -> int:
    return FOREVER if window.window_us is None else window.window_us
