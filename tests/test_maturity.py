"""Labels over releases: what is mature stays, what is not is never answered, and how soon answers were known."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow.compute as pc
import pytest

from lifecycle import config
from lifecycle.cli.pictures import maturity as draw
from lifecycle.definitions import Definitions
from lifecycle.engine import backfills, label_table, maturity_curve, training_frame
from lifecycle.lake import Lake, Ledger
from lifecycle.pipeline.build import run_dbt
from lifecycle.project import Project
from lifecycle.times import iso
from tests import build_rows, oracle
from tests.asof_cases import MIDNIGHT, at, connect
from tests.conftest import ROOT
from tests.lake_content import release
from tests.test_labels import declared, spine_of, write
from transformations.labels import LABELS

DAY = 86_400_000_000
HOUR = DAY // 24
# The random lake spans 90 days, so horizons and delays are a twelfth of their length.
SHORT = tuple(replace(one, horizon_us=one.horizon_us // 12, maturity_us=one.maturity_us // 12) for one in LABELS)
RELATIONS = sorted({one.relation.removeprefix("features.") for one in LABELS})


def version(kind, identity, day, known, **described):
    """Return a raw version of an event that happened on a day of 2025 and became known on another."""
    happened, learnt = (build_rows.START + timedelta(days=one) for one in (day, known))
    payload = json.dumps({"account": "acct_1", "object": {"id": identity, **described}, "previous": {}})
    return {
        "source": "stripe", "event_id": f"evt_{kind}_{identity}", "revision": None, "content_hash": f"h{identity}",
        "retracted": False, "type": kind, "event_timestamp": happened, "known_at": learnt, "batch_id": 1,
        "sequence": None, "payload": payload,
    }  # fmt: skip


def lives():
    """Return what random events hardly ever make: accounts taken over, and accounts that fall behind."""
    made = []
    for number in range(8):
        who, day = {"customer": f"cus_{number}"}, 20 + 7 * number
        own, new = ({"status": "authenticated", "device": {"id": f"{one}_{number}"}} for one in ("own", "new"))
        charge = {"amount": 900, "currency": "gbp", "status": "succeeded", "device": f"new_{number}"}
        login, again = f"ls_new_{number}", f"ls_late_{number}"
        made += [
            version("link.session.authenticated", f"ls_own_{number}", 2, 2, **who, **own),
            version("link.session.authenticated", login, day, day, **who, **new),
            version("charge.succeeded", f"ch_x{number}", day + 0.1, day + 0.1, **who, **charge),
            version("radar.early_fraud_warning.created", f"w{number}", day + 6, day + 6 + number,
                    charge=f"ch_x{number}"),
            version("charge.dispute.created", f"dp_x{number}", day + 5, day + 5 + number / 9, charge=f"ch_x{number}",
                    reason="fraudulent", amount=900, currency="gbp", status="needs_response"),
            version("credit.account.updated", f"acc_x{number}", day, day + number, **who, application=f"app_{number}",
                    status="past_due", days_past_due=60 + 10 * number),
        ]  # fmt: skip
        if number % 3 == 0:
            # The device had been there before all along, as turns out much later.
            made.append(version("link.session.authenticated", again, 1, day + 9, **who, **new))
    return made


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Return a project with a release after each third of what became known, and a spine of every label's keys."""
    settings = config.load(ROOT, home=tmp_path_factory.mktemp("released"))
    lake = Lake(settings.lake)
    versions = [
        one | {"retracted": one["retracted"] or number % 9 == 0}
        for batch in build_rows.random_batches(seed=7, batches=3, size=250)
        for number, one in enumerate(batch)
        # An invoice that gains lines later changes the past, as a backfill does; that is a label's only way to change.
        if one["type"] != "retail.line"
    ] + lives()
    versions.sort(key=lambda one: one["known_at"])
    settled = []
    for number in range(1, 4):
        third = versions[len(versions) * (number - 1) // 3 : len(versions) * number // 3]
        settled = build_rows.settle(settled + [one | {"batch_id": number} for one in third], number)
        build_rows.write(lake, settled)
        run_dbt(settings, lake, "run", "--select", *(f"+{name}" for name in RELATIONS))
        connection = lake.connect()
        made = release(lake, number, lake.snapshot(connection))
        connection.close()
        watermark = third[-1]["known_at"]
        Ledger(lake).append(
            replace(made, number=10 + number, watermarks={"stripe": watermark}, definitions=Definitions(labels=SHORT))
        )
    return Project(settings), watermark


def spine(project, label):
    """Return keys that the label's relation ever names, at many times."""
    keys = [column for _, column in label.join_keys]
    listed = ", ".join(f"k.{column} AS {entity}" for entity, column in label.join_keys)
    return project.sql(f"""
        SELECT {listed}, moment AS event_timestamp
        FROM (SELECT DISTINCT {", ".join(keys)} FROM {label.relation} WHERE {keys[0]} IS NOT NULL) AS k,
            range(TIMESTAMPTZ '2024-12-20', TIMESTAMPTZ '2025-05-20', INTERVAL 17 HOUR) AS times(moment)
        ORDER BY ALL""")


@pytest.mark.parametrize("label", SHORT, ids=lambda label: label.name)
def test_a_mature_label_is_the_same_under_every_later_release(released, label):
    project, _ = released
    rows = spine(project, label)
    assert rows.num_rows > 1000
    name, seen, statuses = label.name, {}, Counter()
    for number in range(11, 14):
        frame = project.training_frame(rows, [], name, release=number, keep_immature=True)
        answers = zip(frame.table[name].to_pylist(), frame.table[f"{name}_status"].to_pylist(), strict=True)
        for row, (answer, status) in enumerate(answers):
            assert (answer is None) == (status != "mature")
            if row in seen:
                assert answer == seen[row], (name, number, rows.slice(row, 1).to_pylist())
            if status == "mature":
                seen[row] = answer
            statuses[status] += 1
        counts = frame.receipt["label"]
        kept = frame.table.filter(pc.equal(frame.table[f"{name}_status"], "mature"))["event_timestamp"].to_pylist()
        assert counts["earliest"] == (iso(min(kept)) if kept else None)
        assert counts["latest"] == (iso(max(kept)) if kept else None)
        assert not kept or counts["latest"] <= counts["trainable_until"]
    assert statuses["mature"] > 500
    assert statuses["immature"] > 100


def test_the_answers_are_of_both_kinds(released):
    project, _ = released
    for label in SHORT:
        frame = project.training_frame(spine(project, label), [], label.name)
        answers = Counter(frame.table[label.name].to_pylist())
        assert set(answers) == {True, False}, label.name


def test_labels_are_listed_with_their_latest_trainable_time(released):
    project, watermark = released
    rows = {one["label"]: one for one in project.labels().to_pylist()}
    assert set(rows) == {one.name for one in LABELS}
    for one in SHORT:
        wait = timedelta(microseconds=one.horizon_us + one.maturity_us)
        assert rows[one.name]["trainable_until"] == watermark - wait
    elsewhere = label_table(Definitions(labels=LABELS), {"online-retail": datetime(2025, 1, 1, tzinfo=UTC)})
    by_name = dict(zip(elsewhere["label"].to_pylist(), elsewhere["trainable_until"].to_pylist(), strict=True))
    assert by_name["fraud_dispute_120d"] is None
    assert by_name["churn_90d"] == datetime(2025, 1, 1, tzinfo=UTC) - timedelta(days=90)


@pytest.mark.parametrize("kind", ["exists", "absent", "state_at"])
def test_the_curve_equals_the_oracle_day_by_day(kind):
    chance = random.Random(11)
    connection = connect(threads=1)
    rows = []
    for number in range(120):
        event = MIDNIGHT + chance.randrange(20 * 24) * HOUR
        known = event + chance.choice((0, 1, 30, 100)) * HOUR
        until = chance.choice((None, None, known + 40 * HOUR))
        rows.append(
            {"key": (chance.choice("abc"),), "event": event, "known_from": known, "known_until": until}
            | {"holds": chance.random() < 0.3, "tie": (None, f"{number:03}")}
        )
    write(connection, rows)
    asked = [((chance.choice("abc"),), MIDNIGHT + chance.randrange(20 * 24) * HOUR) for _ in range(80)]
    label, watermark = declared(kind, 5 * DAY, 3 * DAY), MIDNIGHT + 24 * DAY
    curve = maturity_curve(
        connection, Definitions(labels=(label,)), spine_of(asked), "outcome", watermarks={"stripe": at(watermark)}
    )

    def answer(key, t, days):
        wait = min(days * DAY, 8 * DAY)
        lengths = {"horizon": min(wait, 5 * DAY), "maturity": wait - min(wait, 5 * DAY)}
        judged = "exists" if kind == "absent" else kind
        return oracle.label(rows, key, t, kind=judged, watermark=10**18, **lengths)[0]

    mature = [(key, t) for key, t in asked if t + 8 * DAY <= watermark]
    decided = [(key, t) for key, t in mature if answer(key, t, 8)]
    assert curve["days"].to_pylist() == list(range(9))
    assert set(curve["decided"].to_pylist()) == {len(decided)}
    assert curve["known"].to_pylist() == [sum(answer(key, t, day) for key, t in decided) for day in range(9)]
    assert 10 < len(decided) < len(mature) < len(asked)
    assert curve["share"][-1].as_py() == 1.0
    assert len(set(curve["share"].to_pylist())) >= 3


def test_a_curve_of_nothing_has_no_share_and_the_picture_is_drawn(tmp_path):
    connection = connect(threads=1)
    write(connection, [])
    label = declared("exists", 200 * DAY, 0)
    curve = maturity_curve(
        connection, Definitions(labels=(label,)), spine_of([(("a",), MIDNIGHT)]), "outcome",
        watermarks={"stripe": at(MIDNIGHT + 300 * DAY)},
    )  # fmt: skip
    assert curve.num_rows == 61
    assert curve["days"].to_pylist()[-1] == 200
    assert set(curve["share"].to_pylist()) == {None}
    frame = training_frame(
        connection, Definitions(labels=(label,)), spine_of([]), features=[], label="outcome",
        watermarks={"stripe": at(MIDNIGHT)},
    )  # fmt: skip
    assert (frame.receipt["label"]["earliest"], frame.receipt["label"]["latest"]) == (None, None)
    draw({"outcome": curve}, tmp_path / "pictures" / "curve.png")
    assert (tmp_path / "pictures" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_old_facts_that_came_late_are_listed_with_the_labels_they_can_change():
    connection = connect()
    connection.execute("CREATE SCHEMA lake.raw")
    connection.execute("""
        CREATE TABLE lake.raw.events AS SELECT * FROM (VALUES
            ('stripe', 'charge', TIMESTAMPTZ '2025-01-01', TIMESTAMPTZ '2025-01-02', 1),
            ('stripe', 'dispute', TIMESTAMPTZ '2025-01-03', TIMESTAMPTZ '2025-01-10', 2),
            ('stripe', 'dispute', TIMESTAMPTZ '2025-01-04', TIMESTAMPTZ '2025-01-10 00:00:00.000001', 2),
            ('shop', 'order', TIMESTAMPTZ '2025-01-01', TIMESTAMPTZ '2025-01-02', 2)
        ) AS t (source, type, event_timestamp, known_at, batch_id)""")
    label = replace(LABELS[0], sources=("stripe",))
    watermarks = {"stripe": datetime(2025, 1, 10, tzinfo=UTC)}
    found = backfills(connection, Definitions(labels=(label,)), after_batch=1, watermarks=watermarks).to_pylist()
    day = datetime(2025, 1, 3, tzinfo=UTC)
    assert found == [
        {"source": "stripe", "type": "dispute", "versions": 1, "earliest": day, "latest": day, "labels": [label.name]}
    ]
