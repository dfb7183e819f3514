"""
Leakage audits: a frame as known beside the frame that naive retrieval would have made of the same facts.

The naive frame makes the three usual mistakes, or those of them that are asked for:
- `event_time`: known times are ignored, so facts that arrived later count;
- `closed`: windows hold [t - w, t] and states the row at t, so the event that is scored counts;
- `today`: states are read from today's objects, the newest row of the key whatever t.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.definitions import Projection, Service
from lifecycle.engine.association import as_numbers, auc
from lifecycle.engine.frames import training_frame
from lifecycle.engine.selection import select
from lifecycle.engine.spines import time_column
from lifecycle.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lifecycle.definitions import Definitions, KnownTime, View
    from lifecycle.engine.selection import Selection

MISTAKES = ("event_time", "closed", "today")
TODAY = datetime(9999, 1, 1, tzinfo=UTC)
NAIVE = "naive"
# Below this share of a float's size two values are one: aggregates of other window lengths round apart.
SAME = 1e-9
MICROSECOND_S = 1e-6


@dataclass(frozen=True)
class Audit:
    """
    What naive retrieval would have changed.

    rows, positive: of the frame, after immature rows are left out. features: one row per feature, the most changed
    association first: `feature`, `view`, `kind`, `rows`, `changed`, `share` (of rows), `appeared` (NULL as known),
    `vanished`, `median_change` and `largest_change` (absolute, of the changed numbers; seconds for times), `auc_known`,
    `auc_naive`, `auc_gain`. worst: the most changed rows of each feature, `feature`, `row` (of the frame), the spine's
    keys and time, `known`, `naive` (as text) and the label.
    """

    rows: int
    positive: int | None
    label: str | None
    mistakes: tuple[str, ...]
    features: pa.Table
    worst: pa.Table

    def over(self, *, changed: float | None = None, gain: float | None = None) -> list[str]:
        """Return the features of which more than a share `changed` of the rows changed, or whose AUC gained more."""
        found = []
        for one in self.features.to_pylist():
            too_changed = changed is not None and one["share"] > changed
            too_telling = gain is not None and one["auc_gain"] is not None and one["auc_gain"] > gain
            if too_changed or too_telling:
                found.append(one["feature"])
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what the command line prints as JSON."""
        head = {"rows": self.rows, "positive": self.positive, "label": self.label, "mistakes": list(self.mistakes)}
        return head | {"features": self.features.to_pylist(), "worst": self.worst.to_pylist()}


def audit(
    connection: Any,
    definitions: Definitions,
    spine: Any,
    *,
    features: str | Sequence[str],
    label: str | None = None,
    watermarks: Mapping[str, datetime] | None = None,
    full_feature_names: bool = False,
    mistakes: Sequence[str] = MISTAKES,
    worst: int = 3,
) -> Audit:
    """
    Compute a frame as known and naively, and compare them feature by feature.

    spine, features, label, watermarks, full_feature_names: as for `training_frame`; on-demand features, which are
    functions of others, take no part. mistakes: those the naive frame makes, of MISTAKES. worst: how many rows to
    list per feature. Raises UsageError for an unknown mistake and what `training_frame` refuses.
    """
    for one in mistakes:
        if one not in MISTAKES:
            raise unknown("mistake", one, MISTAKES)
    wanted = select(definitions, features, full_feature_names=full_feature_names)
    known = training_frame(
        connection, definitions, spine, features=features, label=label, known_time="as_known",
        full_feature_names=full_feature_names, watermarks=watermarks,
    ).table  # fmt: skip
    # What only on-demand features read is no column of the frame.
    selections = [one for one in wanted.selections if set(one.names) <= set(known.column_names)]
    keys = list(dict.fromkeys(key for one in selections for key in one.spine_keys))
    time = time_column(known.schema)
    asked = _Naive(connection, definitions, known.select([*keys, time]), time, tuple(mistakes), full_feature_names)
    naive = asked.columns(_projections(definitions, features, selections), selections)
    truth = None if label is None else known[label].combine_chunks().to_numpy(zero_copy_only=False).astype(np.bool_)
    pairs = [_Pair(name, of.view, _whole(known[name]), naive[name]) for of in selections for name in of.names]
    listed = [one.worst(worst, known.select([*keys, time]), truth, label) for one in pairs]
    found = pa.Table.from_pylist([one.measure(truth) for one in pairs], _SCHEMA)
    return Audit(
        rows=known.num_rows,
        positive=None if truth is None else int(truth.sum()),
        label=label,
        mistakes=tuple(mistakes),
        features=found.sort_by([("auc_gain", "descending"), ("share", "descending")]),
        worst=pa.concat_tables(listed) if listed else pa.table({}),
    )


_SCHEMA = pa.schema(
    [("feature", pa.string()), ("view", pa.string()), ("kind", pa.string())]
    + [(name, pa.int64()) for name in ("rows", "changed")]
    + [("share", pa.float64())]
    + [(name, pa.int64()) for name in ("appeared", "vanished")]
    + [(name, pa.float64()) for name in ("median_change", "largest_change", "auc_known", "auc_naive", "auc_gain")]
)


@dataclass(frozen=True)
class _Naive:
    """Asks the engine for what naive retrieval gives: other times, other windows, other views."""

    connection: Any
    definitions: Definitions
    spine: pa.Table
    time: str
    mistakes: tuple[str, ...]
    full: bool

    @property
    def mode(self) -> KnownTime:
        """Whether known times count."""
        return "feast" if "event_time" in self.mistakes else "as_known"

    def columns(self, projections: Sequence[Projection], selections: Sequence[Selection]) -> dict[str, pa.Array]:
        """Return the naive columns by name."""
        made: dict[str, pa.Array] = {}
        for windows in (False, True):
            chosen = [
                (one, of) for one, of in zip(projections, selections, strict=True) if bool(of.view.windows) == windows
            ]
            if not chosen:
                continue
            views = tuple(dict.fromkeys(self._view(of.view) for _, of in chosen))
            service = Service(NAIVE, tuple(one for one, _ in chosen))
            table = training_frame(
                self.connection, replace(self.definitions, views=views, services=(service,)), self._spine(windows),
                features=NAIVE, full_feature_names=self.full,
                known_time=self.mode if windows or "today" not in self.mistakes else "feast",
            ).table  # fmt: skip
            made |= {
                name: self._value(of, place, table[name]) for _, of in chosen for place, name in enumerate(of.names)
            }
        return made

    def _view(self, view: View) -> View:
        closed = "closed" in self.mistakes
        if view.windows:
            # [t - w, t] is [t' - w', t') for t' = t + 1 µs and w' = w + 1 µs.
            wider = [replace(one, window_us=one.window_us and one.window_us + 1) for one in view.windows]
            return replace(view, windows=tuple(wider)) if closed else view
        at_t = "include" if closed or "today" in self.mistakes else view.at_t
        ttl = None if "today" in self.mistakes else view.ttl_us
        return replace(view, at_t=at_t, ttl_us=ttl, settled=None)

    def _spine(self, windows: bool) -> pa.Table:
        place = self.spine.schema.get_field_index(self.time)
        field = pa.field(self.time, pa.timestamp("us", "UTC"))
        if not windows and "today" in self.mistakes:
            return self.spine.set_column(place, field, pa.array([TODAY] * len(self.spine), field.type))
        if not windows or "closed" not in self.mistakes:
            return self.spine
        times = pc.floor_temporal(self.spine[self.time], unit="microsecond").cast(field.type)
        return self.spine.set_column(place, field, pc.add(times.cast(pa.int64()), 1).cast(field.type))

    def _value(self, of: Selection, place: int, column: pa.ChunkedArray) -> pa.Array:
        """Return a naive column; an age is counted from t, not from the moment after it."""
        window = next((one for one in of.view.windows if one.name == of.features[place]), None)
        if window is None or "closed" not in self.mistakes or not window.function.startswith("seconds_since"):
            return _whole(column)
        return pc.subtract(_whole(column), MICROSECOND_S)


@dataclass(frozen=True)
class _Pair:
    """One feature's two columns."""

    name: str
    view: View
    known: pa.Array
    naive: pa.Array

    def measure(self, label: Any) -> dict[str, Any]:
        """Return the feature's row of the report."""
        changed, size = self._changes()
        count = int(changed.sum())
        sizes = size[changed & ~np.isnan(size)]
        known, naive = (None, None) if label is None else (auc(self.known, label), auc(self.naive, label))
        missing = [np.asarray(column.is_null()) for column in (self.known, self.naive)]
        return {
            "feature": self.name,
            "view": self.view.name,
            "kind": "window" if self.view.windows else "state",
            "rows": len(changed),
            "changed": count,
            "share": count / len(changed) if len(changed) else 0.0,
            "appeared": int((missing[0] & ~missing[1]).sum()),
            "vanished": int((~missing[0] & missing[1]).sum()),
            "median_change": float(np.median(sizes)) if len(sizes) else None,
            "largest_change": float(sizes.max()) if len(sizes) else None,
            "auc_known": known,
            "auc_naive": naive,
            "auc_gain": None if known is None or naive is None else naive - known,
        }

    def worst(self, most: int, spine: pa.Table, label: Any, label_name: str | None) -> pa.Table:
        """Return the most changed rows: the greatest change first, then those that have no size."""
        changed, size = self._changes()
        rows = np.flatnonzero(changed)
        rows = rows[np.argsort(-np.nan_to_num(size[rows], nan=-1.0), kind="stable")][:most]
        taken = spine.take(pa.array(rows))
        table = pa.table({"feature": pa.array([self.name] * len(rows), pa.string()), "row": pa.array(rows, pa.int64())})
        for place, name in enumerate(taken.column_names):
            table = table.append_column(name, taken.column(place))
        for name, column in (("known", self.known), ("naive", self.naive)):
            text = [None if one is None else str(one) for one in column.take(pa.array(rows)).to_pylist()]
            table = table.append_column(name, pa.array(text, pa.string()))
        if label_name is not None:
            table = table.append_column(label_name, pa.array(label[rows], pa.bool_()))
        return table

    def _changes(self) -> tuple[Any, Any]:
        """Return which rows changed, bool[n], and by how much where both are numbers, float64[n]."""
        known, naive = as_numbers(self.known), as_numbers(self.naive)
        if known is None or naive is None:
            # As Python writes them: a list may hold NaN, which is not even itself.
            pairs = zip(self.known.to_pylist(), self.naive.to_pylist(), strict=True)
            changed = [repr(one) != repr(other) for one, other in pairs]
            return np.array(changed, np.bool_), np.full(len(changed), np.nan)
        either = np.asarray(self.known.is_null()) != np.asarray(self.naive.is_null())
        if pa.types.is_floating(self.known.type):
            differs = ~np.isclose(known, naive, rtol=SAME, atol=0.0, equal_nan=True)
        else:
            differs = np.asarray(pc.fill_null(pc.not_equal(self.known, self.naive), fill_value=False))
        return either | differs, self._distance(known, naive)

    def _distance(self, known: Any, naive: Any) -> Any:
        """Return by how much two numbers differ; whole ones exactly, though a double cannot hold them."""
        if not pa.types.is_integer(self.known.type):
            with np.errstate(invalid="ignore"):  # from infinity to infinity it is no distance
                return np.abs(naive - known)
        ends = [
            of(self.known, self.naive, skip_nulls=False).cast(pa.uint64(), safe=False)
            for of in (pc.max_element_wise, pc.min_element_wise)
        ]
        # Beyond 63 bits both wrap around, and so does their difference, back to what it is.
        distance = pc.subtract(*ends).cast(pa.float64(), safe=False)
        return pc.fill_null(distance, np.nan).to_numpy(zero_copy_only=False)


def _projections(
    definitions: Definitions, features: str | Sequence[str], selections: Sequence[Selection]
) -> tuple[Projection, ...]:
    if isinstance(features, str) and features in {one.name for one in definitions.services}:
        return definitions.service(features).projections
    return tuple(Projection(one.view.name, one.features) for one in selections)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
