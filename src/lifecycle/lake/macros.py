"""
As-of values in plain SQL: table macros that every reading connection and every exported file has.

They take any relation of the lake that keeps the columns of docs/events.md, compare every row with every moment
asked for, and so are for questions and small spines; a frame is for the rest. The engine gives the same values.

- `state_as_of(relation, key, t, known_by := t, at_t := 'include')`: one row per key, the state at `t` as known by
  `known_by`; a key whose state was deleted has none. relation: text, such as 'features.consumer_payment'. key: a
  column, or several as `(a, b)`. at_t := 'exclude' leaves out rows at exactly t, as a source may declare.
- `events_as_of(relation, t, width := NULL, known_by := t)`: the versions of events that a window [t - width, t) holds;
  without a width all before t. Aggregate them, by key, as SQL does.
- `window_as_of(relation, key, aggregate, t, width := NULL, known_by := t)`: `key` and `value` for each key with an
  event in the window: `window_as_of('features.charge_events', consumer_id, sum(amount), now(), INTERVAL 7 DAY)`.

`known_by := 'infinity'` is today's knowledge of the past: event time only. Where `t` is a column of another table, the
macro stands in a lateral join and answers each of its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.definitions import TIE_BREAK

if TYPE_CHECKING:
    from collections.abc import Iterator

_KNOWN = "coalesce(f.known_at, f.event_timestamp)"
_ORDER = ", ".join(["f.event_timestamp DESC", f"{_KNOWN} DESC", *(f"f.{one} DESC NULLS LAST" for one in TIE_BREAK)])
_EVENTS = """FROM query_table(relation) AS f
    WHERE f.event_timestamp < t AND (width IS NULL OR f.event_timestamp >= t - width)
        AND coalesce(f.known_from <= coalesce(known_by, t), true)
        AND coalesce(f.known_until > coalesce(known_by, t), true)"""
_MACROS = {
    "state_as_of(relation, key, t, known_by := NULL::TIMESTAMPTZ, at_t := 'include')": f"""
    SELECT * FROM (
        SELECT f.* FROM query_table(relation) AS f
        WHERE f.event_timestamp <= t AND key IS NOT NULL AND {_KNOWN} <= coalesce(known_by, t)
            AND CASE at_t WHEN 'include' THEN true WHEN 'exclude' THEN f.event_timestamp < t
                ELSE error('at_t can be include or exclude, not ' || at_t) END
        QUALIFY row_number() OVER (PARTITION BY key ORDER BY {_ORDER}) = 1
    ) WHERE deleted IS NOT TRUE""",
    "events_as_of(relation, t, width := NULL::INTERVAL, known_by := NULL::TIMESTAMPTZ)": f"""
    SELECT f.* {_EVENTS}""",
    "window_as_of(relation, key, aggregate, t, width := NULL::INTERVAL, known_by := NULL::TIMESTAMPTZ)": f"""
    SELECT key AS key, aggregate AS value {_EVENTS} AND key IS NOT NULL GROUP BY ALL""",
}


def statements(prefix: str = "TEMP MACRO ") -> Iterator[str]:
    """Yield the statements that make the macros, for a connection's own or, by prefix, in an attached database."""
    for signature, body in _MACROS.items():
        yield f"CREATE OR REPLACE {prefix}{signature} AS TABLE {body}"
