from __future__ import annotations

import duckdb
import pytest

from lifecycle.errors import PlatformError, UsageError
from lifecycle.lake.export import export
from tests.lake_content import CHARGES, MADE_AT, RAW, read, release, write


@pytest.fixture
def released(lake):
    """A release behind the lake's head, with a view."""
    view = "CREATE VIEW lake.core.big AS FROM lake.core.charges WHERE amount > 500"
    made = release(lake, 1, write(lake, *RAW, *CHARGES, view))
    write(lake, "DELETE FROM lake.core.charges")
    return made


def tables(path):
    connection = duckdb.connect(path, read_only=True)
    query = "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
    names = sorted(name for (name,) in connection.execute(query).fetchall())
    found = {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in names}
    connection.close()
    return found


def test_the_file_holds_every_table_of_the_release_and_says_which(lake, released, tmp_path):
    path = tmp_path / "release.duckdb"
    export(lake, released, path)
    found = tables(path)
    assert sorted(found) == [
        "core.big", "core.charges", "main.lifecycle_release", "raw.batches", "raw.events", "raw.quarantine",
    ]  # fmt: skip
    charges = read(lake, "FROM lake.core.charges ORDER BY ALL", released.snapshot)
    assert found["core.charges"] == charges
    assert len(charges) == 10
    assert len(found["core.big"]) == 4
    assert found["raw.events"] == read(lake, "FROM lake.raw.events ORDER BY ALL", released.snapshot)
    assert found["main.lifecycle_release"] == [(1, MADE_AT, "code 1", released.definitions.hash)]
    assert list(tmp_path.glob(".release*")) == []
    assert not path.with_name("release.duckdb.wal").exists()


def test_an_existing_file_is_kept_unless_forced(lake, released, tmp_path):
    path = tmp_path / "release.duckdb"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        export(lake, released, path)
    assert path.read_text() == "mine"
    export(lake, released, path, force=True)
    assert len(tables(path)["core.charges"]) == 10
    with pytest.raises(UsageError, match="exists already"):
        export(lake, released, tmp_path, force=True)


def test_a_missing_folder_is_named(lake, released, tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        export(lake, released, tmp_path / "nowhere" / "release.duckdb")


def test_a_failure_leaves_the_old_file_and_no_other(lake, released, tmp_path):
    path = tmp_path / "release.duckdb"
    export(lake, released, path)
    before = path.read_bytes()
    for file in (lake.settings.home / "data").rglob("*.parquet"):
        file.unlink()
    write(lake, "CREATE TABLE lake.core.wide AS SELECT range AS i FROM range(100000)")
    broken = release(lake, 2, write(lake, "INSERT INTO lake.core.wide FROM range(100000)"))
    for file in (lake.settings.home / "data").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(PlatformError, match="release 2 could not be written"):
        export(lake, broken, path, force=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["release.duckdb"]
