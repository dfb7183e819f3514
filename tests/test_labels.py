"""Labels equal the oracle; what is not mature is never answered."""

from __future__ import annotations

import random
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from lifecycle.definitions import Definitions, Label
from lifecycle.engine import training_frame
from lifecycle.errors import UsageError
from tests.asof_cases import MIDNIGHT, at, connect
from tests.oracle import label as oracle_label

COMPARED = 20_000
SECOND = 1_000_000
quick = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck), database=None)
moments = st.builds(lambda whole, step: MIDNIGHT + whole * SECOND + step, st.integers(0, 6), st.integers(-1, 1))
keys = st.tuples(st.sampled_from(["", "a", None]))


@st.composite
def versions(draw):
    """Draw versions of events: in force from a moment on, until another, or never."""
    made = st.fixed_dictionaries(
        {
            "key": keys,
            "event": moments,
            "known_from": moments,
            "known_until": st.none() | moments,
            "holds": st.booleans(),
        }
    )
    drawn = draw(st.lists(made, max_size=10))
    # Twins happen and become known at the same moments, and are superseded at others.
    drawn += [one | {"known_until": draw(st.none() | moments)} for one in drawn if draw(st.booleans())]
    # The tie-break is a total order, as intake's is.
    return [one | {"tie": (position % 2 or None, f"{position:02}")} for position, one in enumerate(drawn)]


spines = st.lists(st.tuples(keys, moments), min_size=30, max_size=50)


def write(connection, rows):
    columns = {
        "consumer": pa.array([row["key"][0] for row in rows], pa.string()),
        "event_timestamp": pa.array([at(row["event"]) for row in rows], pa.timestamp("us", "UTC")),
        "known_from": pa.array([at(row["known_from"]) for row in rows], pa.timestamp("us", "UTC")),
        "known_until": pa.array([at(row["known_until"]) for row in rows], pa.timestamp("us", "UTC")),
        "sequence": pa.array([row["tie"][0] for row in rows], pa.int64()),
        "event_id": pa.array([row["tie"][1] for row in rows], pa.string()),
        "status": pa.array(
            ["yes" if row["holds"] else random.Random(row["event"]).choice(["no", None]) for row in rows]
        ),
    }
    columns["status"] = columns["status"].cast(pa.string())
    connection.register("given", pa.table(columns))
    connection.execute("CREATE OR REPLACE TABLE lake.features.happened AS SELECT * FROM given")
    connection.unregister("given")


def declared(kind, horizon, maturity):
    return Label(
        name="outcome",
        kind=kind,
        relation="features.happened",
        join_keys=(("consumer_id", "consumer"),),
        horizon_us=horizon,
        maturity_us=maturity,
        sources=("stripe", "another"),
        condition="status = 'yes'",
    )


def spine_of(rows):
    return pa.table(
        {
            "consumer_id": pa.array([key[0] for key, _ in rows], pa.string()),
            "event_timestamp": pa.array([at(t) for _, t in rows], pa.timestamp("us", "UTC")),
        }
    )


def ask(connection, label, spine, watermark, **options):
    return training_frame(
        connection,
        Definitions(labels=(label,)),
        spine_of(spine),
        features=[],
        label="outcome",
        watermarks={"stripe": at(watermark), "unrelated": at(0)},
        **options,
    )


kinds = st.sampled_from(["exists", "absent", "state_at"])
lengths = st.sampled_from([0, 1, SECOND, 2 * SECOND, 3 * SECOND + 1])


def test_oracle_and_engine_agree_on_20000_rows():
    connection = connect(threads=1)
    compared = 0

    @seed(20261124)
    @settings(quick, max_examples=520)
    @given(versions(), spines, kinds, lengths, lengths, moments)
    def compare(rows, spine, kind, horizon, maturity, watermark):
        nonlocal compared
        write(connection, rows)
        label = declared(kind, horizon, maturity)
        expected = [
            oracle_label(rows, key, t, kind=kind, horizon=horizon, maturity=maturity, watermark=watermark)
            for key, t in spine
        ]
        table = ask(connection, label, spine, watermark, keep_immature=True).table
        assert list(zip(*(table[name].to_pylist() for name in ("outcome", "outcome_status")), strict=True)) == expected
        compared += len(spine)

    compare()
    while compared < COMPARED:  # another seed's worth of cases
        assert compared > 0
        seed(compared)(compare)()


@seed(5)
@quick
@given(versions(), spines, kinds, lengths, lengths, moments)
def test_immature_rows_are_left_out_and_counted(rows, spine, kind, horizon, maturity, watermark):
    connection = connect(threads=1)
    write(connection, rows)
    label = declared(kind, horizon, maturity)
    kept = ask(connection, label, spine, watermark, keep_immature=True).table.to_pylist()
    frame = ask(connection, label, spine, watermark)
    mature = [row for row in kept if row.pop("outcome_status") == "mature"]
    assert frame.table.to_pylist() == mature
    counts = frame.receipt["label"]
    assert counts["mature"] == len(mature) == frame.receipt["rows"]
    assert counts["mature"] + counts["immature"] + counts["no_key"] == len(spine)
    assert counts["positive"] == sum(row["outcome"] for row in mature)
    assert all(row["outcome"] is not None for row in mature)


@seed(6)
@quick
@given(versions(), spines, kinds, lengths, lengths, moments)
def test_a_mature_label_stays_the_same_when_later_facts_arrive(rows, spine, kind, horizon, maturity, watermark):
    connection = connect(threads=1)
    # All facts known up to the watermark are in; what a later release brings is known after it.
    now = [row for row in rows if row["known_from"] <= watermark]
    later = [row for row in rows if row["known_from"] > watermark]
    label = declared(kind, horizon, maturity)
    write(connection, now)
    before = ask(connection, label, spine, watermark).table
    write(connection, later + now)
    assert ask(connection, label, spine, watermark).table.equals(before)


def test_the_edges_of_the_horizon():
    connection = connect()
    t = MIDNIGHT
    happened = {"key": ("a",), "known_from": t, "known_until": None, "holds": True, "tie": (None, "0")}
    label = declared("exists", SECOND, SECOND)
    for event, expected in ((t, False), (t + 1, True), (t + SECOND, True), (t + SECOND + 1, False)):
        write(connection, [happened | {"event": event}])
        frame = ask(connection, label, [(("a",), t)], t + 2 * SECOND)
        assert frame.table["outcome"].to_pylist() == [expected]
    # The row is immature one microsecond before all facts that it needs are in.
    assert ask(connection, label, [(("a",), t)], t + 2 * SECOND - 1).table.num_rows == 0


def test_a_version_without_known_time_has_been_known_since_ever():
    connection = connect()
    write(connection, [])
    connection.execute(
        "INSERT INTO lake.features.happened (consumer, event_timestamp, status) SELECT 'a', make_timestamptz(?), 'yes'",
        [MIDNIGHT],
    )
    for kind in ("exists", "state_at"):
        frame = ask(connection, declared(kind, SECOND, 0), [(("a",), MIDNIGHT - 1)], MIDNIGHT + 2 * SECOND)
        assert frame.table["outcome"].to_pylist() == [True], kind


@pytest.mark.parametrize("event", ["infinity", "-infinity"])
def test_what_happens_at_no_moment_happens_in_no_horizon(event):
    connection = connect()
    write(connection, [])
    connection.execute(
        "INSERT INTO lake.features.happened (consumer, event_timestamp, known_from, known_until, status) "
        f"SELECT 'a', '{event}', make_timestamptz(?), make_timestamptz(?), 'yes'",
        [MIDNIGHT, MIDNIGHT + 10 * SECOND],
    )
    for kind in ("exists", "state_at"):
        frame = ask(connection, declared(kind, SECOND, 0), [(("a",), MIDNIGHT)], MIDNIGHT + 2 * SECOND)
        assert frame.table["outcome"].to_pylist() == [False], kind


def test_a_label_needs_a_watermark_of_one_of_its_sources():
    connection = connect()
    write(connection, [])
    label = replace(declared("exists", 1, 0), sources=("nowhere",))
    with pytest.raises(UsageError, match=r"nowhere.*stripe, unrelated"):
        ask(connection, label, [(("a",), MIDNIGHT)], MIDNIGHT)
