from __future__ import annotations

import os
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import duckdb
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import PlatformError, UsageError
from lifecycle.lake import Ledger, dialect
from lifecycle.project import Project
from tests.lake_content import CHARGES, release, write

EVERY_TYPE = """
CREATE TABLE lake.core.types AS SELECT
    1::BIGINT AS big, 1::INTEGER AS small, true AS yes, 'a' AS text, 1.5::DOUBLE AS float, 1.25::DECIMAL(9, 2) AS exact,
    DATE '2025-01-02' AS day, TIMESTAMPTZ '2025-01-02 03:04:05.678901+02' AS moment, 'x'::BLOB AS bytes,
    ['a', NULL] AS list, {'a': 1} AS struct, uuid() AS id
"""


@pytest.fixture
def released(lake, settings):
    """Two releases of core.charges: 10 rows, then 20."""
    release(lake, 1, write(lake, *CHARGES, EVERY_TYPE, "CREATE VIEW lake.core.some AS FROM lake.core.charges LIMIT 3"))
    release(lake, 2, write(lake, "INSERT INTO lake.core.charges SELECT * FROM lake.core.charges"))
    return settings


def count(engine):
    with engine.connect() as connection:
        return connection.execute(sa.text("SELECT count(*) FROM core.charges")).scalar()


def url(settings, **query):
    return sa.URL.create("lifecycle", database=str(settings.root), query={"home": str(settings.lake.home), **query})


def test_an_engine_reads_the_served_release_or_the_one_named(released, lake):
    assert count(sa.create_engine(url(released))) == 20
    assert count(sa.create_engine(url(released, release="1"))) == 10
    assert count(sa.create_engine(url(released, snapshot=str(Ledger(lake).get(1).snapshot)))) == 10
    Ledger(lake).roll_back(1)
    assert count(sa.create_engine(url(released))) == 10


def test_an_engine_stays_at_its_release_when_another_is_served(released, lake):
    engine = sa.create_engine(url(released), poolclass=sa.NullPool)
    assert count(engine) == 20
    release(lake, 3, write(lake, "DELETE FROM lake.core.charges"))
    assert count(engine) == 20
    assert count(sa.create_engine(url(released))) == 0


def test_the_project_is_found_from_the_working_folder(released, monkeypatch):
    monkeypatch.setenv("LIFECYCLE_HOME", str(released.lake.home))
    monkeypatch.chdir(released.root / "src")
    assert count(sa.create_engine("lifecycle:///")) == 20
    assert count(sa.create_engine("lifecycle:///?release=1")) == 10


def test_the_projects_engine_and_url_name_the_same_lake(released):
    assert count(Project(released).engine()) == 20
    assert count(Project(released).engine(release=1)) == 10
    assert count(sa.create_engine(dialect.url(released))) == 20


def test_pandas_reads_queries_and_tables(released):
    engine = sa.create_engine(url(released, release="1"))
    frame = pd.read_sql("SELECT charge_id, amount FROM core.charges WHERE amount >= 800 ORDER BY amount", engine)
    assert frame.to_dict("list") == {"charge_id": ["ch_8", "ch_9"], "amount": [800, 900]}
    assert pd.read_sql_table("charges", engine, schema="core").shape == (10, 4)
    parameters = {"least": 500}
    chunks = pd.read_sql(sa.text("FROM core.charges WHERE amount > :least"), engine, params=parameters, chunksize=3)
    assert [len(chunk) for chunk in chunks] == [3, 1]


def test_schemas_tables_views_and_columns_are_reflected(released):
    inspector = sa.inspect(sa.create_engine(url(released)))
    assert inspector.get_schema_names() == ["core", "main"]
    assert inspector.get_table_names("core") == ["charges", "types"]
    assert inspector.get_view_names("core") == ["some"]
    assert inspector.get_table_names() == []
    assert inspector.has_table("charges", "core")
    assert not inspector.has_table("charges")
    assert inspector.has_schema("core")
    assert [column["name"] for column in inspector.get_columns("charges", "core")] == [
        "charge_id", "consumer_id", "amount", "currency",
    ]  # fmt: skip
    assert inspector.get_pk_constraint("charges", "core")["constrained_columns"] == []
    assert inspector.get_indexes("charges", "core") == inspector.get_foreign_keys("charges", "core") == []
    with pytest.raises(sa.exc.NoSuchTableError, match=r"core\.nothing"):
        inspector.get_columns("nothing", "core")


def test_a_reflected_table_is_typed_and_selects(released):
    engine = sa.create_engine(url(released))
    types = sa.Table("types", sa.MetaData(), schema="core", autoload_with=engine)
    kinds = {column.name: type(column.type).__name__ for column in types.columns}
    assert kinds == {
        "big": "BigInteger", "small": "Integer", "yes": "Boolean", "text": "String", "float": "Double",
        "exact": "Numeric", "day": "Date", "moment": "TIMESTAMP", "bytes": "LargeBinary", "list": "ARRAY",
        "struct": "NullType", "id": "Uuid",
    }  # fmt: skip
    assert types.c.moment.type.timezone
    assert (types.c.exact.type.precision, types.c.exact.type.scale) == (9, 2)
    with engine.connect() as connection:
        row = connection.execute(sa.select(types)).one()
    assert (row.big, row.exact, row.list, row.struct) == (1, Decimal("1.25"), ["a", None], {"a": 1})
    assert row.moment == datetime(2025, 1, 2, 1, 4, 5, 678901, UTC)
    assert isinstance(row.id, UUID)


@given(st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p))), st.integers(0, 3))
def test_duckdbs_names_of_decimals_and_lists_are_understood(numbers, depth):
    precision, scale = numbers
    kind = dialect.column_type(f"DECIMAL({precision},{scale})" + "[]" * depth)
    if depth:
        assert isinstance(kind, sa.ARRAY)
        assert kind.dimensions == depth
        kind = kind.item_type
    assert (kind.precision, kind.scale) == numbers


def test_results_outlive_a_rollback_and_the_next_statement(released):
    with sa.create_engine(url(released)).connect() as connection:
        first = connection.execute(sa.text("SELECT DISTINCT currency FROM core.charges"))
        second = connection.execute(sa.text("SELECT count(*) FROM core.charges"))
        connection.rollback()
        assert first.all() == [("usd",)]
        assert second.all() == [(20,)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE core.mine (i INTEGER)",
        "INSERT INTO core.charges SELECT * FROM core.charges",
        "UPDATE core.charges SET amount = 0",
        "DELETE FROM core.charges",
        "DROP TABLE core.charges",
        "CREATE SCHEMA mine",
    ],
)
def test_writing_is_refused_and_says_what_to_do(released, statement):
    engine = sa.create_engine(url(released))
    with pytest.raises(UsageError, match=r"a release is read-only.*TEMP table"), engine.begin() as connection:
        connection.execute(sa.text(statement))
    assert count(engine) == 20


def test_a_frame_cannot_be_written_into_the_lake(released):
    with pytest.raises(UsageError, match="a release is read-only"):
        pd.DataFrame({"i": [1]}).to_sql("mine", sa.create_engine(url(released)), schema="core")


def test_a_temporary_table_is_the_sessions_own(released):
    with sa.create_engine(url(released)).connect() as connection:
        connection.execute(sa.text("CREATE TEMP TABLE mine AS FROM core.charges LIMIT 2"))
        assert connection.execute(sa.text("SELECT count(*) FROM mine")).scalar() == 2


@pytest.mark.parametrize("pool", [sa.NullPool, sa.StaticPool, sa.QueuePool, sa.pool.SingletonThreadPool])
def test_any_pool_serves_connections_at_once(released, pool):
    engine = sa.create_engine(url(released, release="1"), poolclass=pool)
    with engine.connect() as one, engine.connect() as other:
        query = sa.text("SELECT count(*) FROM core.charges")
        assert [one.execute(query).scalar(), other.execute(query).scalar(), one.execute(query).scalar()] == [10] * 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"relase": "1"}, "unknown argument of a lifecycle:/// URL 'relase'. Did you mean 'release'?"),
        ({"release": "one"}, "release='one' in a lifecycle:/// URL; it must be a whole number"),
        ({"release": "1", "snapshot": "2"}, "names a release or a snapshot, not both"),
        ({"release": ("1", "2")}, "gives release more than once"),
        ({"release": "9"}, "there is no release 9. There are: 1, 2"),
    ],
)
def test_what_is_wrong_in_a_url_is_named(released, query, message):
    with pytest.raises(UsageError) as caught:
        sa.create_engine(url(released, **query)).connect()
    assert message in str(caught.value)


def test_a_lake_without_a_release_and_no_lake_say_so(lake, settings):
    with pytest.raises(UsageError, match="there is no release yet"):
        sa.create_engine(url(settings)).connect()
    with pytest.raises(PlatformError, match="there is no lake"):
        sa.create_engine(url(settings, snapshot="1")).connect()
    snapshot = write(lake, *CHARGES)
    assert count(sa.create_engine(url(settings, snapshot=str(snapshot)))) == 10


def test_a_users_mistake_is_duckdbs_own_error(released):
    with sa.create_engine(url(released)).connect() as connection:
        with pytest.raises(sa.exc.ProgrammingError, match="amont") as caught:
            connection.execute(sa.text("SELECT amont FROM core.charges"))
        assert isinstance(caught.value.orig, duckdb.BinderException)
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1


def test_nothing_of_the_processs_environment_is_changed(released):
    before = dict(os.environ)
    count(sa.create_engine(url(released)))
    assert dict(os.environ) == before
