"""One definition, two readers: what MetricFlow says of a closed interval, and what features at its end add up to."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from lifecycle import config
from lifecycle.definitions import View, Window
from lifecycle.engine.windows import window_features
from lifecycle.errors import UsageError
from lifecycle.lake import Lake, Ledger
from lifecycle.pipeline.build import run_dbt
from lifecycle.pipeline.metrics import keep_metrics, run_metricflow
from tests.build_rows import settle, write
from tests.lake_content import release

ROOT = Path(__file__).resolve().parents[1]
MIDNIGHT = datetime(2025, 2, 15, tzinfo=UTC)
DAY_US = 86_400_000_000
WINDOWS = (
    Window("spend_7d", "sum", "amount", 7 * DAY_US, where="status = 'succeeded'", currency="currency"),
    Window("charges_7d", "count", None, 7 * DAY_US),
    Window("failed_7d", "count", None, 7 * DAY_US, where="failed"),
    Window("spend_30d", "sum", "amount", 30 * DAY_US, where="status = 'succeeded'", currency="currency"),
)
VIEW = View(
    "charges",
    "features.charge_events",
    (("consumer_id", "consumer_id"), ("currency", "currency")),
    "event_timestamp",
    "known_from",
    (),
    windows=WINDOWS,
)


def versions():
    """Charges of 40 days up to midnight with all that feeds do: late, amended to another amount or time, retracted."""
    rng = random.Random(11)
    made = []
    for number in range(900):
        at = MIDNIGHT - timedelta(seconds=rng.randrange(40 * 86_400))
        if number < 6:  # on the edges of the windows: at midnight itself, a microsecond before, and 7 days before
            at = MIDNIGHT - [timedelta(0), timedelta(microseconds=1), timedelta(days=7)][number % 3]
        kind = rng.choice(["charge.succeeded", "charge.succeeded", "charge.failed"])
        known = at
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            content = {"id": f"ch_{number}", "customer": f"cus_{number % 23}", "amount": rng.randrange(1, 10**6)}
            content["currency"] = "jpy" if number % 5 == 0 else "usd"
            made.append(
                {
                    "source": "stripe", "event_id": f"evt_{number}", "revision": None, "sequence": None, "type": kind,
                    "content_hash": f"{rng.getrandbits(64):016x}", "retracted": rng.random() < 0.1, "batch_id": 1,
                    "event_timestamp": at, "known_at": known, "payload": json.dumps({"object": content}),
                }
            )  # fmt: skip
            known += timedelta(hours=rng.choice([0.5, 30, 200]))
            at += timedelta(hours=rng.choice([0, 0, -40]))
    return made


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A release made of all that was known at midnight, and the folder that keeps its metrics."""
    settings = config.load(ROOT, home=tmp_path_factory.mktemp("metrics"))
    lake = Lake(settings.lake)
    write(lake, settle([one for one in versions() if one["known_at"] <= MIDNIGHT], 1))
    run_dbt(settings, lake, "run", "--select", "+charges", "days")
    with lake.lock():
        connection = lake.connect(write=True)
        snapshot = lake.snapshot(connection)
        connection.execute("DELETE FROM lake.core.charges")  # after the release: readers of it never see this
        connection.close()
    made = release(lake, 1, snapshot)
    return settings, lake, made, keep_metrics(settings, lake, made)


def query(folder, *arguments):
    """Run plain `mf query` in the folder; return the rows of its answer."""
    answer = folder / "answer.csv"
    program = Path(sys.executable).with_name("mf")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LIFECYCLE_", "DBT_"))}
    done = subprocess.run(
        [program, "query", *arguments, "--csv", answer],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with answer.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def features(lake, made, windows):
    """Return the sum over consumers, by currency, of each window feature at midnight, as known."""
    connection = lake.connect(made.snapshot)
    spine = """
        SELECT row_number() OVER (ORDER BY consumer_id, currency) - 1 AS row, TIMESTAMPTZ '2025-02-15 00:00:00+00' AS t,
            consumer_id AS k0, currency AS k1
        FROM (SELECT DISTINCT consumer_id, currency FROM lake.features.charge_events)
    """
    values = window_features(connection, VIEW, spine, windows=windows).drop_columns("row")
    connection.register("window_values", values)
    sums = ", ".join(f"coalesce(sum(v.{one.name}), 0)::BIGINT" for one in windows)
    rows = connection.execute(
        f"SELECT s.k1, {sums} FROM ({spine}) AS s POSITIONAL JOIN window_values AS v GROUP BY s.k1"
    ).fetchall()
    connection.close()
    return {currency: tuple(found) for currency, *found in rows}


@pytest.mark.parametrize("days", [7, 30])
def test_summed_over_consumers_a_feature_at_midnight_is_the_metric_of_the_days_before(released, days):
    _, lake, made, folder = released
    windows = [one for one in WINDOWS if one.window_us == days * DAY_US]
    metrics = [one.name.split("_")[0] for one in windows]
    rows = query(
        folder,
        *("--metrics", ",".join(metrics), "--group-by", "charge__currency"),
        *("--start-time", f"{MIDNIGHT - timedelta(days=days):%Y-%m-%d}"),
        *("--end-time", f"{MIDNIGHT - timedelta(days=1):%Y-%m-%d}"),
    )
    told = {row["charge__currency"]: tuple(int(float(row[name])) for name in metrics) for row in rows}
    assert told.keys() == {"usd", "jpy"}
    assert all(value > 0 for values in told.values() for value in values)
    assert told == features(lake, made, windows)


def test_the_folder_pins_the_release_read_only(released):
    _, _, made, folder = released
    attached = yaml.safe_load((folder / "profiles.yml").read_text())["release"]["outputs"]["lake"]["attach"]
    assert attached[0]["read_only"] is True
    assert attached[0]["options"] == {"snapshot_version": made.snapshot}


def test_a_release_without_metrics_says_so(released):
    settings, lake, made, _ = released
    other = release(lake, 2, made.snapshot)
    with pytest.raises(UsageError, match="release 2 keeps no metrics"):
        run_metricflow(settings, other, ["list", "metrics"])
    assert Ledger(lake).get(2).snapshot == made.snapshot


def test_a_project_that_was_never_built_keeps_no_metrics(lake, settings):
    made = release(lake, 1, 0)
    assert keep_metrics(settings, lake, made) is None
