"""The same lake with its catalog and ledger in a real PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from lifecycle.errors import GateError, UsageError
from lifecycle.lake import Lake, Ledger, dialect
from lifecycle.lake.export import export
from lifecycle.pipeline.gate import check
from lifecycle.project import Project
from tests.lake_content import CHARGES, RAW, read, release, write

COUNT = "SELECT count(*) FROM lake.core.charges"


@pytest.fixture
def lake(postgres_settings):
    """Return a lake whose catalog is an empty PostgreSQL database."""
    return Lake(postgres_settings.lake)


def test_snapshots_releases_and_rollback(lake):
    assert Ledger(lake).serving() is None
    first = release(lake, 1, write(lake, *CHARGES))
    second = release(lake, 2, write(lake, "DELETE FROM lake.core.charges WHERE amount > 400"))
    assert read(lake, COUNT, first.snapshot) == [(10,)]
    assert read(lake, COUNT, second.snapshot) == [(5,)]
    assert Ledger(lake).all() == [first, second]
    assert Ledger(lake).roll_back(1) == first
    assert Ledger(lake).get() == first
    assert not lake.catalog_path.exists()


def test_an_engine_reads_a_release(lake, postgres_settings):
    release(lake, 1, write(lake, *CHARGES))
    write(lake, "DELETE FROM lake.core.charges")
    for engine in (sa.create_engine(dialect.url(postgres_settings)), Project(postgres_settings).engine(release=1)):
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM core.charges")).scalar() == 10
            with pytest.raises(UsageError, match="read-only"):
                connection.execute(sa.text("DELETE FROM core.charges"))
        engine.dispose()


def test_a_release_is_exported(lake, tmp_path):
    made = release(lake, 1, write(lake, *CHARGES))
    export(lake, made, tmp_path / "release.duckdb")
    assert (tmp_path / "release.duckdb").is_file()


def test_the_gate_checks_a_head_without_a_release(lake, bare_project):
    settings = bare_project(lake.settings)
    write(lake, *RAW)
    assert check(settings, lake).tables == 3
    write(lake, "UPDATE lake.raw.batches SET landed = 99")
    with pytest.raises(GateError, match=r"raw\.batches"):
        check(settings, lake)
