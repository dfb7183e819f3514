"""
As-of joins: for each spine row the state of its key, as it was known at the row's time.

Settled views need one ASOF join on `visible_at`. Others are asked by event time first; of the rows so found,
those known by *t* are exact already (ties included), and only the rest is asked again, over the running
records of its keys. Every view's answer is a table of (row, f0, f1, ...), laid side by side at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.engine.keys import matched, same_keys
from lifecycle.engine.session import col
from lifecycle.engine.settle import VISIBLE, facts, records
from lifecycle.names import quote, quote_all, relation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.definitions import KnownTime
    from lifecycle.engine.selection import Selection
    from lifecycle.engine.session import Session
    from lifecycle.engine.settle import Facts


@dataclass(frozen=True)
class Join:
    """One view's join. `keys`: SQL of the spine's keys, cast to the relation's types, named k0, k1, ..."""

    session: Session
    table: str
    selection: Selection
    of: Facts
    keys: str

    @property
    def spine(self) -> str:
        """SQL of the spine as this view sees it: row, t, keys."""
        return f"SELECT row, t{self.keys} FROM spine"

    @property
    def on(self) -> str:
        """SQL: the spine's keys equal those of the other side, r."""
        return same_keys(len(self.of.keys), "s", "r")

    def values(self, event: str, deleted: str) -> str:
        """Return SQL of the features of r as f0, f1, ...; NULL beyond the ttl and for a tombstone."""
        live = []
        if self.of.view.ttl_us:
            live.append(f"epoch_us(s.t) - epoch_us({event}) <= {int(self.of.view.ttl_us)}")
        if self.of.view.deleted is not None:
            live.append(f"{deleted} IS NOT TRUE")
        condition = " AND ".join(live)
        listed = []
        for position in range(len(self.selection.features)):
            value = f"CASE WHEN {condition} THEN r.f{position} END" if live else f"r.f{position}"
            listed.append(f", {value} AS f{position}")
        return "".join(listed)

    def side(self, source: str, event: str, *, extra: str = "", where: str = "") -> str:
        """Return SQL of the relation's side: keys k0.., event time e, tombstone d, features f0.., and `extra`."""
        view = self.of.view
        keys = [f"{quote(key)} AS k{position}" for position, key in enumerate(self.of.keys)]
        features = [f"{quote(view.column_of(one))} AS f{i}" for i, one in enumerate(self.selection.features)]
        deleted = [f"{quote(view.deleted)} AS d"] if view.deleted is not None else []
        listed = ", ".join([*keys, f"{event} AS e", *deleted, *features])
        return f"SELECT {listed}{extra} FROM {source}{where}"


def join(
    session: Session, selections: Sequence[Selection], spine_keys: Sequence[str], known_time: KnownTime
) -> list[str]:
    """
    Make one table (row, f0, f1, ...) per selection from the session's table `spine`; return their names.

    spine_keys: the spine column behind k0, k1, ... of `spine`. Each table has one row per row of `spine`.
    """
    tables = []
    for number, selection in enumerate(selections):
        table = f"view_{number}"
        if selection.view.windows:
            _windows(session, selection, table, spine_keys, known_time)
            tables.append(table)
            continue
        of = facts(session.cursor, selection.view)
        pairs = list(zip(selection.spine_keys, of.keys, strict=True))
        keys = matched(session, f"view {selection.view.name!r}", pairs, of.types, spine_keys)
        one = Join(session, table, selection, of, keys)
        if known_time == "as_known" and selection.view.settled is not None:
            _settled(one, relation(selection.view.settled))
        else:
            _unprepared(one, as_known=known_time == "as_known" and selection.view.known_at is not None)
        tables.append(table)
    return tables


def _windows(
    session: Session, selection: Selection, table: str, spine_keys: Sequence[str], known_time: KnownTime
) -> None:
    """Let the window kernel answer a window view."""
    # Compiled kernels take a moment to load, and a frame without windows needs none.
    from lifecycle.engine.windows import window_features

    view = selection.view
    pairs = [(key, column) for key, (_, column) in zip(selection.spine_keys, view.join_keys, strict=True)]
    keys = matched(session, f"view {view.name!r}", pairs, session.columns(view.relation), spine_keys)
    by_name = {one.name: one for one in view.windows}
    wanted = [by_name[view.feature(name).name] for name in selection.features]
    spine = f"SELECT row, t{keys} FROM spine"
    found = window_features(session.cursor, view, spine, windows=wanted, known_time=known_time)
    session.append(table, found.rename_columns(["row", *(f"f{position}" for position in range(len(wanted)))]))


def _settled(one: Join, source: str) -> None:
    side = one.side(source, quote(one.of.view.event_timestamp), extra=f", {quote(VISIBLE)} AS v")
    one.session.run(f"""
        CREATE TEMP TABLE {one.table} AS
        SELECT s.row{one.values("r.e", "r.d")}
        FROM ({one.spine}) AS s ASOF LEFT JOIN ({side}) AS r ON {one.on}s.t >= r.v""")


def _unprepared(one: Join, *, as_known: bool) -> None:
    """Ask by event time; where the answer was not known yet, ask again over the running records."""
    session, of, table = one.session, one.of, one.table
    found = f"{table}_found"
    keys = quote_all(f"k{i}" for i in range(len(of.keys)))
    narrow = ", ".join([f"{quote(key)} AS k{i}" for i, key in enumerate(of.keys)] + [f"{of.event} AS e"])
    before = ">" if of.view.at_t == "exclude" else ">="
    session.run(f"""
        CREATE TEMP TABLE {found} AS
        SELECT s.row, s.t{", " + keys.replace('"k', 's."k') if keys else ""}, r.e
        FROM ({one.spine}) AS s
        ASOF LEFT JOIN (SELECT {narrow} FROM {of.relation} WHERE {of.usable}) AS r ON {one.on}s.t {before} r.e""")
    session.run(f"CREATE TEMP TABLE {table} AS {_winners(one, found, as_known=as_known, ties=False)}")
    if session.value(f"SELECT count(*) FROM {table}") != session.value(f"SELECT count(*) FROM {found}"):
        _break_ties(one, found, as_known=as_known)
    if as_known:
        _ask_again(one, found)
        session.run(f"ALTER TABLE {table} DROP COLUMN found")
    session.run(f"DROP TABLE {found}")


def _winners(one: Join, found: str, *, as_known: bool, ties: bool) -> str:
    """Return SQL of the values at the event times in `found`: of several rows there all, or the best when `ties`."""
    of = one.of
    deciding = [f"{of.known} AS g0", *(f"{quote(name)} AS g{i}" for i, name in enumerate(of.view.tie_break, 1))]
    order = ", ".join(f"r.g{position} DESC NULLS LAST" for position in range(len(deciding)))
    carried = deciding if ties else deciding[:1] if as_known else []
    side = one.side(of.relation, of.event, extra="".join(f", {part}" for part in carried), where=f" WHERE {of.usable}")
    known = " AND r.g0 <= s.t" if as_known else ""
    marked = ", r.e IS NOT NULL OR s.e IS NULL AS found" if as_known else ""
    best = f"QUALIFY row_number() OVER (PARTITION BY s.row ORDER BY {order}) = 1" if ties else ""
    return f"""
        SELECT s.row{one.values("r.e", "r.d")}{marked}
        FROM {found} AS s LEFT JOIN ({side}) AS r ON {one.on}s.e = r.e{known} {best}"""


def _break_ties(one: Join, found: str, *, as_known: bool) -> None:
    """Where several rows share a key and an event time, choose by known time and tie-break."""
    session, table = one.session, one.table
    tied = f"{table}_tied"
    session.run(f"""
        CREATE TEMP TABLE {tied} AS
        SELECT * FROM {found} SEMI JOIN (SELECT row FROM {table} GROUP BY row HAVING count(*) > 1) USING (row)""")
    session.run(f"DELETE FROM {table} WHERE row IN (SELECT row FROM {tied})")
    session.run(f"INSERT INTO {table} {_winners(one, tied, as_known=as_known, ties=True)}")
    session.run(f"DROP TABLE {tied}")


def _ask_again(one: Join, found: str) -> None:
    session, of, table = one.session, one.of, one.table
    if session.value(f"SELECT bool_and(found) IS NOT FALSE FROM {table}"):
        return
    asked = f"SELECT f.* FROM {found} AS f SEMI JOIN (SELECT row FROM {table} WHERE NOT found) AS v USING (row)"
    only = ""
    if of.keys:
        listed = ", ".join(f"k{i}" for i in range(len(of.keys)))
        only = f"({quote_all(of.keys)}) IN (SELECT ({listed}) FROM ({asked}))"
    side = one.side(f"({records(of, only)})", quote(of.view.event_timestamp), extra=f", {quote(VISIBLE)} AS v")
    again = f"{table}_again"
    session.run(f"""
        CREATE TEMP TABLE {again} AS
        SELECT s.row{one.values("r.e", "r.d")}, true AS found
        FROM ({asked}) AS s ASOF LEFT JOIN ({side}) AS r ON {one.on}s.t >= r.v""")
    session.run(f"DELETE FROM {table} WHERE NOT found")
    session.run(f"INSERT INTO {table} SELECT * FROM {again}")
    session.run(f"DROP TABLE {again}")


def reference(table: str, position: int) -> str:
    """Return SQL of a view table's feature at `position`."""
    return col(table, f"f{position}")
