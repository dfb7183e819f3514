"""
As-of joins: for each spine row the state of its key, as it was known at the row's time.

DuckDB gives observations sorted by key and time. What a release has settled lies sorted in the lake too, and one kernel
merges the two (`lifecycle.engine.merge`); anything else is read once, in any order (`lifecycle.engine.gather`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import chain
from threading import Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lifecycle.engine.keys import matched, same_keys
from lifecycle.engine.session import Session
from lifecycle.engine.settle import AS_KNOWN, BY_EVENT, FIRST_OF_KEY, KEY_CODE, VISIBLE, facts
from lifecycle.names import quote, relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lifecycle.definitions import KnownTime, View, Window
    from lifecycle.engine.merge import Observations
    from lifecycle.engine.selection import Selection
    from lifecycle.engine.settle import Facts

# Below this share of a settled relation's keys, theirs are looked up; above it, the relation is read through.
_FEW_KEYS = 0.1
# What views answer is held in memory up to so many bytes a frame. It is read in the spine's order, which jumps about:
# in huge pages, as NumPy asks for them, that takes a quarter of the time it takes in a mapped file's small ones.
HELD_BYTES = 1 << 29
# Windows answer so much at a time (bytes, at about CELL_BYTES a value), in at most so many parts of the keys.
ANSWER_BYTES, CELL_BYTES, MOST_PARTS = 1 << 28, 16, 256


@dataclass(frozen=True)
class Answers:
    """
    What one view answers.

    table: a column per feature, rows in any order. place: int64, per spine row its row of the table, or -1 where it
    has no state.
    """

    table: pa.Table
    place: np.ndarray[Any, Any]

    def held(self) -> Answers:
        """Return the same with the columns in memory, each in one piece."""
        return replace(self, table=pa.table([_held(one) for one in self.table.columns], self.table.schema))

    def take(self, rows: np.ndarray[Any, Any], position: int) -> pa.Array:
        """Return the feature at `position` for these spine rows."""
        places = self.place[rows]
        # Column by column: Arrow takes from a chunked column without joining its chunks, but not from a table.
        found = self.table.column(position).take(pa.array(places, mask=places < 0))
        return found.chunk(0) if found.num_chunks == 1 else pa.concat_arrays(found.chunks)


def _held(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if not (pa.types.is_primitive(column.type) or pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return column
    whole = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    buffers = [one and pa.py_buffer(np.frombuffer(one, np.uint8).copy()) for one in whole.buffers()]
    return pa.Array.from_buffers(whole.type, len(whole), buffers, whole.null_count, whole.offset)


def load_kernels(selections: Sequence[Selection]) -> None:
    """Begin to load what `join` will need: half a second, once, in which DuckDB can read the spine."""

    def kernels_of(view: View) -> str:
        if view.windows:
            return "windows"
        return "merge" if view.settled is not None else "gather"

    names = sorted({f"lifecycle.engine.{kernels_of(one.view)}" for one in selections})
    Thread(target=lambda: [import_module(name) for name in names], daemon=True).start()


def join(
    session: Session, selections: Sequence[Selection], spine_keys: Sequence[str], known_time: KnownTime, rows: int
) -> list[Answers]:
    """
    Answer each selection for the rows of the session's table `spine`.

    spine_keys: the spine column behind k0, k1, ... of `spine`. rows: one more than the greatest row number.
    """
    answered: list[Answers] = []
    orders: dict[str, _Order] = {}
    room = HELD_BYTES

    def keep(found: Answers) -> None:
        nonlocal room
        fits = found.table.nbytes <= room
        room -= found.table.nbytes if fits else 0
        answered.append(found.held() if fits else found)

    given = {column: dtype for column, dtype, *_ in session.rows("DESCRIBE spine")}
    for selection in selections:
        view = selection.view
        pairs = [(key, column) for key, (_, column) in zip(selection.spine_keys, view.join_keys, strict=True)]
        of = facts(session.cursor, view)
        keys = matched(session, f"view {view.name!r}", pairs, of.types, spine_keys, have=given)
        spine = f"SELECT row, t{keys} FROM spine"
        if view.windows:
            found = _windows(session, selection, of, spine, known_time)
            keep(_answers(rows, found))
            continue
        if spine not in orders:
            orders[spine] = _ordered(session, spine, len(of.keys), f"spine_keys_{len(orders)}")
        if view.settled is not None:
            found = _from_settled(session, selection, of, orders[spine], known_time)
            keep(_answers(rows, found))
        else:
            ask = _Unprepared(selection, of, orders[spine].keys, as_known=known_time == "as_known")
            keep(_from_unprepared(session, ask, orders[spine].observations, rows))
    return answered


def _answers(rows: int, found: pa.Table) -> Answers:
    """Return answers of (row, f0, f1, ...)."""
    place = np.full(rows, -1, np.int64)
    place[np.asarray(found.column("row"))] = np.arange(found.num_rows)
    return Answers(found.drop_columns("row"), place)


def _windows(session: Session, selection: Selection, of: Facts, spine: str, known_time: KnownTime) -> pa.Table:
    """
    Let the window kernel answer a window view, as many keys at a time as ANSWER_BYTES allow; return (row, f0, ...).

    What has been answered lies in a file, so memory does not grow with the spine or with the number of views.
    """
    # Compiled kernels take a moment to load, and a frame without windows needs none.
    from lifecycle.engine.windows import window_features

    view = selection.view
    by_name = {one.name: one for one in view.windows}
    wanted = [by_name[view.feature(name).name] for name in selection.features]
    rows = session.value(f"SELECT count(*) FROM ({spine})")
    parts = parts_of(rows, wanted) if of.keys else 1
    hashed = f"hash({', '.join(f'k{position}' for position in range(len(of.keys)))})"

    def answer(part: int) -> pa.Table:
        some = f"SELECT * FROM ({spine}) WHERE {hashed} % {parts} = {part}" if parts > 1 else spine
        return window_features(session.cursor, view, some, windows=wanted, known_time=known_time, types=of.types)

    first = answer(0)
    rest = (batch for part in range(1, parts) for batch in answer(part).to_batches())
    return session.spool(first.schema, chain(first.to_batches(), rest))


def parts_of(rows: int, windows: Sequence[Window]) -> int:
    """Return in how many parts of the keys to answer so many rows; a list counts for each value that it may hold."""
    values = sum(int(one.parameter or 1) if one.function == "last_k" else 1 for one in windows)
    return min(rows * values * CELL_BYTES // ANSWER_BYTES + 1, MOST_PARTS)


@dataclass(frozen=True)
class _Order:
    """
    The spine in order of its keys and times, for all views that are keyed by the same columns of it.

    keys: temporary table of the distinct keys: k0, k1, ... and code, BIGINT from 0 in the keys' order. observations:
    the rows without NULL in their keys, by these codes.
    """

    keys: str
    observations: Observations


def _ordered(session: Session, spine: str, count: int, keys: str) -> _Order:
    from lifecycle.engine.merge import Observations

    names = ", ".join(f"k{position}" for position in range(count))
    coded = "SELECT 0::BIGINT AS code"
    if names:
        distinct = f"SELECT DISTINCT {names} FROM ({spine})"
        coded = f"SELECT {names}, row_number() OVER (ORDER BY {names}) - 1 AS code FROM ({distinct})"
    session.run(f"CREATE TEMP TABLE {keys} AS {coded}")
    found = session.stream(f"""
        SELECT s.row, c.code, epoch_us(s.t) AS t
        FROM ({spine}) AS s JOIN {keys} AS c ON {_same(count, "s", "c")} ORDER BY c.code, t, s.row""").read_all()
    return _Order(keys, Observations(*(np.asarray(found.column(name)) for name in ("row", "code", "t"))))


def _same(count: int, left: str, right: str) -> str:
    return same_keys(count, left, right).removesuffix(" AND ") or "true"


def _from_unprepared(session: Session, ask: _Unprepared, observations: Observations, rows: int) -> Answers:
    """Answer from a row view that no release has settled: its facts are read once, in whatever order they lie."""
    from lifecycle.engine.gather import Gather

    selection = ask.selection
    gathered = Gather(observations, len(selection.features), ttl_us=selection.view.ttl_us)
    facts = session.stream(ask.facts())
    schema = pa.schema([facts.schema.field(f"f{i}") for i in range(len(selection.features))])
    table = session.spool(schema, gathered.kept(facts) if len(observations.row) else iter(()))
    place = np.full(rows, -1, np.int64)
    answered, places = gathered.places()
    place[answered] = places
    doubtful, groups = gathered.doubtful()
    if groups.num_rows:
        session.append("tied", groups)
        ranked = _merge(session, selection, doubtful, ask.ranked())
        session.run("DROP TABLE tied")
        place[np.asarray(ranked.column("row"))] = table.num_rows + np.arange(ranked.num_rows)
        table = pa.concat_tables([table, ranked.drop_columns("row")])
    return Answers(table, place)


def _from_settled(session: Session, selection: Selection, of: Facts, order: _Order, known_time: KnownTime) -> pa.Table:
    from lifecycle.engine.merge import Unsorted

    settled = relation(str(of.view.settled))
    counts = AS_KNOWN if known_time == "as_known" else BY_EVENT
    asked, observations, known_keys = _recoded(session, of, order, settled)
    few = len(asked) < _FEW_KEYS * known_keys
    if few:
        session.run("DROP TABLE IF EXISTS asked")
        session.append("asked", pa.table({"code": asked}))
    event = f"epoch_us({quote(of.view.event_timestamp)}) AS e"
    listed = ", ".join([f"{KEY_CODE} AS code", f"epoch_us({quote(VISIBLE)}) AS v", event, *_values(selection)])
    query = f"SELECT {listed} FROM {settled} WHERE {counts}"
    in_order = f" ORDER BY {KEY_CODE}, {quote(VISIBLE)}"
    if few:
        only = f" AND {KEY_CODE} IN (SELECT code FROM asked)"
        return _merge(session, selection, observations, query + only + in_order)

    def part(of: Observations, first: int, last: int) -> pa.Table:
        beside = Session(session.connection)
        some = f"{query} AND {KEY_CODE} BETWEEN {first} AND {last}"
        try:
            return _merge(beside, selection, of, some)
        except Unsorted:  # files that were laid out anew since may be read in another order
            return _merge(beside, selection, of, some + in_order)

    parts = observations.parts(session.value("SELECT current_setting('threads')"))
    with ThreadPoolExecutor(len(parts)) as pool:
        return pa.concat_tables(pool.map(part, *zip(*parts, strict=True)))


def _recoded(
    session: Session, of: Facts, order: _Order, settled: str
) -> tuple[np.ndarray[Any, Any], Observations, int]:
    """Return the settled relation's codes of the spine's keys, the observations by them, and how many keys it has."""
    listed = "".join(f"{quote(key)} AS k{position}, " for position, key in enumerate(of.keys))
    found = session.stream(f"""
        WITH known AS MATERIALIZED (SELECT {listed}{KEY_CODE} AS code FROM {settled} WHERE {FIRST_OF_KEY})
        SELECT c.code AS own, r.code, (SELECT count(*) FROM known) AS many
        FROM {order.keys} AS c JOIN known AS r ON {_same(len(of.keys), "c", "r")}
        ORDER BY own""").read_all()
    own, code, many = (np.asarray(found.column(name)) for name in ("own", "code", "many"))
    codes = np.full(int(own[-1]) + 1 if len(own) else 0, -1, np.int64)
    codes[own] = code
    known = order.observations[order.observations.code < len(codes)]
    if len(own) < len(codes):
        known = known[codes[known.code] >= 0]
    # Keys that were settled again have later codes; nor need this session sort keys as that of the release did.
    if np.any(np.diff(code) < 0):
        known = known[_regrouped(known.code, codes)]
    return code, replace(known, code=codes[known.code]), int(many[0]) if len(many) else 0


def _regrouped(own: np.ndarray[Any, Any], codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the places of `own`, which is sorted, in the order of the codes that `codes` gives its values."""
    first = np.flatnonzero(np.diff(own, prepend=-1))
    size = np.diff(first, append=len(own))
    order = np.argsort(codes[own[first]])
    first, size = first[order], size[order]
    places: np.ndarray[Any, Any] = np.arange(len(own)) + np.repeat(first - np.cumsum(size) + size, size)
    return places


def _merge(session: Session, selection: Selection, observations: Observations, query: str) -> pa.Table:
    """Merge sorted facts with observations; return (row, f0, f1, ...) of those that have a state."""
    from lifecycle.engine.merge import Merge

    count = len(selection.features)
    merged = Merge(observations, count, ttl_us=selection.view.ttl_us)
    facts = session.stream(query)
    features = [pa.field(f"f{i}", facts.schema.field(f"f{i}").type) for i in range(count)]
    answers = merged.answers(facts) if len(observations.row) else iter(())
    return session.spool(pa.schema([pa.field("row", pa.int64()), *features]), answers)


@dataclass(frozen=True)
class _Unprepared:
    """SQL of a relation that no release has settled."""

    selection: Selection
    of: Facts
    keys: str
    as_known: bool

    def ranked(self) -> str:
        """Sort the facts in table `tied` by all that ranks them: known time and tie-break."""
        ties = ", ".join(f"r.g{position} NULLS FIRST" for position in range(len(self.of.view.tie_break) + 1))
        same = "c.code = t.code AND r.v = t.v AND r.e = t.e"
        return f"{self.facts()} JOIN tied AS t ON {same} ORDER BY c.code, r.v, {ties}"

    def facts(self) -> str:
        """Return the facts of the spine's keys, in any order."""
        of, view = self.of, self.of.view
        visible = of.visible if self.as_known else of.first
        inner = [f"{quote(key)} AS k{position}" for position, key in enumerate(of.keys)]
        # A time taken as a feature is the one that settled records hold.
        times = {view.event_timestamp: of.event} | ({view.known_at: of.known} if view.known_at is not None else {})
        inner += [f"epoch_us({visible}) AS v", f"epoch_us({of.event}) AS e", *_values(self.selection, times)]
        inner += [f"{of.known} AS g0", *(f"{quote(name)} AS g{i}" for i, name in enumerate(view.tie_break, 1))]
        taken = ["c.code", "r.v", *(["r.e"] if visible != of.event else [])]
        taken += ["r.d"] if view.deleted is not None else []
        taken += [f"r.f{position}" for position in range(len(self.selection.features))]
        return f"""
            SELECT {", ".join(taken)}
            FROM (SELECT {", ".join(inner)} FROM {of.relation} WHERE {of.usable} AND isfinite({visible})) AS r
            JOIN {self.keys} AS c ON {_same(len(of.keys), "r", "c")}"""


def _values(selection: Selection, made: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """
    Return SQL of the tombstone mark as d, where there is one, and of the features as f0, f1, ...

    made: SQL by column, where the relation's own is not what is meant.
    """
    view = selection.view
    deleted = [f"{quote(view.deleted)} IS TRUE AS d"] if view.deleted is not None else []
    behind = [view.column_of(one) for one in selection.features]
    return [*deleted, *(f"{made.get(name, quote(name))} AS f{i}" for i, name in enumerate(behind))]
