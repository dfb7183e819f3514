"""Window features through a real lake: training frames equal the oracle, and what must not matter does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lifecycle import config
from lifecycle.definitions import Definitions, Field, View, Window
from lifecycle.engine import asof, training_frame
from lifecycle.lake import Lake
from lifecycle.names import relation
from tests.conftest import ROOT
from tests.test_windows_oracle import COLUMNS, WINDOWS, agree, close, expected, histories, spines

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

DAY_0 = datetime(2026, 3, 1, tzinfo=UTC)
# A lake's tables are not worth shrinking: the oracle's own test of the kernel finds small cases.
MANY = settings(
    phases=[Phase.generate], max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
SOME = settings(MANY, max_examples=5)
CHOSEN = WINDOWS[::3]
NUMBERS = count()
TIME = pa.timestamp("us", "UTC")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a connection that writes a real lake."""
    made = Lake(config.load(ROOT, home=tmp_path_factory.mktemp("windows")).lake)
    with made.lock():
        connection = made.connect(write=True)
        connection.execute("CREATE SCHEMA lake.features")
        yield connection
        connection.close()


def at(moment: int | None) -> datetime | None:
    return None if moment is None else DAY_0 + timedelta(microseconds=moment)


def stored(lake, events, cap=None):
    """Write events into a table of their own and return a window view over it."""
    name = f"features.events_{next(NUMBERS)}"
    ties = sorted(e["tie"] for e in events)  # generated ones do not fit 64 bits
    columns = {
        "customer": pa.array([e["key"][0] for e in events], pa.int64()),
        "event_timestamp": pa.array([at(e["event"]) for e in events], TIME),
        "known_from": pa.array([at(e["known_from"]) for e in events], TIME),
        "known_until": pa.array([at(e["known_until"]) for e in events], TIME),
        "sequence": pa.array([ties.index(e["tie"]) for e in events], pa.int64()),
    }
    columns |= {one: pa.array([e[one] for e in events], kind) for one, kind in COLUMNS.items()}
    lake.register("arriving", pa.table(columns))
    lake.execute(f"CREATE TABLE {relation(name)} AS FROM arriving")
    lake.unregister("arriving")
    return View(
        name="payments",
        relation=name,
        join_keys=(("customer", "customer"),),
        event_timestamp="event_timestamp",
        known_at="known_from",
        features=tuple(Field(window.name, "") for window in CHOSEN),
        at_t="exclude",
        tie_break=("sequence",),
        windows=tuple(CHOSEN),
        history_cap=cap,
    )


def frame(lake, view, spine, known_time="as_known"):
    table = pa.table(
        {
            "customer": pa.array([key[0] for key, _ in spine], pa.int64()),
            "event_timestamp": pa.array([at(t) for _, t in spine], TIME),
        }
    )
    asked = Definitions(views=(view,))
    return training_frame(lake, asked, table, features=["payments"], known_time=known_time).table


def values(lake, view, spine, known_time="as_known"):
    table = frame(lake, view, spine, known_time)
    return {window.name: table[window.name].to_pylist() for window in CHOSEN}


def same(one, other, spine=None):
    places = range(len(next(iter(one.values())))) if spine is None else spine
    return all(agree(one[name][mine], other[name][theirs]) for name in one for theirs, mine in enumerate(places))


@MANY
@given(histories, spines, st.sampled_from([None, None, 1, 3]), st.sampled_from(["as_known", "feast"]))
def test_frames_over_the_lake_equal_the_oracle(lake, events, spine, cap, known_time):
    spine = [*spine, ((None,), 5)]  # a NULL key matches nothing
    got = values(lake, stored(lake, events, cap), spine, known_time)
    for window in CHOSEN:
        for (key, t), found in zip(spine, got[window.name], strict=True):
            want = expected(events, key, t, window, as_known=known_time == "as_known", cap=cap)
            assert close(events, key, window, found, want), (window, key, t, found, want)


@SOME
@given(histories, spines, st.integers(0, 40))
def test_facts_known_later_change_no_row(lake, events, spine, now):
    past = [(key, min(t, now)) for key, t in spine]
    known = [e for e in events if e["event"] < now and (e["known_from"] is None or e["known_from"] <= now)]
    known = [
        e | {"known_until": None if e["known_until"] is None or e["known_until"] > now else e["known_until"]}
        for e in known
    ]
    assert same(values(lake, stored(lake, events), past), values(lake, stored(lake, known), past))


@SOME
@given(histories, spines, st.randoms(use_true_random=False))
def test_order_and_threads_change_no_row(lake, events, spine, chance):
    straight = values(lake, stored(lake, events), spine)
    shuffled = list(range(len(spine)))
    chance.shuffle(shuffled)
    events = chance.sample(events, len(events))
    lake.execute("SET threads = 1")
    try:
        other = values(lake, stored(lake, events), [spine[place] for place in shuffled])
    finally:
        lake.execute("RESET threads")
    assert same(straight, other, shuffled)


@SOME
@given(histories, spines)
def test_a_row_does_not_depend_on_the_others(lake, events, spine):
    view = stored(lake, events)
    together = values(lake, view, spine)
    for place in (0, len(spine) - 1):
        assert same(together, values(lake, view, [spine[place]]), [place])


@SOME
@given(histories, spines, st.sampled_from([5_000, 50_000]))
def test_working_through_the_keys_in_parts_changes_no_row(lake, events, spine, size):
    view = stored(lake, events)
    spine = [*spine, ((None,), 5)]
    whole = values(lake, view, spine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asof, "ANSWER_BYTES", size)
        assert same(whole, values(lake, view, spine))


@pytest.mark.parametrize(
    ("rows", "windows", "parts"),
    [
        (1_000_000, [Window("n", "count")], 1),
        (1_000_000, [Window("n", "count")] * 17, 2),
        (1_000_000, [Window("n", "approx_quantile", "x", parameter=0.5)] * 17, 2),
        # 200,000 lists of 100 values, three times: a gigabyte, if all were answered at once.
        (200_000, [Window("x", "last_k", "x", parameter=100)] * 3, 4),
        (10**9, [Window("x", "last_k", "x", parameter=100)], 256),
    ],
)
def test_what_is_answered_at_once_stays_small(rows, windows, parts):
    assert asof.parts_of(rows, windows) == parts
