"""Samples keep rows by their keys and say their weight; splits leave an embargo before each cut."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from lifecycle.engine import sample, split
from lifecycle.errors import UsageError

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_a_sample_keeps_rows_by_key_and_says_their_weight():
    rows = 20_000
    table = pa.table(
        {
            "consumer_id": [f"c{i}" for i in range(rows)],
            "event_timestamp": pa.array([NOON] * rows, pa.timestamp("us", "UTC")),
            "bad": [i % 100 == 0 for i in range(rows)],
        }
    )
    rates = {True: 1.0, False: 0.1}
    drawn = sample(table, "bad", rates, keys=["consumer_id"], seed=3)
    assert drawn["bad"].to_pylist().count(True) == rows // 100
    assert abs(sum(drawn["weight"].to_pylist()) - rows) < 0.05 * rows
    assert set(drawn["weight"].to_pylist()) == {1.0, 10.0}
    part = sample(table.slice(5_000, 900), "bad", rates, keys=["consumer_id"], seed=3)
    kept = set(drawn["consumer_id"].to_pylist())
    assert part["consumer_id"].to_pylist() == [
        one for one in table["consumer_id"].to_pylist()[5_000:5_900] if one in kept
    ]
    assert not drawn.equals(sample(table, "bad", rates, keys=["consumer_id"], seed=4))
    with pytest.raises(UsageError, match="values without a rate: True"):
        sample(table, "bad", {False: 0.5}, keys=["consumer_id"])


@pytest.mark.parametrize("held", [pa.date32(), pa.timestamp("s"), pa.timestamp("ns", "Europe/Berlin")])
def test_a_sample_is_the_same_whatever_holds_the_times(held):
    days = pa.array([date(1969, 12, 1) + timedelta(days=day) for day in range(60)])
    table = pa.table({"k": range(60), "bad": [True] * 60, "event_timestamp": days.cast(pa.timestamp("us", "UTC"))})
    other = table.set_column(2, "event_timestamp", days.cast(pa.timestamp("s")).cast(held))
    kept, again = (sample(one, "bad", {True: 0.5}, keys=["k"])["k"].to_pylist() for one in (table, other))
    assert kept == again
    assert 0 < len(kept) < 60


def test_a_sample_names_a_column_that_is_not_there():
    table = pa.table({"consumer_id": ["a"], "bad": [True], "event_timestamp": [NOON]})
    with pytest.raises(UsageError, match=r"column of the table to sample 'bda'\. Did you mean 'bad'"):
        sample(table, "bda", {True: 0.5}, keys=["consumer_id"])
    with pytest.raises(UsageError, match=r"column of the table to sample 'consumer'\. Did you mean 'consumer_id'"):
        sample(table, "bad", {True: 0.5}, keys=["consumer"])


def test_a_split_leaves_an_embargo_before_each_cut():
    days = [NOON + timedelta(days=day) for day in range(10)]
    table = pa.table({"event_timestamp": days, "day": range(10)})
    parts = split(table, validation=days[5], test=days[8], embargo=timedelta(days=2))
    assert {name: part["day"].to_pylist() for name, part in parts.items()} == {
        "train": [0, 1, 2],
        "validation": [5],
        "test": [8, 9],
    }
    with pytest.raises(UsageError, match="not before test"):
        split(table, validation=days[8], test=days[5], embargo=timedelta(0))
