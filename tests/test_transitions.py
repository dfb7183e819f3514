"""State-transition matrices: what moved, what is absorbed, and what is not over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from lifecycle.analytics import exits, matrix, steps
from lifecycle.errors import DataError


def day(number):
    return datetime(2025, 1, number, tzinfo=UTC)


# a: current -> late -> paid; b: current -> late, still late; c: current, still current; d: late -> charged off.
STAYS = pa.table(
    {
        "consumer_id": ["b", "a", "a", "a", "b", "c", "d", "d"],
        "state": ["late", "current", "late", "paid", "current", "current", "late", "charged_off"],
        "valid_from": [day(n) for n in (6, 1, 5, 9, 1, 2, 1, 8)],
        "valid_to": [None, day(5), day(9), None, day(6), None, day(8), None],
    }
)
ENDS = ("paid", "charged_off")


def test_exits_show_censored_and_absorbed_stays_apart():
    found = exits(STAYS, absorbing=ENDS).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("charged_off", "charged_off", "absorbed", 1, 1.0),
        ("current", "late", "moved", 2, 1.0),
        ("current", None, "censored", 1, None),
        ("late", "charged_off", "moved", 1, 0.5),
        ("late", "paid", "moved", 1, 0.5),
        ("late", None, "censored", 1, None),
        ("paid", "paid", "absorbed", 1, 1.0),
    ]


def test_the_matrix_is_square_and_its_rows_sum_to_one():
    square = matrix(exits(STAYS, absorbing=ENDS))
    assert list(square.index) == ["charged_off", "current", "late", "paid"]
    assert list(square.columns) == ["charged_off", "current", "late", "paid", "censored"]
    assert (square.drop(columns="censored").sum(axis=1) == 1.0).all()
    assert square["censored"].tolist() == [0, 1, 1, 0]
    assert matrix(exits(STAYS, absorbing=ENDS), "stays").loc["current", "late"] == 2


def test_steps_compare_who_was_there_with_where_they_are_later():
    found = steps(STAYS, starts=[day(2), day(5)], step=timedelta(days=4), observed_until=day(8), absorbing=ENDS)
    # Of day 2: a and b went from current to late, c stayed, d stayed late. Of day 5 the later time is not known yet.
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("current", "current", "stayed", 1, pytest.approx(1 / 3)),
        ("current", "late", "moved", 2, pytest.approx(2 / 3)),
        ("current", None, "censored", 2, None),
        ("late", "late", "stayed", 1, 1.0),
        ("late", None, "censored", 2, None),
    ]


def test_what_lies_ahead_of_the_observation_has_not_happened():
    found = exits(STAYS, observed_until=day(7), absorbing=ENDS).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("current", "late", "moved", 2, 1.0),
        ("current", None, "censored", 1, None),
        ("late", None, "censored", 3, None),
    ]


def test_a_stay_that_ended_without_another_is_censored_and_pandas_gives_pandas():
    stays = pd.DataFrame({"consumer_id": ["a"], "state": ["x"], "valid_from": [day(1)], "valid_to": [day(2)]})
    found = exits(stays)
    assert isinstance(found, pd.DataFrame)
    assert found[["outcome", "stays"]].to_numpy().tolist() == [["censored", 1]]


def test_a_state_that_is_left_is_not_absorbing():
    with pytest.raises(DataError, match="'late' was named absorbing, and 2 stays in it led elsewhere"):
        exits(STAYS, absorbing=["late"])
    with pytest.raises(DataError, match="'current' was named absorbing, and 2 stays"):
        steps(STAYS, starts=[day(2)], step=timedelta(days=4), observed_until=day(9), absorbing=["current"])
