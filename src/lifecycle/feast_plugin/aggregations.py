"""
Window features as a source declares them, and the one convention that names them.

A feature's name is its stem and its window: `spend` over seven days is `spend_7d`. A bucket's value stands
between the two (`sessions_failed_24h`), and so does the column where one declaration picks several
(`last_charges_amount_30d`). A window is written as a whole number of s, m, h or d, or `all`. Its suffix is the
greatest unit that fits, days from two on: `_1h`, `_24h`, `_7d`, `_90d`, `_all`.

Feast's own `Aggregation` is taken where it says enough; without a `name` its stem is `{function}_{column}`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from feast.aggregation import Aggregation

from lifecycle.definitions import Window
from lifecycle.errors import UsageError
from lifecycle.times import MICROSECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALL = "all"
UNITS_US = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}
_LENGTH = re.compile(r"([1-9]\d*)([smhd])\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_OUTSIDE_NAMES = re.compile(r"\W+", re.ASCII)


@dataclass(frozen=True)
class WindowAggregation:
    """
    One aggregation over several windows: a feature for each window, and for each value of a bucket.

    stem: what the names begin with. function: count, count_distinct, sum, mean, min, max, var, std, first, last,
    last_k, rate (share of true), seconds_since_first, seconds_since_last or approx_quantile. column: its input;
    None counts events or ages; `last_k` may take several, whose lists are aligned. windows: such as
    ("1h", "24h", "7d", "all"). where: an SQL predicate over the source's columns. bucket, values: a column, and
    the values that get a feature each. parameter: k of last_k, the share (0 to 1) of approx_quantile.
    currency: the column that says what money `column` is in, where the source's `money` does not say it; a
    window that mixes two is an error. name: the feature's whole name, where there is only one.

    Raises UsageError for a declaration that names nothing or twice the same.
    """

    stem: str
    function: str
    column: str | tuple[str, ...] | None = None
    windows: tuple[str, ...] = (ALL,)
    where: str | None = None
    bucket: str | None = None
    values: tuple[str, ...] = ()
    parameter: float | None = None
    currency: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for field in ("windows", "values"):
            given = getattr(self, field)
            if isinstance(given, str):
                raise UsageError(f"{self.stem!r}: {field} is the text {given!r}; write a tuple: ({given!r},).")
            object.__setattr__(self, field, tuple(given))
        if isinstance(self.column, list | tuple):
            object.__setattr__(self, "column", tuple(self.column))
            if self.function != "last_k":
                raise UsageError(f"{self.stem!r}: {self.function} takes one column; only last_k takes several.")
        if (self.bucket is None) != (not self.values):
            raise UsageError(f"{self.stem!r}: a bucket needs its column and its values: bucket='status', values=(…).")
        if not self.windows:
            raise UsageError(f"{self.stem!r}: no windows; name some, such as ('24h', '7d'), or 'all'.")
        if self.name is not None and len(self._outputs()) != 1:
            raise UsageError(f"{self.stem!r}: name={self.name!r} can name one feature, not {len(self._outputs())}.")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns it reads, those of `where` aside."""
        taken = self.column if isinstance(self.column, tuple) else (self.column,)
        return tuple(one for one in (*taken, self.bucket, self.currency) if one is not None)

    def compiled(self) -> tuple[Window, ...]:
        """Return its features as the engine's windows; raises UsageError for what makes no sense."""
        # Importing it loads the kernels, which only compiling needs.
        from lifecycle.engine.windows.functions import function_of

        made = []
        for column, value, length in self._outputs():
            window = Window(
                name=self.name or self._name(column, value, length),
                function=self.function,
                column=column,
                window_us=length,
                where=self.where,
                bucket=(self.bucket, value) if self.bucket is not None and value is not None else None,
                parameter=self.parameter,
                currency=self.currency,
            )
            if not _NAME.match(window.name):
                raise UsageError(f"{window.name!r} cannot name a feature: use letters, digits and underscores.")
            function_of(window)
            made.append(window)
        return tuple(made)

    def _outputs(self) -> list[tuple[str | None, str | None, int | None]]:
        columns: Sequence[str | None] = self.column if isinstance(self.column, tuple) else (self.column,)
        lengths = [microseconds(text) for text in self.windows]
        return [(c, v, w) for c in columns for v in self.values or (None,) for w in lengths]

    def _name(self, column: str | None, value: str | None, length: int | None) -> str:
        parts = [self.stem]
        if isinstance(self.column, tuple):
            parts.append(str(column))
        if value is not None:
            parts.append(_OUTSIDE_NAMES.sub("_", value.lower()).strip("_"))
        return "_".join([*parts, suffix(length)])


def microseconds(window: str) -> int | None:
    """Return the length of a window written as text, such as "24h"; None for "all"."""
    if window == ALL:
        return None
    found = _LENGTH.match(window) if isinstance(window, str) else None
    if found is None:
        raise UsageError(f"{window!r} is no window: write a whole number of s, m, h or d, such as '24h', or 'all'.")
    return int(found[1]) * UNITS_US[found[2]]


def suffix(length: int | None) -> str:
    """Return a window's part of a feature's name; `length` in microseconds, None for all history."""
    if length is None:
        return ALL
    for unit, size in UNITS_US.items():
        least = 2 if unit == "d" else 1
        if length > 0 and length % size == 0 and length // size >= least:
            return f"{length // size}{unit}"
    raise UsageError(f"a window of {length} µs has no name: make it a whole number of seconds of at least 1.")


def declared(given: Iterable[Aggregation | WindowAggregation]) -> tuple[WindowAggregation, ...]:
    """Return aggregations in our form; raises UsageError where Feast's says what windows here do not do."""
    return tuple(_ours(one) if isinstance(one, Aggregation) else one for one in given)


def _ours(given: Aggregation) -> WindowAggregation:
    stem = "_".join(part for part in (given.function, given.column) if part)
    if given.slide_interval not in {None, given.time_window}:
        raise UsageError(
            f"aggregation {given.name or stem!r}: slide_interval={given.slide_interval} is not supported, since a "
            "window here ends at the observation time, whenever that is. Leave it out."
        )
    length = given.time_window // MICROSECOND if given.time_window is not None else None
    return WindowAggregation(stem, given.function, given.column or None, (suffix(length),), name=given.name or None)


def to_json(aggregations: Iterable[WindowAggregation]) -> list[dict[str, Any]]:
    """Return aggregations as JSON's types, what is left at its default left out."""
    plain = WindowAggregation("plain", "count")
    return [
        {key: value for key, value in asdict(one).items() if key == "stem" or value != getattr(plain, key)}
        | {"function": one.function}
        for one in aggregations
    ]


def from_json(given: Iterable[dict[str, Any]]) -> tuple[WindowAggregation, ...]:
    """Read what `to_json` wrote."""
    return tuple(WindowAggregation(**one) for one in given)
