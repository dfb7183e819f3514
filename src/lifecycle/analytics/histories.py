"""Purchase histories as arrays, equal ones held once with their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.analytics.fitting import positive
from lifecycle.analytics.tables import frame
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


PIECE = 1 << 14


@dataclass(frozen=True)
class Histories:
    """Distinct (frequency, recency, T), sorted, and how many customers have each: sums need no other order."""

    x: Floats
    recency: Floats
    age: Floats
    weight: Floats

    @classmethod
    def of(cls, model: str, summary: Any) -> Histories:
        """Read a summary; raises DataError where it holds too little to fit a purchase model."""
        columns = cls.columns(model, summary)
        distinct, counts = np.unique(np.column_stack(columns), axis=0, return_counts=True)
        x, recency, age = distinct.T
        if not (x > 0).sum() or not age.sum() > 0:
            raise DataError(
                f"{model} needs repeat purchases, and of {len(columns[0])} customers none has one. Observe for longer, "
                "or see that the key names the customer and not the purchase."
            )
        return cls(x, recency, age, counts.astype(float))

    @staticmethod
    def columns(model: str, summary: Any) -> tuple[Floats, Floats, Floats]:
        """Return frequency, recency and T of each row as doubles; raises DataError where they contradict."""
        rows = frame(summary, ["frequency", "recency", "T"])
        x, recency, age = (rows[name].to_numpy(dtype=float, na_value=np.nan) for name in ("frequency", "recency", "T"))
        positive(model, frequency=x, recency=recency, T=age)
        wrong = (recency > age) | ((x == 0) != (recency == 0))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{model}: row {row} has frequency {x[row]:g}, recency {recency[row]:g} and T {age[row]:g}. "
                "Recency is the time from the first to the last purchase: at most T, and 0 exactly where frequency is."
            )
        return x, recency, age

    def pieces(self) -> Iterator[Histories]:
        """Yield the histories in pieces that bound what a model needs per history and node."""
        for begin in range(0, len(self.x), PIECE):
            part = slice(begin, begin + PIECE)
            yield Histories(self.x[part], self.recency[part], self.age[part], self.weight[part])

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return int(self.weight.sum())

    def repeats_per_time(self) -> float:
        """Return all repeat purchases by all time observed."""
        return float(self.weight @ self.x / (self.weight @ self.age))
