"""Generated views and spines for the as-of tests, as plain rows and as a lake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lifecycle.definitions import Definitions, Field, View
from lifecycle.engine import settle, training_frame
from tests.oracle import as_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIDNIGHT = 1_711_843_200_000_000  # 2024-03-31 00:00 UTC, the day on which London's clocks go forward
TYPES = {"text": ("VARCHAR", pa.string()), "number": ("BIGINT", pa.int64())}
KEY_VALUES = {"text": ["", "a", "b"], "number": [-(2**63), 0, 2**63 - 1]}
quick = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck), database=None)
VALUES = [None, 0, -(2**63), 2**63 - 1, 7]

# A handful of close moments makes ties, exact ttl edges and a microsecond either side of t likely.
moments = st.builds(
    lambda base, step: MIDNIGHT + base + step,
    st.sampled_from([0, 1_000_000, 2_000_000, 3_600_000_000, -(10**15)]),
    st.integers(-1, 1),
)


@dataclass(frozen=True)
class Case:
    """One view's rows, its declaration, and the spine's (key, t) in any order, with duplicates."""

    kinds: tuple[str, ...]
    rows: list[dict]
    spine: list[tuple[tuple, int]]
    ttl: int | None
    exclude: bool
    deleted: bool


@st.composite
def cases(draw, spine_rows=(1, 12)):
    """Draw a case with up to 24 rows and `spine_rows` (least, most) spine rows over few keys."""
    kinds = tuple(draw(st.lists(st.sampled_from(["text", "number"]), min_size=1, max_size=2)))
    key = st.tuples(*(st.sampled_from([*KEY_VALUES[kind], None]) for kind in kinds))
    deleted = draw(st.booleans())
    ties = st.tuples(st.none() | st.integers(0, 1), st.sampled_from(["", "x", "y"]))
    values = st.tuples(st.sampled_from(VALUES), st.sampled_from([None, "", "z"]))
    row = st.fixed_dictionaries(
        {
            "key": key,
            "event": moments,
            "known": st.none() | moments,
            "tie": ties,
            "deleted": st.booleans() if deleted else st.just(value=False),
            "values": values,
        }
    )
    rows = draw(st.lists(row, max_size=12))
    # Twins agree in all but the tie-break and the values, so the tie-break is what decides.
    rows += [one | {"tie": draw(ties), "values": draw(values)} for one in rows if draw(st.booleans())]
    seen = {(one["key"], one["event"], _known(one), one["tie"]): one for one in rows}
    spine = draw(st.lists(st.tuples(key, moments), min_size=spine_rows[0], max_size=spine_rows[1]))
    ttl = draw(st.sampled_from([None, 0, 1, 1_000_000, 3_600_000_000]))
    return Case(kinds, list(seen.values()), spine, ttl, draw(st.booleans()), deleted)


def _known(row):
    return row["event"] if row["known"] is None else row["known"]


def view_of(case: Case, name: str = "view", at: str = "features.rows") -> View:
    """Declare the case's view."""
    keys = tuple((f"key{i}", f"column{i}") for i in range(len(case.kinds)))
    return View(
        name=name,
        relation=at,
        join_keys=keys,
        event_timestamp="event_timestamp",
        known_at="known_at",
        features=(Field("amount", "BIGINT"), Field("word", "VARCHAR")),
        ttl_us=case.ttl,
        at_t="exclude" if case.exclude else "include",
        tie_break=("sequence", "event_id"),
        deleted="deleted" if case.deleted else None,
        columns=(("word", "word_column"),),
    )


def connect(**config) -> duckdb.DuckDBPyConnection:
    """Open an empty lake in memory."""
    connection = duckdb.connect(config=config)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("ATTACH ':memory:' AS lake")
    connection.execute("CREATE SCHEMA lake.features")
    return connection


def at(microseconds: int | None) -> datetime | None:
    """Return microseconds since 1970 as a UTC time."""
    return None if microseconds is None else EPOCH + timedelta(microseconds=microseconds)


def write_rows(connection: duckdb.DuckDBPyConnection, case: Case, name: str = "features.rows") -> None:
    """Write the case's rows as a relation, in the order given."""
    columns = {f"column{i}": TYPES[kind][1] for i, kind in enumerate(case.kinds)}
    columns |= {"event_timestamp": pa.timestamp("us", "UTC"), "known_at": pa.timestamp("us", "UTC")}
    columns |= {"sequence": pa.int64(), "event_id": pa.string(), "deleted": pa.bool_()}
    columns |= {"amount": pa.int64(), "word_column": pa.string()}
    made = [
        [*row["key"], at(row["event"]), at(row["known"]), *row["tie"], row["deleted"], *row["values"]]
        for row in case.rows
    ]
    by_column = zip(*made, strict=True) if made else ([] for _ in columns)
    arrays = [pa.array(list(values), dtype) for values, dtype in zip(by_column, columns.values(), strict=True)]
    connection.register("given", pa.table(arrays, names=list(columns)))
    connection.execute(f"CREATE OR REPLACE TABLE lake.{name} AS SELECT * FROM given")
    connection.unregister("given")


def spine_of(case: Case) -> pa.Table:
    """Return the case's spine as Arrow, with a column that the engine does not know."""
    columns = {
        f"key{i}": pa.array([key[i] for key, _ in case.spine], TYPES[kind][1]) for i, kind in enumerate(case.kinds)
    }
    times = pa.array([at(t) for _, t in case.spine], pa.timestamp("us", "UTC"))
    return pa.table(columns | {"event_timestamp": times, "note": pa.array(range(len(case.spine)), pa.int16())})


def answers(frame) -> list[tuple | None]:
    """Return a frame's features row by row; None where all are NULL."""
    rows = [tuple(row.values()) for row in frame.table.select(["amount", "word"]).to_pylist()]
    return [None if row == (None, None) else row for row in rows]


def expected(case: Case, *, as_known: bool, rows=None) -> list[tuple | None]:
    """Return what the oracle answers to the case's spine, from other rows where given; None where all are NULL."""
    found = [
        as_of(case.rows if rows is None else rows, key, t, ttl=case.ttl, exclude=case.exclude, as_known=as_known)
        for key, t in case.spine
    ]
    return [None if values == (None, None) else values for values in found]


def ask(connection, view, spine, known_time, **options):
    """Compute the frame of one view."""
    return training_frame(connection, Definitions((view,)), spine, features=["view"], known_time=known_time, **options)


def variants(connection, case: Case):
    """Yield (as_known, frame) from every way to compute the case."""
    view, spine = view_of(case), spine_of(case)
    yield False, ask(connection, view, spine, "feast")
    yield True, ask(connection, view, spine, "as_known")
    settled = settle(connection, view)
    yield True, ask(connection, settled, spine, "as_known")
    yield False, ask(connection, settled, spine, "feast")


def without_known_time(view: View) -> View:
    """Return the view of a source that states no known time."""
    return replace(view, known_at=None)
