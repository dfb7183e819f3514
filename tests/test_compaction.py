"""Compaction: few files instead of many, and every row, snapshot, change and release as it was."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lifecycle import cli
from lifecycle.errors import PlatformError
from lifecycle.lake import Lake, compaction
from lifecycle.lake.compaction import compact
from lifecycle.pipeline.build import run_dbt
from tests.build_rows import contents, random_batches, settle, snapshot, write

HALF_WAY = ("--select", "stg_charges", "stg_link_sessions", "charge_events", "consumer_session")
CHOSEN = ("--select", "+charge_status", "+consumer_session", "+logins", "+lifecycle_states", "+consumer_periods")


def many_small_files(settings, lake, *, sizes, after=lambda _: None):
    versions = []
    for number, batch in enumerate(random_batches(seed=31, sizes=sizes), start=1):
        versions = settle(versions + batch, number)
        write(lake, versions)
        run_dbt(settings, lake, "run", *(HALF_WAY if number == 3 else CHOSEN))
        after(number)


def everything(lake, at):
    """Return all tables' rows at a snapshot, with their numbers, and what came and went in them until then."""
    connection = lake.connect()
    found = {}
    for (name,) in connection.execute(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_catalog = 'lake'"
    ).fetchall():
        schema, table = name.split(".")
        found[name] = [
            connection.execute(f"SELECT t::VARCHAR FROM (SELECT rowid, * FROM {relation}) AS t ORDER BY ALL").fetchall()
            for relation in (
                f"lake.{name} AT (VERSION => {at})",
                f"ducklake_table_insertions('lake', '{schema}', '{table}', 0, {at})",
                f"ducklake_table_deletions('lake', '{schema}', '{table}', 0, {at})",
            )
        ]
    connection.close()
    return found


def kinds(lake):
    connection = lake.connect()
    found = connection.execute("SELECT DISTINCT unnest(map_keys(changes)) FROM ducklake_snapshots('lake')").fetchall()
    connection.close()
    return {kind for (kind,) in found}


def test_builds_between_compactions_equal_a_full_refresh(settings, lake):
    many_small_files(settings, lake, sizes=(150, 40, 60, 40, 50), after=lambda number: number > 1 and compact(lake))
    assert kinds(lake) >= {"rewrite_delete", "merge_adjacent"}
    step_by_step = contents(lake)
    run_dbt(settings, lake, "run", "--full-refresh", *CHOSEN)
    assert contents(lake) == step_by_step


def test_every_snapshot_reads_as_before(settings, lake, monkeypatch):
    monkeypatch.setattr(compaction, "KEPT", "INTERVAL 0 DAY")
    many_small_files(settings, lake, sizes=(120, 40, 40, 40))
    newest = snapshot(lake)
    released = [newest - 4, newest - 2, newest]
    before = {at: everything(lake, at) for at in released}
    done = compact(lake)
    assert done.tables > 0
    assert 2 * done.files < done.files_before
    assert done.removed > 0
    assert {at: everything(lake, at) for at in released} == before
    again = compact(lake)
    assert (again.tables, again.files, again.bytes) == (0, done.files, done.bytes)


def test_what_was_only_compacted_is_not_built_again(settings, lake):
    many_small_files(settings, lake, sizes=(120, 40))
    run_dbt(settings, lake, "run", *CHOSEN)
    assert compact(lake).tables > 0
    compacted = snapshot(lake)
    run_dbt(settings, lake, "run", *CHOSEN)
    assert snapshot(lake) == compacted


def test_a_lake_in_postgres_is_compacted(postgres_settings):
    lake = Lake(postgres_settings.lake)
    many_small_files(postgres_settings, lake, sizes=(60, 20))
    before = contents(lake)
    done = compact(lake)
    assert done.files < done.files_before
    assert contents(lake) == before


def test_the_command_says_what_it_did(settings, lake, monkeypatch):
    versions = settle(random_batches(seed=3, batches=1, size=40)[0], 1)
    for upto in (20, 40):
        write(lake, versions[:upto])
    monkeypatch.chdir(settings.root)
    monkeypatch.setenv("LIFECYCLE_HOME", str(settings.lake.home))
    shown = CliRunner().invoke(cli.app, ["compact", "--json"])
    assert shown.exit_code == 0, shown.output
    done = json.loads(shown.stdout)
    assert (done["tables"], done["files_before"], done["files"], done["removed"]) == (1, 2, 1, 0)
    shown = CliRunner().invoke(cli.app, ["compact"])
    assert "0 tables written anew: of 1 files" in shown.output


def test_a_lake_that_is_not_there_is_not_made(lake):
    with pytest.raises(PlatformError, match="no lake"):
        compact(lake)
    assert not lake.exists
