"""How well one feature tells a label's positives from its negatives: the area under the ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FOLDS = 5


def as_numbers(column: pa.Array) -> Any:
    """Return a column as float64[n], NaN where NULL; times in seconds. None for a type that is no number."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_temporal(kind):
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            return None
        times = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())  # nanoseconds do not count
        return times.to_numpy(zero_copy_only=False).astype(np.float64) / 1e6
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    return pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)


def auc(column: pa.Array, label: Any) -> float | None:
    """
    Return the area under the ROC curve of a feature on its own, from 0.5 (tells nothing) to 1.

    column: the feature. label: bool[n]. Numbers, times and truths are ranked by value, NULL and NaN below all, and
    the better of the two directions counts. Any other value is ranked, in each of five folds of the rows (by
    position), by its share of positives in the other four, so that a rare value does not tell its own label; pairs
    within a fold count, and an area below 0.5 is 0.5. None where all rows have one label, and for lists.

    The area is Mann and Whitney's U over the product of both counts (Hanley and McNeil, Radiology 143, 1982).
    """
    if label.all() or not label.any() or pa.types.is_nested(column.type):
        return None
    scores = as_numbers(column)
    if scores is None:
        return max(_area_over_folds(_out_of_fold(column, label), label), 0.5)
    area = _area(np.where(np.isnan(scores), -np.inf, scores), label)
    return max(area, 1.0 - area)


def _area(scores: Any, label: Any) -> float:
    from scipy.stats import rankdata

    positives = int(label.sum())
    ranks = rankdata(scores)
    above = ranks[label].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(label) - positives)))


def _area_over_folds(scores: Any, label: Any) -> float:
    """Return the area over all pairs within a fold: scores of two folds rest on different rows."""
    areas, pairs = [], []
    for fold in range(FOLDS):
        truth = label[fold::FOLDS]
        if truth.any() and not truth.all():
            areas.append(_area(scores[fold::FOLDS], truth))
            pairs.append(int(truth.sum()) * int((~truth).sum()))
    return float(np.average(areas, weights=pairs)) if areas else 0.5


def _out_of_fold(column: pa.Array, label: Any) -> Any:
    """Return, per row, the share of positives among rows of the same value in the other folds, drawn to the mean."""
    codes = column.cast(pa.string()).dictionary_encode().indices
    codes = pc.fill_null(codes.cast(pa.int64()), -1).to_numpy(zero_copy_only=False) + 1
    folds = np.arange(len(label)) % FOLDS
    size = int(codes.max()) + 1
    count = np.bincount(codes * FOLDS + folds, minlength=size * FOLDS).reshape(size, FOLDS)
    positive = np.bincount(codes * FOLDS + folds, weights=label, minlength=size * FOLDS).reshape(size, FOLDS)
    others = count.sum(axis=1, keepdims=True) - count
    # One row's worth of the overall share: a value seen nowhere else has the mean.
    share = (positive.sum(axis=1, keepdims=True) - positive + label.mean()) / (others + 1)
    return share[codes, folds]
