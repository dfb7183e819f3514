"""The dbt project on a lake: incremental equals full, empty sources, its own tests, and its errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from lifecycle import config
from lifecycle.errors import BuildError, PlatformError
from lifecycle.lake import Lake
from lifecycle.lake.connection import prepare
from lifecycle.pipeline.build import build, run_dbt
from tests.build_rows import SCHEMAS, contents, random_batches, settle, snapshot, write

ROOT = Path(__file__).resolve().parents[1]
HALF_WAY = ("stg_charges", "stg_link_sessions", "charge_events", "consumer_session", "core")
STATES = ("consumer_payment", "consumer_dispute", "consumer_identity", "consumer_profile", "charge_status")


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Return a lake built after each of four batches, its contents, and those of a full refresh."""
    settings = config.load(ROOT, home=tmp_path_factory.mktemp("grown"))
    lake = Lake(settings.lake)
    versions = []
    for number, batch in enumerate(random_batches(seed=20, sizes=(150, 150, 60, 80)), start=1):
        versions = settle(versions + batch, number)
        write(lake, versions)
        # A build that stops half way leaves tables behind that are built from different snapshots.
        run_dbt(settings, lake, "run", *(("--select", *HALF_WAY) if number == 3 else ()))
    grown = contents(lake)
    build(settings, lake, full_refresh=True)
    return settings, lake, grown, contents(lake)


def test_building_after_each_batch_equals_building_once(grown):
    _, _, step_by_step, at_once = grown
    assert set(step_by_step) == set(at_once)
    assert [name for name in at_once if step_by_step[name] != at_once[name]] == []
    empty = {name.split(".")[1] for name, rows in at_once.items() if not rows}
    assert not empty & {*STATES, "charge_events", "refund_events", "dispute_events", "charges", "consumer_periods"}


def test_a_transaction_for_each_model_builds_the_same(settings, lake, monkeypatch):
    monkeypatch.setattr("lifecycle.pipeline.build.WRITING", ())  # as plain dbt runs
    chosen = ("--select", "+logins", "+charge_status", "+consumer_session")
    versions = []
    for number, batch in enumerate(random_batches(seed=21, sizes=(80, 40, 40)), start=1):
        versions = settle(versions + batch, number)
        write(lake, versions)
        run_dbt(settings, lake, "run", *chosen)
    step_by_step = contents(lake)
    run_dbt(settings, lake, "run", "--full-refresh", *chosen)
    assert contents(lake) == step_by_step


def test_a_source_that_comes_later_is_built_as_if_it_had_been_there(settings, lake):
    chosen = ("--select", "+charges", "+refund_events")
    versions = []
    for number, batch in enumerate(random_batches(seed=22, sizes=(80, 80)), start=1):
        known = [row for row in batch if number > 1 or row["source"] != "online-retail"]
        versions = settle(versions + known, number)
        write(lake, versions)
        run_dbt(settings, lake, "run", *chosen)
        assert bool(contents(lake)["intermediate.int_retail_invoices"]) == (number > 1)
    step_by_step = contents(lake)
    run_dbt(settings, lake, "run", "--full-refresh", *chosen)
    assert contents(lake) == step_by_step


def test_a_release_s_tables_are_not_taken_for_the_models_of_their_names(settings, lake):
    chosen = ("--select", "+consumers")
    versions = []
    for number, batch in enumerate(random_batches(seed=5, sizes=(80, 120, 40)), start=1):
        known = [row for row in batch if number == 2 or not row["type"].startswith("identity")]
        versions = settle(versions + known, number)
        write(lake, versions)
        run_dbt(settings, lake, "run", *chosen)
        if number == 1:
            _replace_settled(lake, "consumer_identity")
    step_by_step = contents(lake)
    _replace_settled(lake, "consumer_identity")
    released = snapshot(lake)
    run_dbt(settings, lake, "run", *chosen)
    assert snapshot(lake) == released
    run_dbt(settings, lake, "run", "--full-refresh", *chosen)
    assert contents(lake) == step_by_step


def _replace_settled(lake, name):
    # As a release does, without its gate and its record.
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.asof")
        connection.execute(f"CREATE OR REPLACE TABLE lake.asof.{name} AS FROM lake.features.{name}")
        connection.close()


def test_states_say_what_is_in_force(grown):
    _, lake, *_ = grown
    connection = lake.connect()
    differing = connection.execute("""
        WITH moments AS (
            SELECT DISTINCT consumer_id, greatest(event_timestamp, known_at) AS t FROM lake.features.consumer_payment
        ),
        read AS (
            SELECT m.consumer_id, m.t, arg_max(
                {amount: s.last_charge_amount, charged_at: s.last_charge_at},
                row(s.event_timestamp, s.known_at, coalesce(s.sequence, -1), s.event_id, s.content_hash)
            ) AS value
            FROM moments m JOIN lake.features.consumer_payment s
                ON s.consumer_id = m.consumer_id AND s.event_timestamp <= m.t AND s.known_at <= m.t
            GROUP BY ALL
        ),
        true_values AS (
            SELECT m.consumer_id, m.t, arg_max(
                {amount: e.amount, charged_at: e.event_timestamp},
                row(e.event_timestamp, e.known_from, coalesce(e.sequence, -1), e.event_id, e.content_hash)
            ) AS value
            FROM moments m LEFT JOIN lake.features.charge_events e
                ON e.consumer_id = m.consumer_id AND e.event_timestamp <= m.t AND e.known_from <= m.t
                AND (e.known_until IS NULL OR e.known_until > m.t)
            GROUP BY ALL
        )
        SELECT count(*), count(*) FILTER (
            WHERE (read.value).amount IS DISTINCT FROM (true_values.value).amount
                OR (read.value).charged_at IS DISTINCT FROM (true_values.value).charged_at
        )
        FROM read JOIN true_values USING (consumer_id, t)
    """).fetchone()
    connection.close()
    assert differing[0] > 50
    assert differing[1] == 0


def test_nothing_new_writes_nothing(grown):
    settings, lake, *_ = grown
    connection = lake.connect()
    before = lake.snapshot(connection)
    connection.close()
    build(settings, lake)
    connection = lake.connect()
    after = lake.snapshot(connection)
    connection.close()
    assert after == before


def test_every_unit_test_of_the_dbt_project_passes(grown):
    settings, lake, *_ = grown
    results = run_dbt(settings, lake, "test", "--select", "test_type:unit").results
    tests = [result.node for result in results if result.node.resource_type == "unit_test"]
    tested = {node.tested_node_unique_id.split(".")[-1] for node in tests}
    marts = {path.stem for name in ("core", "metrics", "features") for path in
             (settings.dbt_project / "models" / name).glob("*.sql")}  # fmt: skip
    assert tested >= marts  # and some intermediate models


def test_docs_are_generated(grown):
    settings, lake, *_ = grown
    run_dbt(settings, lake, "docs generate")
    target = settings.lake.home / "dbt" / "target"
    assert (target / "catalog.json").is_file()
    assert "consumer_payment" in (target / "manifest.json").read_text(encoding="utf-8")


def test_freshness_of_the_sources_is_asked(grown):
    settings, lake, *_ = grown
    results = run_dbt(settings, lake, "source freshness", "--select", "source:raw.events").results
    told = [str(result.status) for result in results if result.node.resource_type == "source"]
    assert told == ["warn"]  # the newest fact is months old


def test_a_lake_with_one_source_builds(settings, lake):
    versions = settle(random_batches(seed=3, batches=1, size=80)[0], 1)
    write(lake, [row for row in versions if row["source"] == "online-retail"])
    seen = []
    build(settings, lake, progress=seen.append)
    found = contents(lake)
    assert {name.split(".")[0] for name in found} == set(SCHEMAS)
    assert found["core.charges"]
    assert set(found) == set(seen)


def test_a_postgres_catalog_builds(postgres_settings):
    lake = Lake(postgres_settings.lake)
    write(lake, settle(random_batches(seed=4, batches=1, size=60)[0], 1))
    build(postgres_settings, lake, select="+consumer_payment")
    connection = lake.connect()
    [rows] = connection.execute("SELECT count(*) FROM lake.features.consumer_payment").fetchone()
    connection.close()
    assert rows > 0


def test_a_lake_without_raw_events_says_what_to_do(settings, lake):
    with lake.lock():
        lake.connect(write=True).close()
    with pytest.raises(PlatformError, match=r"no raw\.events: nothing was taken in yet.*lifecycle ingest"):
        build(settings, lake)


@pytest.fixture
def own_project(settings, tmp_path):
    """Return settings of a project whose dbt project is a copy that a test may spoil."""
    shutil.copytree(settings.dbt_project, tmp_path / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    return replace(settings, dbt_project=tmp_path / "dbt_project")


def test_an_error_has_dbt_s_words_the_node_and_the_file(own_project, lake):
    write(lake, [])
    model = own_project.dbt_project / "models" / "core" / "refunds.sql"
    model.write_text(model.read_text(encoding="utf-8").replace("reason\n", "reasons\n"), encoding="utf-8")
    with pytest.raises(BuildError) as caught:
        build(own_project, lake, select="+refunds")
    message = str(caught.value)
    assert "model refunds (models/core/refunds.sql)" in message
    assert 'Referenced column "reasons" not found' in message
    assert "The last release still serves" in message


def test_a_broken_key_stops_the_build(own_project, lake):
    versions = settle(random_batches(seed=20, batches=1)[0], 1)
    write(lake, versions)
    model = own_project.dbt_project / "models" / "core" / "refunds.sql"
    text = model.read_text(encoding="utf-8").replace("select * from final", "select * from final union all from final")
    model.write_text(text, encoding="utf-8")
    with pytest.raises(BuildError, match=r"test grain_refunds_refund_id .*Got \d+ result"):
        build(own_project, lake, select="+refunds")


def test_changed_code_rebuilds_what_was_built(own_project, lake):
    write(lake, settle(random_batches(seed=6, batches=1, size=40)[0], 1))
    build(own_project, lake, select="stg_customers")
    model = own_project.dbt_project / "models" / "staging" / "stg_customers.sql"
    text = model.read_text(encoding="utf-8").replace("object.country,", "lower(object.country) as country,")
    model.write_text(text, encoding="utf-8")
    build(own_project, lake, select="stg_customers")
    connection = lake.connect()
    countries = connection.execute("SELECT DISTINCT country FROM lake.staging.stg_customers ORDER BY 1").fetchall()
    connection.close()
    assert ("GB",) not in countries
    assert ("gb",) in countries


def test_plain_dbt_works_at_the_project_s_root(tmp_path):
    shutil.copytree(ROOT / "dbt_project", tmp_path / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copy(ROOT / config.FILE_NAME, tmp_path)
    lake = Lake(config.load(tmp_path).lake)
    write(lake, settle(random_batches(seed=7, batches=1, size=40)[0], 1))
    dbt = Path(sys.executable).with_name("dbt")
    places = ["--project-dir", "dbt_project", "--profiles-dir", "dbt_project"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIFECYCLE_")}
    done = subprocess.run(
        [dbt, "build", *places, "--select", "stg_charges"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(lake)["staging.stg_charges"]


def test_a_part_of_a_new_lake_is_built_and_tested_without_the_rest(settings, lake):
    write(lake, settle(random_batches(seed=3, batches=1)[0], 1))
    build(settings, lake, select="+charges")
    assert contents(lake)["core.charges"]
    assert "core.consumers" not in contents(lake)
    results = json.loads((settings.lake.home / "dbt" / "target" / "run_results.json").read_text(encoding="utf-8"))
    ran = {result["unique_id"].split(".")[2] for result in results["results"]}
    assert [name for name in ran if name.startswith("grain_charges_")]
    assert "growth_accounting_adds_up" not in ran  # it reads charges, and tables that do not stand


def test_a_build_is_one_snapshot_and_an_error_leaves_none(own_project, lake):
    chosen = ("--select", "+charges")
    write(lake, [])
    run_dbt(own_project, lake, "run", *chosen)
    empty = contents(lake)
    write(lake, settle(random_batches(seed=3, batches=1)[0], 1))
    taken_in = snapshot(lake)
    model = own_project.dbt_project / "models" / "core" / "charges.sql"
    working = model.read_text(encoding="utf-8")
    model.write_text(f"{working.rstrip()} where error('no luck') is null", encoding="utf-8")
    with pytest.raises(BuildError, match=r"1 of \d+ nodes failed and 0 were left out.*\n.*model charges .*\n.*no luck"):
        run_dbt(own_project, lake, "run", *chosen)
    assert (contents(lake), snapshot(lake)) == (empty, taken_in)
    model.write_text(working, encoding="utf-8")
    run_dbt(own_project, lake, "run", *chosen)
    assert contents(lake) != empty
    assert snapshot(lake) == taken_in + 1


def test_a_build_that_cannot_be_committed_says_so_and_leaves_nothing(settings, lake):
    write(lake, settle(random_batches(seed=3, batches=1)[0], 1))
    others = []

    def meanwhile(_):
        if not others:
            others.append(_written_without_the_lock(lake, "CREATE SCHEMA lake.staging"))

    before = contents(lake)
    with pytest.raises(BuildError, match=r"could not be committed: (.|\n)*build again"):
        run_dbt(settings, lake, "run", "--select", "+charges", progress=meanwhile)
    assert others
    assert contents(lake) == before
    run_dbt(settings, lake, "run", "--select", "+charges")
    assert contents(lake)["core.charges"]


def _written_without_the_lock(lake, statement):
    connection = duckdb.connect()
    prepare(connection, ("ducklake", "sqlite_scanner"))
    connection.execute(lake.attach_statement(write=True))
    connection.execute(statement)
    connection.close()
    return statement
