from __future__ import annotations

import shutil
import socket
import sqlite3
import sys
from collections import namedtuple
from contextlib import closing

import pytest

from lifecycle import config, doctor
from lifecycle.lake import Lake
from lifecycle.online import open_store
from tests.lake_content import RAW, release, write


@pytest.fixture
def project(tmp_path):
    """Return the root of a project with the two folders and nothing in them."""
    (tmp_path / "dbt_project").mkdir()
    (tmp_path / "feature_repo").mkdir()
    (tmp_path / config.FILE_NAME).write_text("")
    return tmp_path


def findings(root):
    return {one.name: one for one in doctor.examine(root)}


def made(root):
    lake = Lake(config.load(root).lake)
    release(lake, 1, write(lake, *RAW))
    return lake


def test_a_new_project_has_nothing_wrong(project):
    found = findings(project)
    assert [one for one in found.values() if not one.ok] == []
    assert found["python"].detail.startswith(".".join(map(str, sys.version_info[:3])))
    assert found["extensions"].detail == "ducklake, sqlite_scanner"
    assert "none yet" in found["lake"].detail
    assert not (project / ".lifecycle").exists()


def test_a_released_lake_is_described(project):
    made(project)
    found = findings(project)
    assert all(one.ok for one in found.values())
    assert "3 tables, SQLite catalog" in found["lake"].detail
    assert found["lock"].detail == "free"
    assert found["releases"].detail == "1, serving 1"
    assert "complete up to 2026-01-02T03:04:05.678901Z" in found["data of stripe"].detail


def test_a_lake_without_a_release_says_how_to_make_one(project):
    write(Lake(config.load(project).lake), *RAW)
    found = findings(project)["releases"]
    assert (found.ok, found.detail, found.next_step) == (False, "none yet", "`lifecycle run` makes one")


def test_a_missing_key_is_a_finding(project, monkeypatch):
    monkeypatch.delenv(config.KEY_VARIABLE)
    found = findings(project)["key"]
    assert not found.ok
    assert "LIFECYCLE_KEY is not set" in found.detail


def test_outside_a_project_the_rest_is_still_looked_at(tmp_path):
    found = findings(tmp_path)
    assert not found["project"].ok
    assert "no lifecycle.toml" in found["project"].detail
    assert found["packages"].ok


def test_folders_that_are_not_there_are_named(project):
    (project / "feature_repo").rmdir()
    found = findings(project)["project"]
    assert not found.ok
    assert str(project / "feature_repo") in found.detail


def test_a_catalog_that_shuts_readers_out_is_found(project):
    lake = made(project)
    with closing(sqlite3.connect(lake.catalog_path)) as catalog:
        catalog.execute("PRAGMA journal_mode=DELETE")
    found = findings(project)["lake"]
    assert not found.ok
    assert "journal mode delete" in found.detail
    assert "PRAGMA journal_mode=WAL" in found.next_step


def test_a_broken_catalog_ends_the_look_at_the_lake(project):
    lake = made(project)
    lake.catalog_path.write_text("no database" * 1000)
    for beside in ("-wal", "-shm"):
        lake.catalog_path.with_name(lake.catalog_path.name + beside).unlink(missing_ok=True)
    found = findings(project)
    assert not found["lake"].ok
    assert "cannot be opened" in found["lake"].detail
    assert "releases" not in found


def test_an_unreachable_postgres_is_found(project, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LIFECYCLE_CATALOG", f"postgresql://me@127.0.0.1:{taken.getsockname()[1]}/lake")
        found = findings(project)
    assert not found["lake"].ok
    assert "PGPASSWORD" in found["lake"].next_step
    assert found["extensions"].detail == "ducklake, postgres_scanner"


def test_packages_are_held_to_what_is_required():
    wrong = doctor._wrong_packages(["duckdb==0.1", "no-such-package", "pytest>=1", 'pytest==0.1 ; extra == "dev"'])
    assert [one.split(",")[0].split(" is ")[0] for one in wrong] == ["duckdb", "no-such-package"]


def test_the_online_store_is_looked_for_where_it_is_configured(project, monkeypatch):
    assert "none yet in" in findings(project)["online store"].detail
    open_store(config.load(project).online_place).close()
    assert findings(project)["online store"].detail.endswith("holds no release, 0 views")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LIFECYCLE_ONLINE", f"redis://:secret@127.0.0.1:{taken.getsockname()[1]}/0")
        found = findings(project)["online store"]
    assert not found.ok
    assert "LIFECYCLE_ONLINE" in found.next_step
    assert "secret" not in found.detail


def test_a_full_disk_is_found(project, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 # what shutil returns
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    found = findings(project)["disk"]
    assert not found.ok
    assert "LIFECYCLE_HOME" in found.next_step
