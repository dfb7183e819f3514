"""
What an online store needs of a view's settled records, as SQL: a key's state at a time, and what comes after it.

Every query gives the columns k0, k1, ... (keys), f0, f1, ... (features), e (event time), n (known time),
d (tombstone) and v (first read time that may use the row).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.engine.settle import AS_KNOWN, VISIBLE, facts, records
from lifecycle.lake.feed import changes
from lifecycle.names import quote, quote_all, relation
from lifecycle.online.codec import Columns

if TYPE_CHECKING:
    import pyarrow as pa

    from lifecycle.definitions import View

# In memory, for each cursor has temporary tables of its own.
_TOUCHED = "memory.main.touched_keys"


@dataclass(frozen=True)
class Needed:
    """
    SQL over one view of one release.

    source: SQL of its running records under the columns' names above. at: the release's time, microseconds.
    """

    view: View
    source: str
    at: int

    @property
    def keys(self) -> str:
        """SQL list of the keys, each followed by a comma."""
        return "".join(f"k{i}, " for i in range(len(self.view.join_keys)))

    def rows(self) -> str:
        """Return SQL of each key's winner at the release's time, and of all that becomes visible later."""
        at = f"make_timestamptz({int(self.at)})"
        by = f"GROUP BY {self.keys.rstrip(', ')}" if self.keys else ""
        return f"""
            SELECT * FROM ({self.source}) WHERE v > {at} OR ({self.keys}v) IN (
                SELECT ({self.keys}max(v)) FROM ({self.source}) WHERE v <= {at} {by})"""

    def ordered(self) -> str:
        """Return SQL of the rows in the order of the store's keys, a key's rows in the order they become visible."""
        return f"{self.rows()} ORDER BY {self.keys}v"

    def changed(self, before: Needed) -> str:
        """Return SQL of the rows that the earlier release did not need."""
        return f"({self.rows()}) EXCEPT ({before.rows()}) ORDER BY {self.keys}v"

    def rewrites(self, before: Needed) -> str:
        """
        Return SQL of whether a row that the earlier release needed is no record any more, and none beats it.

        Then the store holds what the guard cannot take back: history was rewritten, not continued.
        """
        same = "".join(f"later.k{i} = gone.k{i} AND " for i in range(len(self.view.join_keys)))
        return f"""
            SELECT count(*) > 0 FROM (({before.rows()}) EXCEPT ({self.source})) AS gone WHERE NOT EXISTS (
                SELECT 1 FROM ({self.source}) AS later
                WHERE {same}later.v <= greatest(gone.v, make_timestamptz({int(before.at)}))
                    AND (later.e > gone.e OR (later.e = gone.e AND later.n >= gone.n)))"""


def touched(connection: Any, view: View, since: int, until: int) -> str | None:
    """
    Make a table of the keys whose settled records came or went between two snapshots, and return its name.

    It lies in the connection's own database, `memory`, until the next view's takes its place. No other key needs rows
    that it did not need before. None where the lake cannot tell which they are.
    """
    keys = [column for _, column in view.join_keys]
    changed = changes(connection, view.settled, since, until) if keys and view.settled else None
    if changed is None:
        return None
    connection.execute(f"CREATE OR REPLACE TABLE {_TOUCHED} AS {changed.of(keys)}")
    return _TOUCHED


def needed(connection: Any, view: View, at: int, snapshot: int | None = None, only: str | None = None) -> Needed:
    """
    Return the SQL of `view` at the connection's snapshot, or at an earlier one.

    only: a table of the keys, under the relation's own names, that are looked at; None means all.
    Raises UsageError where the view's relation or columns are missing.
    """
    of = facts(connection, view)
    if view.settled is None:
        source = f"({records(of)})"
    else:
        pinned = f" AT (VERSION => {int(snapshot)})" if snapshot is not None else ""
        source = f"{relation(view.settled)}{pinned} WHERE {AS_KNOWN}"
    if only is not None:
        source += f" AND ({quote_all(of.keys)}) IN (SELECT ({quote_all(of.keys)}) FROM {only})"
    types = {field.name: field.dtype for field in view.keys}
    listed = [
        # An ENUM sorts by its declaration, the store by its text.
        f"CAST({quote(key)} AS VARCHAR) AS k{i}" if types.get(key, "").startswith("ENUM") else f"{quote(key)} AS k{i}"
        for i, key in enumerate(of.keys)
    ]
    listed += [f"{quote(view.column_of(one.name))} AS f{i}" for i, one in enumerate(view.features)]
    event = quote(view.event_timestamp)
    known = quote(view.known_at) if view.known_at else event
    deleted = f"{quote(view.deleted)} IS TRUE" if view.deleted else "false"
    listed += [f"{event} AS e", f"{known} AS n", f"{deleted} AS d", f"{quote(VISIBLE)} AS v"]
    return Needed(view, f"SELECT {', '.join(listed)} FROM {source}", at)


def columns_of(batch: pa.RecordBatch, view: View) -> Columns:
    """Return an Arrow batch of these columns as rows to pack."""
    return Columns(
        keys=[batch.column(f"k{i}") for i in range(len(view.join_keys))],
        features=[batch.column(f"f{i}") for i in range(len(view.features))],
        event=batch.column("e"),
        known=batch.column("n") if view.known_at else None,
        deleted=batch.column("d") if view.deleted else None,
    )
