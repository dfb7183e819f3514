"""
The SQLAlchemy dialect `lifecycle:///`: a release of a lake, read-only, in any tool that takes a URL.

`lifecycle:///` is the project of the working folder (or of LIFECYCLE_PROJECT), `lifecycle:////abs/path` the one
there. The query names a release (`?release=3`; without it, the served one) or a bare snapshot (`?snapshot=17`),
and may override each setting of `[lake]` (`?home=...&catalog=...&data=...`).

An engine's first connection decides its snapshot and all later ones use it, whichever release is served by
then: dispose of the engine, or make another, to read a newer one. Tables are named `schema.table`.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import duckdb
import sqlalchemy as sa
from duckdb_engine import ConnectionWrapper, Dialect
from sqlalchemy import pool
from sqlalchemy.dialects.postgresql.psycopg2 import PGExecutionContext_psycopg2
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.reflection import ReflectionDefaults
from sqlalchemy.exc import NoSuchTableError

from lifecycle import config
from lifecycle.config import LakeSettings
from lifecycle.errors import UsageError, unknown
from lifecycle.lake.connection import ALIAS, Lake
from lifecycle.lake.ledger import Ledger

if TYPE_CHECKING:
    from sqlalchemy.engine.url import URL

    from lifecycle.config import Settings

_LAKE_SETTINGS = tuple(field.name for field in fields(LakeSettings))
_PARAMETERS = re.compile(r"(?P<name>[^(\[]+?)\s*(\((?P<inside>.*)\))?")
_LISTS = re.compile(r"(\[\d*\])+\Z")
_READ_ONLY = "read-only mode"
_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "BIGINT": sa.BigInteger(),
    "BLOB": sa.LargeBinary(),
    "BOOLEAN": sa.Boolean(),
    "DATE": sa.Date(),
    "DOUBLE": sa.Double(),
    "ENUM": sa.String(),
    "FLOAT": sa.Float(),
    "HUGEINT": sa.Numeric(38, 0),
    "INTEGER": sa.Integer(),
    "INTERVAL": sa.Interval(),
    "JSON": sa.JSON(),
    "SMALLINT": sa.SmallInteger(),
    "TIME": sa.Time(),
    "TIMESTAMP": sa.TIMESTAMP(),
    "TIMESTAMP WITH TIME ZONE": sa.TIMESTAMP(timezone=True),
    "TIMESTAMP_MS": sa.TIMESTAMP(),
    "TIMESTAMP_NS": sa.TIMESTAMP(),
    "TIMESTAMP_S": sa.TIMESTAMP(),
    "TINYINT": sa.SmallInteger(),
    "UBIGINT": sa.Numeric(20, 0),
    "UHUGEINT": sa.Numeric(39, 0),
    "UINTEGER": sa.BigInteger(),
    "USMALLINT": sa.Integer(),
    "UTINYINT": sa.SmallInteger(),
    "UUID": sa.Uuid(),
    "VARCHAR": sa.String(),
}


def url(settings: Settings, *, release: int | None = None, snapshot: int | None = None) -> URL:
    """Return the URL of exactly these settings' lake, at a release, a bare snapshot, or the served release."""
    query = {name: str(value) for name in _LAKE_SETTINGS if (value := getattr(settings.lake, name))}
    query |= {k: str(v) for k, v in (("release", release), ("snapshot", snapshot)) if v is not None}
    return sa.URL.create("lifecycle", database=str(settings.root), query=query)


class _BufferedContext(PGExecutionContext_psycopg2):
    """
    Fetches every result at once.

    DuckDB has one result per connection, and a rollback or the next statement discards it; pandas and
    Great Expectations read rows after both.
    """

    def post_exec(self) -> None:
        if self.cursor.description:
            rows = self.cursor.fetchall()
            self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(self.cursor, initial_buffer=rows)


class LifecycleDialect(Dialect):  # type: ignore[misc]  # duckdb-engine is not typed
    """DuckDB in memory with a lake attached read-only, at one snapshot per engine."""

    driver = "lifecycle"
    supports_statement_cache = False
    execution_ctx_cls = _BufferedContext

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pinned: int | None = None

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:  # noqa: ARG003  # SQLAlchemy's signature
        """Keep a few connections: each is a DuckDB of its own, so any pool class is right."""
        return pool.QueuePool

    def create_connect_args(self, url: URL) -> tuple[tuple[()], dict[str, Any]]:
        """Turn the URL into the project's folder and the query's arguments; raises UsageError."""
        query = dict(url.query)
        for name, value in query.items():
            if name not in {*_LAKE_SETTINGS, "release", "snapshot"}:
                raise unknown("argument of a lifecycle:/// URL", name, (*_LAKE_SETTINGS, "release", "snapshot"))
            if not isinstance(value, str):
                raise UsageError(f"the lifecycle:/// URL gives {name} more than once: {value}.")
            if name in {"release", "snapshot", "threads"} and not value.isdecimal():
                raise UsageError(f"{name}={value!r} in a lifecycle:/// URL; it must be a whole number.")
        if {"release", "snapshot"} <= query.keys():
            raise UsageError("a lifecycle:/// URL names a release or a snapshot, not both.")
        return (), {"project": url.database or None, "query": query}

    def connect(self, *, project: str | None, query: dict[str, str], **_: Any) -> ConnectionWrapper:
        """Open DuckDB with the lake attached at this engine's snapshot."""
        lake = Lake(_lake_settings(project, query))
        if self._pinned is None:
            self._pinned = _snapshot(lake, query)
        connection = lake.connect(self._pinned)
        connection.execute(f"USE {ALIAS}")
        return ConnectionWrapper(connection)

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Run a statement; one that would write to the lake raises UsageError."""
        try:
            super().do_execute(cursor, statement, parameters, context)
        except duckdb.InvalidInputException as error:
            if _READ_ONLY not in str(error):
                raise
            raise UsageError(
                f"a release is read-only, and this statement writes: {statement.strip()!r}. Keep results of your own "
                "in a TEMP table or a file; change the lake through dbt and `lifecycle run`."
            ) from error

    # A snapshot never changes, so there is nothing for a transaction to hold or undo; without one, connections of
    # SQLAlchemy that share a DuckDB (StaticPool) do not meet in each other's.

    def do_begin(self, dbapi_connection: Any) -> None:
        """Do nothing."""

    def do_commit(self, dbapi_connection: Any) -> None:
        """Do nothing."""

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Do nothing."""

    # Reflection. duckdb-engine asks PostgreSQL's catalog views, which mix all attached databases and break
    # with SQLAlchemy's newer queries; DuckDB's own functions say the same for the lake alone.

    get_multi_columns = DefaultDialect.get_multi_columns
    get_multi_pk_constraint = DefaultDialect.get_multi_pk_constraint
    get_multi_foreign_keys = DefaultDialect.get_multi_foreign_keys
    get_multi_indexes = DefaultDialect.get_multi_indexes
    get_multi_unique_constraints = DefaultDialect.get_multi_unique_constraints
    get_multi_check_constraints = DefaultDialect.get_multi_check_constraints
    get_multi_table_comment = DefaultDialect.get_multi_table_comment
    get_multi_table_options = DefaultDialect.get_multi_table_options

    def get_schema_names(self, connection: Any, **_: Any) -> list[str]:
        """Return the lake's schemas."""
        query = "SELECT schema_name FROM duckdb_schemas() WHERE database_name = :lake ORDER BY schema_name"
        return [name for (name,) in connection.execute(sa.text(query), {"lake": ALIAS})]

    def has_schema(self, connection: Any, schema_name: str, **_: Any) -> bool:
        """Whether the lake has this schema."""
        return schema_name in self.get_schema_names(connection)

    def get_table_names(self, connection: Any, schema: str | None = None, **_: Any) -> list[str]:
        """Return the tables of a schema (default: `main`)."""
        return self._names(connection, schema, "BASE TABLE")

    def get_view_names(self, connection: Any, schema: str | None = None, **_: Any) -> list[str]:
        """Return the views of a schema (default: `main`)."""
        return self._names(connection, schema, "VIEW")

    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> bool:
        """Whether the schema has this table or view, or the session a temporary one of this name."""
        return bool(self._columns(connection, table_name, schema))

    def get_columns(
        self, connection: Any, table_name: str, schema: str | None = None, **_: Any
    ) -> list[dict[str, Any]]:
        """Return a table's columns; raises NoSuchTableError."""
        columns = self._columns(connection, table_name, schema)
        if not columns:
            raise NoSuchTableError(f"{schema}.{table_name}" if schema else table_name)
        return [
            {"name": name, "type": column_type(dtype), "nullable": nullable, "default": None, "comment": comment}
            for name, dtype, nullable, comment in columns
        ]

    def get_pk_constraint(self, *_: Any, **__: Any) -> Any:
        """Return none: DuckLake keeps no keys; the gate checks them."""
        return ReflectionDefaults.pk_constraint()

    def get_foreign_keys(self, *_: Any, **__: Any) -> Any:
        """Return none, as for primary keys."""
        return []

    def get_indexes(self, *_: Any, **__: Any) -> Any:
        """Return none, as for primary keys."""
        return []

    def get_unique_constraints(self, *_: Any, **__: Any) -> Any:
        """Return none, as for primary keys."""
        return []

    def get_check_constraints(self, *_: Any, **__: Any) -> Any:
        """Return none, as for primary keys."""
        return []

    def get_table_options(self, *_: Any, **__: Any) -> Any:
        """Return none."""
        return {}

    def get_table_comment(
        self, connection: Any, table_name: str, schema: str | None = None, **_: Any
    ) -> dict[str, str | None]:
        """Return a table's comment."""
        query = """
            SELECT comment FROM duckdb_tables()
            WHERE database_name = :lake AND schema_name = :schema AND table_name = :name
        """
        given = {"lake": ALIAS, "schema": schema or "main", "name": table_name}
        return {"text": connection.execute(sa.text(query), given).scalar()}

    def _names(self, connection: Any, schema: str | None, kind: str) -> list[str]:
        query = """
            SELECT table_name FROM information_schema.tables
            WHERE table_catalog = :lake AND table_schema = :schema AND table_type = :kind ORDER BY table_name
        """
        given = {"lake": ALIAS, "schema": schema or "main", "kind": kind}
        return [name for (name,) in connection.execute(sa.text(query), given)]

    def _columns(self, connection: Any, table: str, schema: str | None) -> list[Any]:
        query = """
            SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns()
            WHERE table_name = :name
              AND ((database_name = :lake AND schema_name = :schema) OR (database_name = 'temp' AND :temporary))
            ORDER BY column_index
        """
        given = {"lake": ALIAS, "schema": schema or "main", "name": table, "temporary": schema is None}
        return list(connection.execute(sa.text(query), given))


def column_type(dtype: str) -> sa.types.TypeEngine[Any]:
    """Return SQLAlchemy's type for DuckDB's name of a type, such as `DECIMAL(18,2)` or `VARCHAR[]`."""
    lists = _LISTS.search(dtype)
    if lists:
        return sa.ARRAY(column_type(dtype[: lists.start()]), dimensions=lists[0].count("["))
    match = _PARAMETERS.fullmatch(dtype)
    if match and match["name"] == "DECIMAL" and match["inside"]:
        precision, scale = (int(part) for part in match["inside"].split(","))
        return sa.Numeric(precision, scale)
    return _TYPES.get(match["name"] if match else dtype, sa.types.NullType())


def _lake_settings(project: str | None, query: dict[str, str]) -> LakeSettings:
    given: dict[str, Any] = {name: value for name, value in query.items() if name in _LAKE_SETTINGS}
    if "threads" in given:
        given["threads"] = int(given["threads"])
    # `load` also drops the file's catalog and data when a home is given: a lake elsewhere is all elsewhere.
    settings = config.load(project, home=given.pop("home", None)).lake
    return replace(settings, **given)


def _snapshot(lake: Lake, query: dict[str, str]) -> int:
    if "snapshot" in query:
        return int(query["snapshot"])
    return Ledger(lake).get(int(query["release"]) if "release" in query else None).snapshot
