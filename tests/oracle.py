"""
What a feature value means, as nested loops over plain rows: every engine is compared with this.

Times are whole microseconds, so that no library's idea of time takes part. It imports nothing of the product.

A row of a view:   {"key": tuple, "event": int, "known": int | None, "tie": tuple, "deleted": bool, "values": tuple}
A version of an event: {"key": tuple, "event": int, "known_from": int, "known_until": int | None, "tie": tuple,
                        "holds": bool}, where `holds` is the label's condition.
An event of a window:   a version without `holds`; known_from may be None (since ever), and its columns stand beside.
A telling of an event:  an event of a window without known times, but with its "id", when it was "told", its "content"
                        and whether it is "retracted".
A key with a None in it matches nothing; a None in a tie-break is smaller than any value.
"""

from __future__ import annotations

import math
from fractions import Fraction


def as_of(rows, key, t, *, ttl=None, exclude=False, as_known=True):
    """Return the values of the state of `key` at `t`, or None where every feature is NULL."""
    winner = None
    for row in rows:
        if row["key"] != key or None in key:
            continue
        if row["event"] > t or (exclude and row["event"] == t):
            continue
        if as_known and _known(row) > t:
            continue
        if winner is None or _rank(row) > _rank(winner):
            winner = row
    if winner is None or winner["deleted"]:
        return None
    if ttl and t - winner["event"] > ttl:
        return None
    return winner["values"]


def label(versions, key, t, *, kind, horizon, maturity, watermark):
    """Return (value, status) of a label of `key` at `t`; the value is None unless the status is mature."""
    if None in key:
        return None, "no_key"
    judged = t + horizon + maturity
    if judged > watermark:
        return None, "immature"
    in_force = []
    for version in versions:
        if version["key"] != key:
            continue
        if version["known_from"] <= judged and (version["known_until"] is None or judged < version["known_until"]):
            in_force.append(version)
    if kind == "state_at":
        state = None
        for version in in_force:
            if version["event"] <= t + horizon and (state is None or _state_rank(version) > _state_rank(state)):
                state = version
        return state is not None and state["holds"], "mature"
    exists = any(version["holds"] and t < version["event"] <= t + horizon for version in in_force)
    return exists if kind == "exists" else not exists, "mature"


def settled(tellings):
    """Return the versions that tellings amount to, in the order they came: a content told again is a repeat."""
    firsts = {}
    for one in tellings:
        firsts.setdefault((one["id"], one["content"]), one)
    versions = []
    for one in firsts.values():
        later = [o["told"] for o in firsts.values() if o["id"] == one["id"] and o["told"] > one["told"]]
        if not one["retracted"]:
            versions.append(one | {"known_from": one["told"], "known_until": min(later, default=None)})
    return versions


def window(events, key, t, function, column=None, width=None, where=None, parameter=None, as_known=True, cap=None):
    """Return one window feature of `key` at `t`; `where` names a boolean column, `width` None is all history."""
    rows = []
    for event in events:
        if event["key"] != key or None in key or event["event"] >= t:
            continue
        begin, end = event["known_from"], event["known_until"]
        if as_known and not ((begin is None or begin <= t) and (end is None or t < end)):
            continue
        if as_known or end is None:
            rows.append(event)
    rows.sort(key=lambda e: (e["event"], -math.inf if e["known_from"] is None else e["known_from"], _tie(e)))
    rows = rows[-cap:] if cap is not None else rows
    rows = [e for e in rows if (width is None or t - width <= e["event"]) and (where is None or e[where])]
    if function == "last_k":
        return [e[column] for e in rows[-int(parameter) :]] or None
    if column is not None:
        rows = [e for e in rows if e[column] is not None]
    if function == "count":
        return len(rows)
    if function.startswith("seconds_since"):
        picked = rows[-1:] if function.endswith("last") else rows[:1]
        return (t - picked[0]["event"]) / 1e6 if picked else None
    return aggregate(function, [e[column] for e in rows], parameter)


def aggregate(function, values, parameter=None):  # noqa: PLR0911 - one each
    """Return one aggregation over values in order of time; fractions, so that nothing is rounded on the way."""
    if function == "count_distinct":
        return len({"nan" if isinstance(x, float) and math.isnan(x) else x for x in values})
    if not values or (function in {"var", "std"} and len(values) < 2):
        return None
    if function in {"first", "last"}:
        return values[0] if function == "first" else values[-1]
    if not all(math.isfinite(x) for x in values):
        return math.nan
    if function in {"min", "max"}:
        return min(values) if function == "min" else max(values)
    if function == "approx_quantile":
        return sorted(values)[max(len(values) - math.floor(len(values) - parameter * len(values)), 1) - 1]
    exact = [Fraction(x) for x in values]
    if function == "sum":
        return sum(exact)
    middle = sum(exact) / len(exact)
    if function in {"mean", "rate"}:
        return middle
    spread = sum((x - middle) ** 2 for x in exact) / (len(exact) - 1)
    return spread if function == "var" else math.sqrt(spread)


def _known(row):
    return row["event"] if row["known"] is None else row["known"]


def _rank(row):
    return row["event"], _known(row), _tie(row)


def _state_rank(version):
    return version["event"], version["known_from"], _tie(version)


def _tie(row):
    return tuple((part is not None, part) for part in row["tie"])
