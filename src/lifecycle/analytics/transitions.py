"""State-transition matrices from intervals, with what is not over shown apart and not dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lifecycle.analytics.tables import frame, like
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

MOVED, STAYED, CENSORED, ABSORBED = "moved", "stayed", "censored", "absorbed"


def exits(
    intervals: Any,
    *,
    observed_until: datetime | None = None,
    key: str = "consumer_id",
    state: str = "state",
    valid_from: str = "valid_from",
    valid_to: str = "valid_to",
    absorbing: Sequence[str] = (),
) -> Any:
    """
    Count where each stay in a state led: the jump matrix, in long form.

    intervals: Arrow or pandas, one row per key and stay; `valid_to` NULL while it lasts. absorbing: states that nothing
    leaves, which the caller knows and the data cannot tell. observed_until: the last moment for which states are
    known; what the intervals say of later ones (a state that silence will end) is not counted as having happened.

    Returns `from_state`, `to_state`, `outcome`, `stays` int64, `share` double, ordered. outcome: `moved` to another
    state; `censored`, still there when the observation ended (`to_state` NULL); `absorbed`, in an absorbing state for
    good (`to_state` itself, share 1). share: of the stays of `from_state` that ended, so that the moves of a state sum
    to 1; NULL for censored stays, which say nothing about where they will lead. Raises DataError where an absorbing
    state is left.
    """
    rows = frame(intervals, [key, state, valid_from, valid_to]).sort_values([key, valid_from], kind="stable")
    if observed_until is not None:
        rows = rows[rows[valid_from] <= observed_until]
        rows[valid_to] = rows[valid_to].where(rows[valid_to] <= observed_until)
    following = rows[state].shift(-1).where(rows[key].eq(rows[key].shift(-1)) & rows[valid_to].notna())
    outcome = following.notna().map({True: MOVED, False: CENSORED})
    last = rows[state].isin(list(absorbing))
    _refuse_left(rows[last & following.notna()], state)
    stays = pd.DataFrame(
        {
            "from_state": rows[state],
            "to_state": following.where(~last, rows[state]),
            "outcome": outcome.where(~last, ABSORBED),
        }
    )
    return like(intervals, _shares(stays))


def steps(
    intervals: Any,
    *,
    starts: Sequence[datetime],
    step: timedelta,
    observed_until: datetime,
    key: str = "consumer_id",
    state: str = "state",
    valid_from: str = "valid_from",
    valid_to: str = "valid_to",
    absorbing: Sequence[str] = (),
) -> Any:
    """
    Count, for all in a state at each of `starts`, where they were a `step` later: the matrix of a Markov chain.

    Returns the columns of `exits`; outcome may also be `stayed`. A pair whose later time is past `observed_until` (the
    last moment for which states are known) is censored, and so is one whose interval ended without another. A
    state at a time is the interval with valid_from <= time < valid_to.
    """
    rows = frame(intervals, [key, state, valid_from, valid_to])
    rows.columns = pd.Index(["key", "state", "begin", "end"])
    pairs = []
    for start in starts:
        later = start + step
        before = _at(rows, start)
        after = _at(rows, later) if later <= observed_until else before.iloc[:0]
        pairs.append(pd.DataFrame({"from_state": before, "to_state": after.reindex(before.index)}))
    stays = pd.concat(pairs, ignore_index=True).astype(object)
    same = stays["to_state"].eq(stays["from_state"])
    last = stays["from_state"].isin(list(absorbing))
    _refuse_left(stays[last & stays["to_state"].notna() & ~same].rename(columns={"from_state": state}), state)
    stays["outcome"] = stays["to_state"].notna().map({True: MOVED, False: CENSORED}).where(~same, STAYED)
    stays.loc[last, "outcome"] = ABSORBED
    stays.loc[last, "to_state"] = stays.loc[last, "from_state"]
    return like(intervals, _shares(stays))


def matrix(counts: Any, values: str = "share") -> pd.DataFrame:
    """
    Return `exits` or `steps` as a square: from-states down, to-states across, and censored stays as the last column.

    values: "share" (each row of a state that was left, or is absorbing, sums to 1) or "stays". The column `censored`
    is always a number of stays.
    """
    rows = frame(counts, ["from_state", "to_state", "outcome", "stays", "share"])
    ended, open_ = rows[rows["outcome"] != CENSORED], rows[rows["outcome"] == CENSORED]
    states = sorted({*rows["from_state"], *ended["to_state"]})
    square = ended.pivot_table(index="from_state", columns="to_state", values=values, aggfunc="sum", fill_value=0)
    square = square.reindex(index=states, columns=states, fill_value=0)
    square["censored"] = open_.groupby("from_state")["stays"].sum().reindex(states, fill_value=0)
    return square


def _at(rows: pd.DataFrame, time: datetime) -> pd.Series[Any]:
    there = rows[(rows["begin"] <= time) & (rows["end"].isna() | (rows["end"] > time))]
    return there.set_index("key")["state"]


def _refuse_left(left: pd.DataFrame, state: str) -> None:
    if len(left):
        raise DataError(
            f"state {left[state].iloc[0]!r} was named absorbing, and {len(left)} stays in it led elsewhere. "
            "Leave it out of `absorbing`, or mend the intervals."
        )


def _shares(stays: pd.DataFrame) -> pd.DataFrame:
    by = ["from_state", "to_state", "outcome"]
    counts = stays.groupby(by, dropna=False, sort=True).size().rename("stays").reset_index()
    ended = counts["stays"].where(counts["outcome"] != CENSORED)
    counts["share"] = ended / ended.groupby(counts["from_state"]).transform("sum")
    return counts
