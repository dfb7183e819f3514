from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import duckdb
import pytest

from lifecycle.errors import LockedError, PlatformError, UsageError
from lifecycle.lake import Lake
from lifecycle.lake.connection import extension_path, select
from tests.lake_content import CHARGES, read, write

COUNT = "SELECT count(*) FROM lake.core.charges"
HOLDER = """
import sys
from pathlib import Path
from lifecycle.config import LakeSettings
from lifecycle.lake import Lake
with Lake(LakeSettings(home=Path(sys.argv[1]))).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lake_that_was_never_written_says_what_to_do(lake):
    assert not lake.exists
    with pytest.raises(PlatformError, match=r"there is no lake in .* yet.*lifecycle run"):
        lake.connect()
    assert not lake.settings.home.exists()


def test_writing_needs_the_lock(lake):
    with pytest.raises(PlatformError, match="without its lock"):
        lake.connect(write=True)


def test_a_reader_pinned_to_a_snapshot_sees_nothing_later(lake):
    first = write(lake, *CHARGES)
    second = write(lake, "INSERT INTO lake.core.charges SELECT * FROM lake.core.charges")
    third = write(lake, "ALTER TABLE lake.core.charges ADD COLUMN more INTEGER", "DROP TABLE lake.core.charges")
    assert first < second < third
    assert read(lake, COUNT, first) == [(10,)]
    assert read(lake, COUNT, second) == [(20,)]
    with pytest.raises(duckdb.CatalogException):
        read(lake, COUNT, third)


def test_few_rows_too_lie_in_files(lake):
    write(lake, *CHARGES, "DELETE FROM lake.core.charges WHERE amount > 900")
    with closing(sqlite3.connect(lake.catalog_path)) as catalog:
        assert catalog.execute("SELECT count(*) FROM ducklake_inlined_data_tables").fetchall() == [(0,)]


def test_a_build_in_progress_is_not_visible_to_an_open_reader(lake):
    write(lake, *CHARGES)
    with lake.lock():
        writer = lake.connect(write=True)
        reader = lake.connect(lake.snapshot(writer))
        writer.execute("BEGIN")
        writer.execute("DELETE FROM lake.core.charges")
        assert reader.execute(COUNT).fetchall() == [(10,)]
        writer.execute("COMMIT")
        assert reader.execute(COUNT).fetchall() == [(10,)]
        assert writer.execute(COUNT).fetchall() == [(0,)]
        reader.close()
        writer.close()


def test_a_reader_cannot_write(lake):
    write(lake, *CHARGES)
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        read(lake, "DELETE FROM lake.core.charges")


def test_the_lock_is_refused_to_a_second_process_and_free_after_it_ends(lake, settings):
    home = str(settings.lake.home)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="another process is writing the lake"), lake.lock():
            pytest.fail("the lock was given twice")
        holder.kill()
    with lake.lock(timeout=10):
        assert lake.connect(write=True).execute("SELECT 1").fetchone() == (1,)


def test_the_lock_is_reentrant_also_between_two_lakes_of_one_home(settings):
    with Lake(settings.lake).lock(), Lake(settings.lake).lock():
        assert write(Lake(settings.lake), *CHARGES) > 0


def test_the_sqlite_catalog_is_in_wal_mode(lake):
    write(lake, *CHARGES)
    with closing(sqlite3.connect(lake.catalog_path)) as catalog:
        assert catalog.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_settings_reach_duckdb(settings):
    lake = Lake(replace(settings.lake, threads=1, memory_limit="123MiB"))
    connection = lake.engine_connection()
    query = "SELECT current_setting('threads'), current_setting('memory_limit'), current_setting('TimeZone')"
    assert connection.execute(query).fetchone() == (1, "123.0 MiB", "UTC")
    connection.close()


def test_a_setting_that_duckdb_refuses_is_a_usage_error(settings):
    with pytest.raises(UsageError, match=r"memory_limit.*plenty"):
        Lake(replace(settings.lake, memory_limit="plenty")).engine_connection()


def test_tables_and_views_are_listed_by_schema(lake):
    write(lake, *CHARGES, "CREATE VIEW lake.core.busy AS SELECT 1 AS one", "CREATE TABLE lake.main.t (i INTEGER)")
    connection = lake.connect()
    assert lake.tables(connection) == ["core.busy", "core.charges", "main.t"]
    connection.close()


def test_a_missing_extension_names_its_package():
    with pytest.raises(PlatformError, match=r"install duckdb-extension-no-such==1\.5\.5"):
        extension_path("no_such")


def test_a_broken_catalog_is_a_platform_error(lake):
    lake.settings.home.mkdir(parents=True)
    lake.catalog_path.write_text("this is no database, whatever its name says" * 100)
    with pytest.raises(PlatformError, match="cannot be opened"):
        lake.connect()


def test_a_users_mistake_in_a_query_is_a_usage_error(lake):
    write(lake, *CHARGES)
    connection = lake.connect()
    with pytest.raises(UsageError, match=r"(?s)amont.*Query: SELECT amont"):
        select(connection, "SELECT amont FROM lake.core.charges")
    assert select(connection, "SELECT 1 AS one").to_pylist() == [{"one": 1}]
    connection.close()


def test_a_lakes_address_keeps_a_password_out(settings):
    lake = Lake(replace(settings.lake, catalog="postgresql://me:secret@db:5433/lake"))
    assert lake.address == "ducklake:postgres:dbname=lake host=db port=5433 user=me"
    assert lake.extensions == ("ducklake", "postgres_scanner")


def test_a_remote_data_path_brings_httpfs(settings):
    lake = Lake(replace(settings.lake, data="s3://bucket/lake/"))
    assert lake.extensions == ("ducklake", "sqlite_scanner", "httpfs")
    assert "DATA_PATH 's3://bucket/lake/'" in lake.attach_statement(7)
    assert lake.attach_statement(7).endswith("READ_ONLY, SNAPSHOT_VERSION 7)")
    assert "READ_ONLY" not in lake.attach_statement(write=True)
