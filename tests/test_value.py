"""Customers scored at a midnight: what was known then, and the scores as facts that come back in as features."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle import config
from lifecycle.analytics import score
from lifecycle.engine.purchases import purchases_known
from lifecycle.errors import UsageError
from lifecycle.pipeline.build import run_dbt
from lifecycle.pipeline.intake import ingest
from lifecycle.project import Project
from tests.lake_content import release, write

ROOT = Path(__file__).resolve().parents[1]
AT = date(2025, 6, 1)
PURCHASES = (
    "CREATE SCHEMA lake.shop",
    """CREATE TABLE lake.shop.orders AS SELECT * FROM (VALUES
        ('a', '2025-05-01 10:00:00+00'::TIMESTAMPTZ, '2025-05-01 10:00:00+00'::TIMESTAMPTZ, NULL::TIMESTAMPTZ,
            500, 'usd'),
        ('a', '2025-05-02 10:00:00+00', '2025-06-02 10:00:00+00', NULL, 600, 'usd'),  -- known too late
        ('b', '2025-05-03 10:00:00+00', '2025-05-03 10:00:00+00', '2025-05-20 00:00:00+00', 700, 'usd'),  -- amended
        ('b', '2025-05-03 10:00:00+00', '2025-05-20 00:00:00+00', '2025-06-03 00:00:00+00', 750, 'usd'),
        ('b', '2025-05-03 10:00:00+00', '2025-06-03 00:00:00+00', NULL, 1, 'usd'),
        ('c', '2025-05-31 23:59:59+00', '2025-06-01 00:00:00+00', NULL, 800, 'eur'),
        ('c', '2025-06-01 00:00:00+00', '2025-06-01 00:00:00+00', NULL, 900, 'eur'),  -- at midnight itself
        ('d', '2025-05-31 10:00:00+00', '2025-05-31 10:00:00+00', NULL, 0, 'eur'),
        (NULL, '2025-05-31 10:00:00+00', '2025-05-31 10:00:00+00', NULL, 5, 'eur')
    ) AS rows(buyer, event_timestamp, known_from, known_until, cents, money)""",
)
DECLARED = {"transactions": "shop.orders", "key": "buyer", "amount": "cents", "currency": "money"}


def transactions():
    """Purchases of 400 customers over 300 days: most in dollars, two of them once in francs."""
    draw = random.Random(5)
    rows = []
    for number in range(400):
        rate, begin = draw.gammavariate(1.2, 1 / 30), draw.uniform(0, 100)
        time, end, mean = begin, begin + draw.expovariate(1 / 120), draw.gammavariate(4, 900)
        while time < min(end, 300):
            rows.append((f"cus_{number:03}", time, max(1, round(draw.gammavariate(3, mean / 3))), "usd"))
            time += draw.expovariate(rate)
    rows += [("cus_398", 299.0, 100, "chf"), ("cus_399", 299.0, 100, "chf")]
    start = datetime(2025, 6, 1, tzinfo=UTC) - timedelta(days=300)
    return pa.table(
        {
            "consumer_id": [row[0] for row in rows],
            "event_timestamp": pa.array([start + timedelta(days=row[1]) for row in rows], pa.timestamp("us", "UTC")),
            "amount": [row[2] for row in rows],
            "currency": [row[3] for row in rows],
        }
    )


@pytest.fixture(scope="module")
def scores():
    return score(transactions(), at=AT, weeks=26)


def test_purchases_are_those_known_at_that_midnight(lake):
    write(lake, *PURCHASES)
    connection = lake.connect()
    found = purchases_known(connection, DECLARED, datetime(2025, 6, 1, tzinfo=UTC)).to_pylist()
    later = purchases_known(connection, DECLARED | {"where": "money = 'eur'"}, datetime(2025, 7, 1, tzinfo=UTC))
    connection.close()
    assert [(row["buyer"], row["amount"], row["currency"]) for row in found] == [
        ("a", 500, "usd"),
        ("b", 750, "usd"),
        ("c", 800, "eur"),
    ]
    assert later["amount"].to_pylist() == [800, 900]


def test_a_project_says_where_its_purchases_are(lake, settings):
    write(lake, *PURCHASES)
    release(lake, 1, 2)
    with pytest.raises(UsageError, match="does not say key, amount, currency"):
        Project(replace(settings, value={"transactions": "shop.orders"})).customer_value(AT)
    with pytest.raises(UsageError, match="facts are in up to 2026-01-02, and 2026-01-03 begins after them"):
        Project(replace(settings, value=DECLARED)).customer_value(date(2026, 1, 3))


def test_every_customer_has_a_score_in_their_own_currency(scores):
    rows = {row["consumer_id"]: row for row in scores.table.to_pylist()}
    assert len(rows) == 400
    assert scores.purchases.customers == 400
    assert set(scores.spend) == {"usd"}
    assert "of 2 there are 0" in scores.unfitted["chf"]
    assert (rows["cus_399"]["currency"], rows["cus_399"]["value"]) == ("chf", None)
    for row in rows.values():
        assert 0 <= row["p_alive"] <= 1
        assert row["event_timestamp"] == datetime(2025, 6, 1, tzinfo=UTC)
        if row["value"] is not None:
            assert row["value"] == pytest.approx(
                float(row["expected_purchases"]) * row["expected_amount"], rel=1e-3, abs=1
            )


def test_a_score_does_not_depend_on_the_order_of_facts_or_on_the_future(scores):
    given = transactions()
    backwards = given.take(list(range(len(given)))[::-1])
    future = given.slice(0, 1).set_column(
        1, "event_timestamp", pa.array([datetime(2025, 6, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    )
    assert score(pa.concat_tables([backwards, future]), at=AT, weeks=26).table == scores.table


def test_the_other_model_and_unknown_ones(scores):
    other = score(transactions(), at=AT, weeks=26, model="pareto_nbd")
    assert other.table["model"].to_pylist() == ["pareto_nbd"] * 400
    assert other.purchases.log_likelihood == pytest.approx(scores.purchases.log_likelihood, rel=0.02)
    with pytest.raises(UsageError, match="Did you mean 'pareto_nbd'"):
        score(transactions(), at=AT, model="pareto")


def test_scores_come_back_in_as_a_state_of_the_consumer(scores, settings, lake, tmp_path):
    given = config.load(ROOT).sources["consumer-scores"]
    path = tmp_path / "scores.parquet"
    pq.write_table(scores.table, path)
    [batch] = ingest(replace(settings, sources={"consumer-scores": given}), lake, "consumer-scores", [path])
    assert (batch.accepted, batch.rejected) == (400, 0)
    run_dbt(settings, lake, "run", "--select", "+consumer_score")
    connection = lake.connect()
    rows = connection.execute("""
        SELECT consumer_id, event_timestamp, known_at, deleted, p_alive, expected_purchases, expected_value,
            value_currency
        FROM lake.features.consumer_score ORDER BY consumer_id
    """).fetchall()
    connection.close()
    wanted = scores.table.to_pylist()
    midnight = datetime(2025, 6, 1, tzinfo=UTC)
    assert [row[0] for row in rows] == [one["consumer_id"] for one in wanted]
    for row, one in zip(rows, wanted, strict=True):
        assert row[1:4] == (midnight, midnight, False)
        assert (Decimal(repr(row[4])), Decimal(repr(row[5]))) == (one["p_alive"], one["expected_purchases"])
        assert row[6:] == (one["value"], one["currency"])
