"""The counting tree of one bit an event, and lists of every kind of value, against plain numpy and Python."""

import numpy as np
import pyarrow as pa
import pytest

from lifecycle.engine.windows.columns import joined, list_of, runs
from lifecycle.engine.windows.counts import tally


@pytest.mark.parametrize("events", [1, 63, 64, 65, 4_160, 300_000])
def test_counts_follow_flips_on_every_level(events):
    random = np.random.default_rng(events)
    before, rows = 70, 40
    on = random.integers(0, 2, before + events).astype(np.uint8)
    mask = random.integers(0, 4, before + events).astype(bool).astype(np.uint8)
    on &= mask
    groups = np.array([[0, before, 0, 0], [before, before + events, 0, rows]])
    end = np.sort(random.integers(0, events + 1, rows)) + before
    end[-1] = before + events
    start = before + np.sort(random.integers(0, events + 1, (3, rows)), axis=0)[::-1]
    start[-1, -1] = before
    head = np.arange(rows)
    flipped = random.integers(before, before + events, rows)
    found = tally(on, mask, groups, end, np.ascontiguousarray(start), (head, np.full(rows, -1), flipped))
    expected = on.copy()
    for row in range(rows):
        expected[flipped[row]] ^= mask[flipped[row]]
        for width in range(3):
            assert found[width, row] == expected[start[width, row] : max(start[width, row], end[row])].sum()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([5, 6, 7, 8], pa.int64()),
        pa.array([5, 6, 7, 8], pa.int32()),
        pa.array([0.5, -0.0, float("inf"), 8.0]),
        pa.array([5, 6, 7, 8], pa.timestamp("us", "UTC")),
        pa.array(["a", "b", "c", "d"]),
        pa.array([True, False, True, True]),
        pa.array([5, None, 7, 8]),
    ],
    ids=lambda values: f"{values.type} {values.null_count}",
)
def test_lists_are_the_ends_of_the_longest(values):
    whole = joined([values.slice(0, 1), values.slice(1)])
    assert whole.equals(values)
    # The first row's longest list is events 2 and 3, the third row's 0 and 1; the second has none.
    held = runs(whole, np.array([4, 0, 2]), np.array([2, 0, 2]))
    a, b, c, d = values.to_pylist()
    assert held.to_pylist() == [c, d, a, b]
    ends = np.array([2, 2, 4])
    assert list_of(held, ends, np.array([2, 0, 2])).to_pylist() == [[c, d], None, [a, b]]
    shorter = list_of(held, ends, np.array([1, 0, 2]))
    assert shorter.to_pylist() == [[d], None, [a, b]]
    assert shorter.type == pa.list_(values.type)
