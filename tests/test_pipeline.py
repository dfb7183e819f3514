"""The whole path on generated consumers: releases, rollback, sandbox, export."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from lifecycle import open_project
from lifecycle.engine import diff, read_receipt
from lifecycle.errors import GateError
from lifecycle.lake.export import export
from lifecycle.pipeline.intake import read_quarantine
from lifecycle.pipeline.release import make_release
from lifecycle.synth import generate

ROOT = Path(__file__).resolve().parents[1]
SPINE = """
    select
        charge_id, consumer_id, payment_method_id, device_id, card_hash, ip_prefix_hash, ip_country,
        currency as charge_currency, amount, event_timestamp
    from features.charge_events order by charge_id, known_from
"""
CURRENCY_CONTRACT = "      - name: last_refund_currency\n        data_type: VARCHAR\n"
COPIED = ("dbt_project", "feature_repo", "transformations", "lifecycle.toml")


@pytest.fixture(scope="module")
def feed(tmp_path_factory):
    """Two files of a small feed: the first two thirds of its deliveries, and the rest."""
    import gzip

    folder = tmp_path_factory.mktemp("feed")
    made = generate(folder, consumers=120, months=14, seed=3)
    lines = [line for part in made.events for line in gzip.decompress(part.read_bytes()).splitlines(keepends=True)]
    cut = len(lines) * 2 // 3
    files = folder / "early.ndjson", folder / "late.ndjson"
    for file, part in zip(files, (lines[:cut], lines[cut:]), strict=True):
        file.write_bytes(b"".join(part))
    return files


@pytest.fixture(scope="module")
def project(tmp_path_factory, feed):
    """A project of its own, whose files a test may change, with release 1 of the early part and 2 of all."""
    root = tmp_path_factory.mktemp("project")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
        else:
            shutil.copy(source, root / name)
    made = open_project(root, home=root / "home")
    made.run("stripe", [feed[0]])
    made.training_frame(SPINE, "fraud_v1").write_parquet(root / "first.parquet")
    made.run("stripe", [feed[1]])
    return made


def test_each_release_reads_its_own_data_and_a_pinned_frame_stays(project):
    counts = [project.sql("select count(*) as n from raw.events", release=n)["n"][0].as_py() for n in (1, 2)]
    assert 0 < counts[0] < counts[1]
    again = project.training_frame(SPINE, "fraud_v1", release=1)
    path = again.write_parquet(project.settings.root / "again.parquet")
    assert path.read_bytes() == (project.settings.root / "first.parquet").read_bytes()


def test_running_again_changes_nothing(project, feed):
    done = project.run("stripe", feed)
    assert [batch.accepted for batch in done.batches] == [0, 0]
    assert (done.release, len(project.releases())) == (None, 2)


def test_batches_reconcile_and_what_is_rejected_says_why(project):
    batches = project.sql("select * from raw.batches").to_pylist()
    assert all(b["landed"] == b["accepted"] + b["repeated"] + b["rejected"] for b in batches)
    connection = project.lake.connect(project.release().snapshot)
    rejected = read_quarantine(connection)
    connection.close()
    assert rejected.num_rows == sum(b["rejected"] for b in batches) > 0
    reasons = set(rejected["reason"].to_pylist())
    assert {"not_json", "unknown_type", "negative_amount", "overflow", "test_mode"} <= reasons


def test_the_command_loads_only_what_a_frame_needs(project, tmp_path):
    text = "import sys\nfrom lifecycle.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    program = [sys.executable, "-c", text]
    asked = ["frame", "-f", "fraud_v1", "--spine", SPINE, "-o", str(tmp_path / "frame.parquet"), "--json"]
    home = {"LIFECYCLE_PROJECT": str(project.settings.root), "LIFECYCLE_HOME": str(project.settings.lake.home)}
    done = subprocess.run(program + asked, env=os.environ | home, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"duckdb", "numba", "lifecycle.engine.windows"} <= loaded
    assert not loaded & {"pandas", "scipy.linalg", "coverage", "feast", "dbt"}
    wanted = project.training_frame(SPINE, "fraud_v1").table
    assert pq.read_table(tmp_path / "frame.parquet").equals(wanted)


def test_online_values_equal_the_frame(project):
    at = max(project.release().watermarks.values())
    keys = project.sql("select consumer_id from core.consumers order by consumer_id").to_pandas()
    frame = project.training_frame(keys.assign(event_timestamp=at), "lifecycle_v1").table.to_pylist()
    online = project.online_features("lifecycle_v1", keys.to_dict("records"))
    for offline, read in zip(frame, online, strict=True):
        for name, one in read.items():
            assert one.value == offline[name]


def test_a_release_lists_the_old_facts_that_it_brought(project):
    assert project.backfills(1).num_rows == 0
    watermark = project.releases()[0].watermarks["stripe"]
    high_water = project.releases()[0].high_water
    late = project.sql("select type, batch_id, known_at from raw.events").to_pylist()
    expected = sum(one["batch_id"] > high_water and one["known_at"] <= watermark for one in late)
    found = project.backfills(2).to_pylist()
    assert sum(one["versions"] for one in found) == expected
    assert all("fraud_dispute_120d" in one["labels"] for one in found)


def test_rollback_serves_an_earlier_release_and_run_makes_no_new_one(project):
    project.ledger.roll_back(1)
    try:
        assert project.release().number == 1
        project.run()
        assert (project.release().number, len(project.releases())) == (1, 2)
    finally:
        project.ledger.roll_back(2)


def test_a_failed_gate_leaves_the_last_release_serving(project):
    suite = project.settings.dbt_project / "expectations" / "core.yml"
    before = suite.read_text(encoding="utf-8")
    broken = "    - type: expect_table_row_count_to_equal\n      value: 1\n"
    suite.write_text(
        before.replace("core.charges:", "core.charges:", 1).replace(
            "  expectations:\n", "  expectations:\n" + broken, 1
        ),
        encoding="utf-8",
    )
    try:
        with pytest.raises(GateError, match="expect_table_row_count_to_equal") as failed:
            project.run()
        assert "release 2 still serves" in " ".join(failed.value.__notes__)
        assert project.release().number == 2
    finally:
        suite.write_text(before, encoding="utf-8")


def test_a_new_feature_gives_a_frame_in_a_sandbox_without_a_release(project):
    """The steps of docs/add-a-feature.md."""
    from lifecycle.pipeline.build import build

    features = project.settings.dbt_project / "models" / "features"
    edits = {
        "consumer_refund.sql": [
            ("as last_refund_currency,\n", "as last_refund_currency,\n        reason as last_refund_reason,\n"),
            ('"last_refund_currency", ', '"last_refund_currency", "last_refund_reason", '),
        ],
        "_states.yml": [
            (
                CURRENCY_CONTRACT,
                CURRENCY_CONTRACT + CURRENCY_CONTRACT.replace("currency", "reason"),
            ),
        ],
    }
    for name, changes in edits.items():
        text = (features / name).read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, f"docs/add-a-feature.md no longer fits {name}: {old!r}"
            text = text.replace(old, new)
        (features / name).write_text(text, encoding="utf-8")
    box = project.sandbox()
    build(box.settings, box.lake)
    make_release(box.settings, box.lake, box.ledger)
    frame = box.training_frame(SPINE, ["consumer_refund:last_refund_reason"])
    assert frame.table.column_names[-1] == "last_refund_reason"
    assert len(project.releases()) == 2
    assert "last_refund_reason" not in project.sql("select * from features.consumer_refund limit 1").column_names


def test_export_is_one_plain_file(project, tmp_path):
    import duckdb

    export(project.lake, project.release(), tmp_path / "all.duckdb")
    with duckdb.connect(str(tmp_path / "all.duckdb"), read_only=True) as plain:
        counted = plain.execute("select count(*) from core.charges").fetchone()
    assert counted == (project.sql("select count(*) as n from core.charges")["n"][0].as_py(),)


def test_pandas_reads_a_release_through_sqlalchemy(project):
    with project.engine().connect() as connection:
        cohorts = pd.read_sql("select * from metrics.retention", connection)
    assert len(cohorts) == project.sql("select * from metrics.retention").num_rows > 0


def test_a_frame_is_made_again_after_three_more_releases_and_a_changed_repo(project, tmp_path):
    views = project.settings.feature_repo / "views.py"
    declared = views.read_text(encoding="utf-8")
    first = project.settings.root / "first.parquet"
    try:
        for days in (1, 2):
            views.write_text(f"{declared}\nfrom datetime import timedelta\n\npayment.ttl = timedelta(days={days})\n")
            make_release(project.settings, project.lake, project.ledger)
    finally:
        views.write_text(declared, encoding="utf-8")
    assert (read_receipt(first)["release"], project.release().number) == (1, 4)
    again = project.rebuild_frame(first).write_parquet(tmp_path / "again.parquet")
    assert again.read_bytes() == first.read_bytes()
    now = project.training_frame(SPINE, "fraud_v1").write_parquet(tmp_path / "now.parquet")
    changed = diff(first, now).summary()["last_charge_amount: definitions or late data"]
    # The releases hold the same events, so it can only have been the definitions.
    assert project.diff_frames(first, now).summary()["last_charge_amount: definitions"] == changed > 0
