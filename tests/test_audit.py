"""Leakage audits: the naive frame is what naive retrieval gives, and its gain for the label is measured as defined."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from lifecycle import cli, config
from lifecycle.cli.pictures import leakage
from lifecycle.definitions import Definitions, Field, Projection, Service, View
from lifecycle.engine import audit
from lifecycle.engine.association import auc
from lifecycle.errors import UsageError
from lifecycle.lake import Lake, Ledger
from tests import oracle
from tests.asof_cases import MIDNIGHT, connect
from tests.conftest import ROOT
from tests.lake_content import release
from tests.lake_content import write as write_lake
from tests.test_explain import (
    CAPPED,
    EVENTS,
    FREE,
    LABELS,
    MINUTE,
    STATES,
    WINDOWS,
    fill,
    is_in_force,
    minute,
    versions,
)

PICKED = tuple(
    one for one in WINDOWS if one.function in {"count", "sum", "std", "last", "last_k", "seconds_since_last"}
)
NAMES = {one.name for one in PICKED}
SOME = replace(EVENTS, windows=PICKED, features=tuple(one for one in EVENTS.features if one.name in NAMES))
DEFINITIONS = Definitions(
    views=(SOME, STATES, FREE, CAPPED),
    services=(Service("both", (Projection("states", ("amount", "word")), Projection("free", ("amount",), "other"))),),
    labels=LABELS,
)  # fmt: skip
WATERMARKS = {"feed": minute(1000)}


@pytest.fixture(scope="module")
def lake():
    """Return a lake, its versions, and a spine of 150 rows."""
    chance = random.Random(3)
    connection = connect(threads=1)
    made = versions(chance)
    fill(connection, made)
    spine = [(chance.choice("abb"), chance.choice(made)["event"] + chance.choice((0, 1, 15))) for _ in range(150)]
    table = pa.table({
        "consumer_id": [key for key, _ in spine],
        "event_timestamp": pa.array([minute(t) for _, t in spine], pa.timestamp("us", "UTC")),
    })  # fmt: skip
    return connection, made, spine, table


def events_of(made):
    rows = []
    for one in made:
        if is_in_force(one):
            until = one["known_until"]
            rows.append({
                "key": (one["consumer"],), "event": one["event"] * MINUTE, "known_from": one["known_from"] * MINUTE,
                "known_until": until and until * MINUTE, "tie": (one["event_id"], f"h{one['revision']}"), **{
                    name: one[name] for name in ("amount", "word")},
                "good": one["good"], "amount > 3 OR amount IS NULL": one["amount"] is None or one["amount"] > 3,
            })  # fmt: skip
    return rows


def naive_window(rows, window, key, t, *, closed):
    """Aggregate the versions that stand now in [t - w, t], or in [t - w, t)."""
    if window.bucket:
        rows = [one for one in rows if one["word"] == "b"]
    later, wider = (1, 1) if closed else (0, 0)
    value = oracle.window(
        rows, (key,), t * MINUTE + later, window.function, window.column,
        window.window_us and window.window_us + wider, window.where, window.parameter, as_known=False,
    )  # fmt: skip
    return value - 1e-6 if closed and value is not None and window.function.startswith("seconds") else value


def same(one, other):
    if one is None or other is None or not isinstance(one, float):
        return one == other
    return math.isclose(one, float(other), rel_tol=1e-9, abs_tol=1e-9)


def plain_auc(scores, label):
    """Compare every positive with every negative."""
    pairs = [(x > y) + (x == y) / 2 for x, p in zip(scores, label, strict=True) if p
             for y, q in zip(scores, label, strict=True) if not q]  # fmt: skip
    area = sum(pairs) / len(pairs)
    return max(area, 1 - area)


@pytest.mark.parametrize("mistakes", [("event_time", "closed", "today"), ("event_time",)], ids=["all", "event_time"])
def test_windows_are_compared_with_what_stands_now(lake, mistakes):
    connection, made, spine, table = lake
    found = audit(
        connection, DEFINITIONS, table, features=["events"], label="exists", watermarks=WATERMARKS, mistakes=mistakes
    )
    assert found.rows == len(spine)
    rows, by_name = events_of(made), {one["feature"]: one for one in found.features.to_pylist()}
    judged = [oracle.label(label_rows(made), (key,), t * MINUTE, kind="exists", horizon=30 * MINUTE,
                           maturity=10 * MINUTE, watermark=10**18)[0] for key, t in spine]  # fmt: skip
    assert found.positive == sum(judged)
    changes = 0
    for window in PICKED:
        one = by_name[window.name]
        known = [oracle_window(rows, window, key, t) for key, t in spine]
        naive = [naive_window(rows, window, key, t, closed="closed" in mistakes) for key, t in spine]
        differs = [not same(a, b) for a, b in zip(known, naive, strict=True)]
        assert (one["changed"], one["rows"], one["kind"]) == (sum(differs), len(spine), "window"), window
        assert one["share"] == sum(differs) / len(spine)
        assert one["appeared"] == sum(a is None and b is not None for a, b in zip(known, naive, strict=True))
        assert one["vanished"] == sum(a is not None and b is None for a, b in zip(known, naive, strict=True))
        changes += sum(differs)
        if window.function in {"count", "sum"}:
            sizes = [abs(a - b) for a, b in zip(known, naive, strict=True) if None not in {a, b} and a != b]
            assert one["median_change"] == (np.median(sizes) if sizes else None)
            assert one["largest_change"] == (max(sizes) if sizes else None)
            low = [[-math.inf if x is None else float(x) for x in column] for column in (known, naive)]
            assert one["auc_known"] == pytest.approx(plain_auc(low[0], judged))
            assert one["auc_naive"] == pytest.approx(plain_auc(low[1], judged))
            assert one["auc_gain"] == pytest.approx(one["auc_naive"] - one["auc_known"])
        if window.function == "last_k":
            assert one["auc_gain"] is None
    assert changes > 100


def oracle_window(rows, window, key, t):
    rows = [one for one in rows if not window.bucket or one["word"] == "b"]
    return oracle.window(
        rows, (key,), t * MINUTE, window.function, window.column, window.window_us, window.where, window.parameter
    )


def label_rows(made):
    return [one | {"holds": one["word"] == "b"} for one in events_of(made)]


def test_states_are_compared_with_todays_objects(lake):
    connection, _, spine, table = lake
    columns = (
        "consumer",
        "event_timestamp",
        "known_at",
        "sequence",
        "event_id",
        "content_hash",
        "deleted",
        "amount",
        "word",
    )
    stored = connection.execute(f"SELECT {', '.join(columns)} FROM lake.features.states").fetchall()
    newest = {}
    for row in sorted(stored, key=lambda r: (r[1], r[2], r[3] is not None, r[4], r[5])):
        newest[row[0]] = (None, None) if row[6] else row[7:9]
    found = audit(connection, DEFINITIONS, table, features="both", full_feature_names=True, mistakes=["today"])
    assert found.label is found.positive is None
    frame = {one["feature"]: one for one in found.features.to_pylist()}
    assert set(frame) == {"states__amount", "states__word", "other__amount"}
    assert {one["auc_gain"] for one in frame.values()} == {None}
    for row in found.worst.to_pylist():
        key, _ = spine[row["row"]]
        today = newest[key][1 if row["feature"].endswith("word") else 0]
        assert row["naive"] == (None if today is None else str(today))
        assert row["known"] != row["naive"]
        assert row["consumer_id"] == key
    assert all(frame[name]["share"] > 0.3 for name in frame)


def test_a_mistake_alone_changes_only_what_it_can(lake):
    connection, _, _, table = lake
    ask = {"features": ["free", "states"], "full_feature_names": True}
    closed = audit(connection, DEFINITIONS, table, mistakes=["closed"], **ask)
    shares = dict(zip(closed.features["feature"].to_pylist(), closed.features["share"].to_pylist(), strict=True))
    # `free` includes the row at t already.
    assert shares["free__amount"] == shares["free__word"] == 0
    assert shares["states__amount"] > 0
    assert audit(connection, DEFINITIONS, table, mistakes=[], **ask).features["changed"].to_pylist() == [0] * 4
    with pytest.raises(UsageError, match="unknown mistake 'todays'"):
        audit(connection, DEFINITIONS, table, mistakes=["todays"], **ask)


@pytest.mark.parametrize(
    ("kind", "known", "naive", "changed", "size"),
    [
        ("BIGINT", "9007199254740992", "9007199254740993", True, 1.0),
        ("BIGINT", "-9223372036854775808", "9223372036854775807", True, 2.0**64),
        ("BIGINT", "9007199254740993", "9007199254740993", False, None),
        ("UBIGINT", "18446744073709551615", "18446744073709551614", True, 1.0),
        ("DECIMAL(30, 2)", "12345678901234567890.12", "12345678901234567890.13", True, 0.0),
        ("DOUBLE", "1.0", "1.0000000001", False, None),
        ("DOUBLE", "'inf'", "'inf'", False, None),
        ("DOUBLE", "'inf'", "1.0", True, math.inf),
        ("DOUBLE", "'nan'", "'nan'", False, None),
        ("DOUBLE", "1.0", "NULL", True, None),
        ("DOUBLE[]", "[1.0, 'nan'::DOUBLE]", "[1.0, 'nan'::DOUBLE]", False, None),
        ("DOUBLE[]", "[1.0, 'nan'::DOUBLE]", "[2.0, 'nan'::DOUBLE]", True, None),
        ("TIMESTAMP_NS", "'2024-01-01 00:00:00.000000001'", "'2024-01-01 00:00:00.000000002'", True, 0.0),
        ("TIMESTAMP", "'2024-01-01'", "'2024-01-02'", True, 86400.0),
        ("VARCHAR", "'a'", "'A'", True, None),
    ],
)
def test_two_values_are_one_or_differ_by_so_much(kind, known, naive, changed, size):
    connection = connect(threads=1)
    connection.execute(f"""
        CREATE TABLE lake.features.rows AS
        SELECT 'a' AS k, TIMESTAMPTZ '2024-05-01' AS event_timestamp, TIMESTAMPTZ '2024-05-01' AS known_at,
            CAST({known} AS {kind}) AS x
        UNION ALL SELECT 'a', '2024-05-02', '2024-05-09', CAST({naive} AS {kind})""")
    view = View("view", "features.rows", (("k", "k"),), "event_timestamp", "known_at", (Field("x", kind),))
    moment = pa.array([datetime(2024, 5, 3, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    spine = pa.table({"k": ["a"], "event_timestamp": moment})
    [found] = audit(connection, Definitions((view,)), spine, features=["view"]).features.to_pylist()
    assert (found["changed"], found["largest_change"]) == (int(changed), size)


def test_a_budget_names_the_features_over_it(lake):
    connection, _, _, table = lake
    found = audit(connection, DEFINITIONS, table, features=["states", "events"], label="exists", watermarks=WATERMARKS)
    rows = found.features.to_pylist()
    gains = [one["auc_gain"] for one in rows if one["auc_gain"] is not None]
    assert gains == sorted(gains, reverse=True)
    assert found.over() == []
    assert found.over(changed=0.2) == [one["feature"] for one in rows if one["share"] > 0.2] != []
    assert found.over(gain=0.01) == [one["feature"] for one in rows if (one["auc_gain"] or 0) > 0.01] != []
    assert found.over(changed=1.0, gain=1.0) == []


def test_the_area_of_text_is_judged_on_other_rows():
    label = np.array([True, False] * 20)
    told = pa.array(["yes", "no"] * 20)
    each = pa.array([f"row {number}" for number in range(40)])
    assert auc(told, label) == 1.0
    assert auc(each, label) == 0.5
    assert auc(pa.array([None, "no"] * 20), label) == 1.0
    assert auc(told, np.array([True] * 40)) is None
    assert auc(pa.array([[1], [2]] * 20), label) is None
    times = pa.array([MIDNIGHT, MIDNIGHT + 1] * 20, pa.timestamp("us", "UTC"))
    assert auc(times, label) == auc(pa.array([True, None] * 20), label) == 1.0


@pytest.fixture
def released(tmp_path, monkeypatch):
    """Serve a small release from a lake of its own, and let the command line find it."""
    settings = config.load(ROOT, home=tmp_path)
    here = Lake(settings.lake)
    statements = (
        "CREATE SCHEMA lake.features",
        """CREATE TABLE lake.features.states AS SELECT 'a' AS consumer, moment AS event_timestamp, moment AS known_at,
            NULL::BIGINT AS sequence, 'e' AS event_id, 'h' AS content_hash, false AS deleted,
            row_number() OVER () AS amount, 'x' AS word
            FROM range(TIMESTAMPTZ '2025-01-01', TIMESTAMPTZ '2025-01-20', INTERVAL 1 DAY) AS days(moment)""",
        """CREATE TABLE lake.features.happened AS
            SELECT 'a' AS consumer, moment AS event_timestamp, moment AS known_from,
            NULL::TIMESTAMPTZ AS known_until, 'b' AS word
            FROM range(TIMESTAMPTZ '2025-01-09', TIMESTAMPTZ '2025-01-20', INTERVAL 1 DAY) AS days(moment)""",
    )
    made = release(here, 1, write_lake(here, *statements))
    exists = replace(LABELS[0], horizon_us=86_400_000_000, sources=("stripe",))
    Ledger(here).append(replace(made, number=2, definitions=Definitions(views=(FREE,), labels=(exists,))))
    monkeypatch.setenv("LIFECYCLE_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return tmp_path


SPINE = """select 'a' as consumer_id, moment as event_timestamp
    from range(timestamptz '2025-01-02', timestamptz '2025-01-18', interval 12 hour) as days(moment)"""


def run(*arguments):
    return CliRunner().invoke(cli.app, [*arguments], env={"COLUMNS": "200"})


def test_the_command_line_audits_explains_and_counts(released):
    asked = ("frame", "audit", "--features", "free", "--label", "exists", "--spine", SPINE)
    shown = run(*asked, "--picture", str(released / "leak.png"))
    assert shown.exit_code == 0, shown.output
    assert "the most changed row of each" in shown.output
    assert (released / "leak.png").read_bytes().startswith(b"\x89PNG")
    failed = run(*asked, "--budget", "0.5", "--json")
    assert failed.exit_code == 3
    told = json.loads(failed.output)
    assert told["over_budget"] == ["amount"]
    assert {one["feature"]: one["share"] for one in told["features"]} == {"amount": 1.0, "word": 0.0}
    value = run("explain", "free:amount", "consumer_id=a", "--at", "2025-01-05T12:00:00", "--json")
    assert json.loads(value.output)["value"] == 5
    assert "a row that happened later counts instead" in run(
        "explain", "free:amount", "consumer_id=a", "--at", "2025-01-05").output  # fmt: skip
    counts = json.loads(run("label", "exists", "--spine", SPINE, "--json").output)
    assert counts["counts"]["mature"] == 32
    assert counts["curve"][-1]["share"] == 1.0
    assert "exists" in run("label").output
    assert isinstance(run("explain", "free:amount", "consumer_id=a", "--at", "noon").exception, UsageError)


def test_a_picture_of_nothing_is_drawn(lake, tmp_path):
    connection, _, _, table = lake
    leakage(audit(connection, DEFINITIONS, table, features=["free"]), tmp_path / "none.svg")
    assert "<svg" in (tmp_path / "none.svg").read_text(encoding="utf-8")
