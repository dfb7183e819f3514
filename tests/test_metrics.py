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
from lifecycle.engine.windows import window_features
from lifecycle.errors import UsageError
from lifecycle.feast_plugin.compile import _compile_view
from lifecycle.feast_plugin.repo import parse
from lifecycle.lake import Lake, Ledger
from lifecycle.names import relation
from lifecycle.pipeline.build import run_dbt
from lifecycle.pipeline.metrics import keep_metrics, run_metricflow
from tests.build_rows import settle, write
from tests.lake_content import release

ROOT = Path(__file__).resolve().parents[1]
MIDNIGHT = datetime(2025, 2, 15, tzinfo=UTC)
# metric: (view of the feature repo, stem of its window feature, days, column that the metric is grouped by)
CASES = {
    "spend-7": ("consumer_spend", "spend", 7, "charge__currency"),
    "charges-7": ("consumer_charges", "charges", 7, None),
    "disputes-30": ("consumer_disputes", "disputes", 30, None),
}


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
        if number % 7 == 0:
            about = {"id": f"dp_{number}", "charge": f"ch_{number}", "amount": 1, "currency": "usd", "status": "lost"}
            # The object bears another time than the event, and of some disputes only the end was told.
            about["created"] = int((known - timedelta(hours=36)).timestamp())
            kind = "charge.dispute.closed" if number % 35 == 0 else "charge.dispute.created"
            told = {"event_id": f"evt_d{number}", "type": kind, "retracted": number % 21 == 0}
            told |= {"event_timestamp": known, "known_at": known, "content_hash": f"{rng.getrandbits(64):016x}"}
            made.append(made[-1] | told | {"payload": json.dumps({"object": about})})
    return made


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A release made of all that was known at midnight, and the folder that keeps its metrics."""
    settings = config.load(ROOT, home=tmp_path_factory.mktemp("metrics"))
    lake = Lake(settings.lake)
    write(lake, settle([one for one in versions() if one["known_at"] <= MIDNIGHT], 1))
    run_dbt(settings, lake, "run", "--select", "+charges", "+disputes", "+dispute_events", "days")
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


def features(settings, lake, made, view, feature):
    """Return a window feature at midnight, as known, summed over consumers: by the view's other key, if it has one."""
    contents = parse(settings)
    connection = lake.connect(made.snapshot)
    entities = {entity.name: entity for entity in contents.entities}
    declared = next(one for one in contents.feature_views if one.name == view)
    compiled = _compile_view(declared, entities, connection)
    keys = [column for _, column in compiled.join_keys]
    listed = ", ".join(keys)
    spine = f"""
        SELECT row_number() OVER (ORDER BY {listed}) - 1 AS row, TIMESTAMPTZ '2025-02-15 00:00:00+00' AS t,
            {", ".join(f"{key} AS k{place}" for place, key in enumerate(keys))}
        FROM (SELECT DISTINCT {listed} FROM {relation(compiled.relation)})
    """
    [window] = [one for one in compiled.windows if one.name == feature]
    values = window_features(connection, compiled, spine, windows=[window])[feature].to_pylist()
    other = connection.execute(f"SELECT {'k1' if len(keys) > 1 else 'NULL'} FROM ({spine}) ORDER BY row").fetchall()
    connection.close()
    sums = {}
    for (name,), value in zip(other, values, strict=True):
        sums[name] = sums.get(name, 0) + (value or 0)
    return sums


@pytest.mark.parametrize("case", CASES)
def test_summed_over_consumers_a_feature_at_midnight_is_the_metric_of_the_days_before(released, case):
    settings, lake, made, folder = released
    view, stem, days, group = CASES[case]
    rows = query(
        folder,
        *("--metrics", stem, "--where", "{{ Entity('consumer') }} is not null"),
        *("--start-time", f"{MIDNIGHT - timedelta(days=days):%Y-%m-%d}"),
        *("--end-time", f"{MIDNIGHT - timedelta(days=1):%Y-%m-%d}"),
        *(("--group-by", group) if group else ()),
    )
    told = {row.get(group): int(float(row[stem])) for row in rows}
    assert told == features(settings, lake, made, view, f"{stem}_{days}d")
    assert min(told.values()) > 0
    assert len(told) == (2 if group else 1)


def test_the_command_hands_on_what_mf_takes_and_its_exit_code(released, tmp_path):
    settings, *_ = released
    environment = os.environ | {"LIFECYCLE_HOME": str(settings.lake.home), "LIFECYCLE_PROJECT": str(ROOT)}

    def lifecycle_mf(*arguments):
        return subprocess.run(
            [sys.executable, "-c", "from lifecycle.cli import main; main()", "mf", "--release", "1", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = lifecycle_mf("query", "--metrics", "disputes", "--csv", "here.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "here.csv").read_text(encoding="utf-8").startswith("disputes\n")
    assert lifecycle_mf("query", "--metricks", "disputes").returncode == 2


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
