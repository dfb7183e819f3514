"""
What as-of retrieval needs of a view, settled once, when a release is made.

As known: the winner of an as-of join only ever grows. So per key, in the order in which rows become visible, a row
that does not beat all before it never wins and is left out; of rows visible at the same moment one is kept. A single
ASOF join of these running records on `visible_at` is then exact.

By event time alone: of rows of one key and event time the one known last wins. A row known in time is a record
unless such a one beats it, so beside the records only rows known late are written, at their event time's place.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lifecycle.engine.session import columns, fact_time, require
from lifecycle.errors import UsageError
from lifecycle.names import quote, quote_all, relation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.definitions import View

SCHEMA = "asof"
VISIBLE = "visible_at"
KEY_CODE, FIRST_OF_KEY = "key_code", "first_of_key"
AS_KNOWN, BY_EVENT = "as_known", "by_event"
_OWN = (VISIBLE, KEY_CODE, FIRST_OF_KEY, AS_KNOWN, BY_EVENT)
ROWS_AT_ONCE, ALL_ROWS = 10_000_000, 2**62
LAYOUT = 1  # of codes, flags and order: another number settles all anew
_CODES, _FACTS = "settling_codes", "settling_facts"


@dataclass(frozen=True)
class Facts:
    """
    SQL over one view's relation, times brought to TIMESTAMPTZ in microseconds.

    event, known: SQL of the event time and of the known time (the event time where none is stated).
    visible, first: SQL of the first observation time that may use the row, as known and by event time alone.
    rows: a temporary table of the relation's rows that are meant; none means all.
    """

    view: View
    types: dict[str, str]
    keys: tuple[str, ...]
    event: str
    known: str
    visible: str
    first: str
    rows: str | None = None

    @property
    def relation(self) -> str:
        """The quoted name of what holds the rows."""
        return self.rows or relation(self.view.relation)

    @property
    def usable(self) -> str:
        """SQL: no key is NULL, and the event time is a moment, neither NULL nor infinite."""
        return " AND ".join([f"{quote(key)} IS NOT NULL" for key in self.keys] + [f"isfinite({self.event})"])

    @property
    def kept(self) -> list[str]:
        """The relation's columns behind keys, features and tombstones, each once, times aside."""
        view = self.view
        wanted = [*self.keys, *(view.column_of(one.name) for one in view.features), view.deleted]
        times = {view.event_timestamp, view.known_at}
        return [one for one in dict.fromkeys(wanted) if one is not None and one not in times]

    def times(self) -> str:
        """Return SQL of the event time and known time under the relation's own names."""
        listed = [f"{self.event} AS {quote(self.view.event_timestamp)}"]
        if self.view.known_at is not None and self.view.known_at != self.view.event_timestamp:
            listed.append(f"{self.known} AS {quote(self.view.known_at)}")
        return ", ".join(listed)


def facts(connection: Any, view: View) -> Facts:
    """Return the SQL of `view`'s rows; raises UsageError where relation or columns are missing."""
    have = columns(connection, view.relation)
    keys = tuple(column for _, column in view.join_keys)
    behind = [view.column_of(one.name) for one in view.features] if not view.windows else []
    named = [*keys, view.event_timestamp, view.known_at, view.deleted, *view.tie_break, *behind]
    require(named, have, view.relation, f"view {view.name!r}")
    event = fact_time(quote(view.event_timestamp), have[view.event_timestamp])
    known = event
    if view.known_at is not None:
        known = f"coalesce({fact_time(quote(view.known_at), have[view.known_at])}, {event})"
    first = f"{event} + INTERVAL 1 MICROSECOND" if view.at_t == "exclude" else event
    visible = first if view.known_at is None else f"greatest({first}, {known})"
    return Facts(view, have, keys, event, known, visible, first)


def records(of: Facts, only: str = "") -> str:
    """
    Return SQL of the running records: the kept columns, the times, `visible_at` and `first_of_key`, unsorted.

    only: a further condition on the relation's rows, or nothing.
    """
    view = of.view
    # A row that is known at infinity never becomes known.
    where = " AND ".join([of.usable, f"isfinite({of.visible})", *([only] if only else [])])
    event, known = quote(view.event_timestamp), quote(view.known_at or view.event_timestamp)
    ties = [f"{quote(one)} NULLS FIRST" for one in view.tie_break]
    order = ", ".join([f"{quote(VISIBLE)}, {event}, {known}", *ties])
    by = f"PARTITION BY {quote_all(of.keys)} " if of.keys else ""
    # Among rows of one event time the later visible one is known later (or ranks higher in the tie-break), so
    # a row wins against all before it if no event time before it is greater.
    return f"""
        SELECT {quote_all([*of.kept, *_time_names(view), VISIBLE])},
            {quote(VISIBLE)} = first_value({quote(VISIBLE)}) OVER seen AS {FIRST_OF_KEY}
        FROM ({_rows(of, of.visible, where)})
        WINDOW seen AS ({by}ORDER BY {order})
        QUALIFY {event} >= max({event}) OVER (seen ROWS UNBOUNDED PRECEDING)
            AND lead({quote(VISIBLE)}) OVER seen IS DISTINCT FROM {quote(VISIBLE)}"""


def settle(connection: Any, view: View, touched: str | None = None) -> View:
    """
    Write what can win of a row view into the lake's relation `asof.<view>`, sorted by key and time.

    touched: SQL of the keys, under the relation's own names, whose rows came or went since `asof.<view>` was settled as
    the view now means it; other keys' records stand as they are, and the caller's transaction holds what changes.
    None settles all keys anew.

    Returns the view with `settled` set; a window view is returned as it is. Columns: keys, features and
    tombstone mark under the relation's own names, event and known time as TIMESTAMPTZ in microseconds,
    `key_code`, a whole number per key, `first_of_key`, on one row of each key, `as_known` and
    `by_event`, in which retrieval the row counts, and `visible_at`, the first observation time that may use it there.
    Rows are in order of `key_code` and `visible_at`; of those that count in one retrieval no two have the same.
    """
    if view.windows:
        return view
    connection.execute("SET TimeZone = 'UTC'")
    of = facts(connection, view)
    clash = {*_OWN} & {*of.kept, *_time_names(view), *view.tie_break}
    if clash:
        raise UsageError(f"view {view.name!r} has a column {clash.pop()!r}, a name that settling needs. Rename it.")
    name, codes = settled_name(view), 0
    write = f"INSERT INTO {relation(name)} BY NAME"
    if touched is None:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{SCHEMA}")
        write = f"CREATE OR REPLACE TABLE {relation(name)} AS"
    else:
        # Codes go on from the greatest, so that what is written now lies in order behind what stands.
        [(codes,)] = connection.execute(f"SELECT coalesce(max({KEY_CODE}) + 1, 0) FROM {relation(name)}").fetchall()
        only = f"({quote_all(of.keys)}) IN (SELECT ({quote_all(of.keys)}) FROM ({touched}))"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_FACTS} AS FROM {of.relation} WHERE {only}")
        connection.execute(f"DELETE FROM {relation(name)} WHERE {only}")
        of = replace(of, rows=_FACTS)
    for part in _parts(connection, of, codes):
        connection.execute(f"{write} {part}")
        write = f"INSERT INTO {relation(name)} BY NAME"
    connection.execute(f"DROP TABLE IF EXISTS {_CODES}; DROP TABLE IF EXISTS {_FACTS}")
    return replace(view, settled=name)


def settled_name(view: View) -> str:
    """Return the name, `schema.table`, of the relation that `settle` writes."""
    return f"{SCHEMA}.{view.name}"


def meaning(connection: Any, view: View) -> str:
    """Return the SHA-256 of all that makes a view's settled rows of its relation's: SQL, columns' types and layout."""
    of = facts(connection, view)
    types = {one: of.types[one] for one in (*of.kept, *_time_names(view), *view.tie_break)}
    return hashlib.sha256(json.dumps([LAYOUT, _winners(of, ""), types]).encode()).hexdigest()


def _parts(connection: Any, of: Facts, codes: int) -> Iterator[str]:
    """
    Yield SQL of the rows to write with their keys' codes, whole numbers from `codes` on, sorted, some keys at a time.

    Ranking and sorting hold their rows twice over: parts of ROWS_AT_ONCE keep a large relation within the memory limit.
    """
    # Behind a LIMIT rows go on in their order. Without one DuckLake's threads write row groups as they finish them.
    keys, order = quote_all(of.keys), f"ORDER BY {KEY_CODE}, {quote(VISIBLE)} LIMIT {ALL_ROWS}"
    # Numbers sort faster than text, so the keys alone are sorted as what they are.
    code = f"row_number() OVER (ORDER BY {keys})" if keys else "1::BIGINT"
    listed, by = (f"{keys}, ", f"GROUP BY {keys}") if keys else ("", "")
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE {_CODES} AS
        SELECT {listed}{codes} + {code} - 1 AS {KEY_CODE}, ever
        FROM (
            SELECT {listed}bool_or(isfinite({of.visible})) AS ever FROM {of.relation} WHERE {of.usable} {by})""")
    rows, count = connection.execute(
        f"SELECT (SELECT count(*) FROM {of.relation}), (SELECT count(*) FROM {_CODES})"
    ).fetchone()
    parts = max(1, -(-rows // ROWS_AT_ONCE)) if keys else 1
    for part in range(parts):
        between = f"{KEY_CODE} BETWEEN {codes + count * part // parts} AND {codes + count * (part + 1) // parts - 1}"
        only = f"({keys}) IN (SELECT ({keys}) FROM {_CODES} WHERE {between})" if parts > 1 else ""
        yield f"{_winners(of, only)} {order}"


def _winners(of: Facts, only: str) -> str:
    """Return SQL of the running records and of the rows known late that win by event time, with their keys' codes."""
    on = " AND ".join(["true", *(f"r.{quote(key)} = {{0}}.{quote(key)}" for key in of.keys)])
    coded = f"JOIN {_CODES} AS c ON {on.format('c')}"
    if of.visible == of.first:
        return f"""
            SELECT r.*, c.{KEY_CODE}, true AS {AS_KNOWN}, true AS {BY_EVENT}
            FROM ({records(of, only)}) AS r {coded}"""
    view = of.view
    event = quote(view.event_timestamp)
    first = f"r.{event} + INTERVAL 1 MICROSECOND" if view.at_t == "exclude" else f"r.{event}"
    return f"""
        WITH late AS MATERIALIZED ({_late(of, only)})
        SELECT r.*, c.{KEY_CODE}, true AS {AS_KNOWN},
            r.{quote(VISIBLE)} = {first} AND l.{event} IS NULL AS {BY_EVENT}
        FROM ({records(of, only)}) AS r {coded}
        LEFT JOIN late AS l ON {on.format("l")} AND r.{event} = l.{event}
        UNION ALL
        SELECT r.* REPLACE (r.{FIRST_OF_KEY} AND NOT c.ever AS {FIRST_OF_KEY}), c.{KEY_CODE}, false, true
        FROM late AS r {coded}"""


def _late(of: Facts, only: str) -> str:
    """Return SQL like that of `records` of the rows known late: of each key and event time the one that ranks last."""
    view = of.view
    where = " AND ".join([of.usable, f"{of.known} > {of.first}", *([only] if only else [])])
    event, known = quote(view.event_timestamp), quote(view.known_at or view.event_timestamp)
    order = ", ".join([event, known, *(f"{quote(one)} NULLS FIRST" for one in view.tie_break)])
    by = f"PARTITION BY {quote_all(of.keys)} " if of.keys else ""
    return f"""
        SELECT {quote_all([*of.kept, *_time_names(view), VISIBLE])},
            {event} = first_value({event}) OVER ranked AS {FIRST_OF_KEY}
        FROM ({_rows(of, of.first, where)})
        WINDOW ranked AS ({by}ORDER BY {order})
        QUALIFY lead({event}) OVER ranked IS DISTINCT FROM {event}"""


def _rows(of: Facts, visible: str, where: str) -> str:
    carried = dict.fromkeys([*of.kept, *(one for one in of.view.tie_break if one not in _time_names(of.view))])
    plain = quote_all(carried) + ", " if carried else ""
    return f"SELECT {plain}{of.times()}, {visible} AS {quote(VISIBLE)} FROM {of.relation} WHERE {where}"


def _time_names(view: View) -> list[str]:
    known = view.known_at
    return [view.event_timestamp, *([known] if known is not None and known != view.event_timestamp else [])]
