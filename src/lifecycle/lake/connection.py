"""
Opening the lake: one writer at a time, any number of readers, each pinned to a snapshot.

A connection is DuckDB in memory with the lake attached as `lake`. DuckDB's extensions come from wheels of
the package index and are loaded by path, so nothing is downloaded and nothing is put into a home folder.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from filelock import FileLock, Timeout

from lifecycle.errors import LockedError, PlatformError, UsageError
from lifecycle.lake import macros
from lifecycle.names import literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from lifecycle.config import LakeSettings

ALIAS = "lake"
# Parquet's second version: builds read it up to a third faster than the first, and it takes no more room.
PARQUET_VERSION = 2
# What a query raises: once rows flow as Arrow, DuckDB's errors come as Arrow's, which are OSErrors.
QUERY_ERRORS: tuple[type[Exception], ...] = (duckdb.Error, OSError)


def extension_path(name: str) -> Path:
    """Return the file of a DuckDB extension installed as a wheel; raises PlatformError when there is none."""
    try:
        folder = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
    except ModuleNotFoundError:
        folder = None
    path = Path(str(folder)) / f"{name}.duckdb_extension"
    if folder is None or not path.is_file():
        package = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
        raise PlatformError(f"DuckDB's extension {name} is missing: install {package}, or run `make setup`.")
    return path


class Lake:
    """A DuckLake catalog with its data, opened for writing or pinned to a snapshot for reading."""

    def __init__(self, settings: LakeSettings) -> None:
        self.settings = settings
        # One lock object per file and thread, so that two Lakes of one home are not in each other's way.
        self._lock = FileLock(settings.home / "writer.lock", is_singleton=True)

    @property
    def on_postgres(self) -> bool:
        """Whether the catalog is a PostgreSQL database."""
        return self.settings.catalog.startswith("postgres")

    @property
    def catalog_path(self) -> Path:
        """The SQLite catalog's file (when there is no PostgreSQL catalog)."""
        return self.settings.home / "catalog.sqlite"

    @property
    def exists(self) -> bool:
        """Whether anything was ever written here."""
        return self.on_postgres or self.catalog_path.is_file()

    @property
    def extensions(self) -> tuple[str, ...]:
        """The DuckDB extensions this lake needs, in loading order."""
        scanner = "postgres_scanner" if self.on_postgres else "sqlite_scanner"
        remote = ("httpfs",) if "://" in self.settings.data_path else ()
        return ("ducklake", scanner, *remote)

    @property
    def address(self) -> str:
        """What ATTACH is given; a PostgreSQL password stays in the environment (PGPASSWORD)."""
        if not self.on_postgres:
            return f"ducklake:sqlite:{self.catalog_path}"
        parts = {name: self.postgres[name] for name in ("dbname", "host", "port", "user") if name in self.postgres}
        return "ducklake:postgres:" + " ".join(f"{name}={value}" for name, value in parts.items())

    @property
    def postgres(self) -> dict[str, Any]:
        """What libpq is told of a PostgreSQL catalog, by its own names."""
        from sqlalchemy.engine import make_url  # a third of a second to load, for the few that need it

        url = make_url(self.settings.catalog)
        parts: dict[str, Any] = {"dbname": url.database, "host": url.host, "port": url.port, "user": url.username}
        parts["password"] = url.password
        return {name: value for name, value in (parts | dict(url.query)).items() if value is not None}

    def attach_statement(self, snapshot: int | None = None, *, write: bool = False, alias: str = ALIAS) -> str:
        """Return the ATTACH statement for this lake, read-only at `snapshot` unless `write`."""
        options = [f"DATA_PATH {literal(self.settings.data_path.rstrip('/') + '/')}"]
        # A table whose rows may lie in the catalog has every scan look for them there: 75 ms the first time.
        options.append("DATA_INLINING_ROW_LIMIT 0" if write else "READ_ONLY")
        if snapshot is not None:
            options.append(f"SNAPSHOT_VERSION {int(snapshot)}")
        return f"ATTACH {literal(self.address)} AS {alias} ({', '.join(options)})"

    @contextmanager
    def lock(self, timeout: float = 0.0) -> Iterator[None]:
        """Hold the lake's only writing place; re-entrant within a thread."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=timeout)
        except Timeout as error:
            raise LockedError(
                f"another process is writing the lake in {self.settings.home}. Reading goes on; "
                "wait until that run ends, then run this again."
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def connect(self, snapshot: int | None = None, *, write: bool = False) -> duckdb.DuckDBPyConnection:
        """Open a connection with the lake attached as `lake`; the caller closes it."""
        if write and not self._lock.is_locked:
            raise PlatformError("the lake is opened for writing without its lock: use `with lake.lock():`.")
        if write:
            self._create()
        elif not self.exists:
            raise PlatformError(
                f"there is no lake in {self.settings.home} yet. Take data in first: "
                "`lifecycle run --source NAME FILE...`, or try `lifecycle demo`."
            )
        connection = self.engine_connection()
        try:
            connection.execute(self.attach_statement(snapshot, write=write))
            if write:
                self._set_format(connection)
            for statement in () if write else macros.statements():
                connection.execute(statement)
        except duckdb.Error as error:
            connection.close()
            raise PlatformError(f"the lake at {self.address} cannot be opened: {error}") from error
        return connection

    def engine_connection(self) -> duckdb.DuckDBPyConnection:
        """Open DuckDB in memory, set up as the lake needs it, with nothing attached."""
        given = self.settings
        config: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Else DuckDB hashes 70 MB at each connection to check signatures that guard downloads; these files come
            # with the packages whose Python code runs here as well.
            "allow_unsigned_extensions": True,
            "temp_directory": given.spill_path,
        }
        if given.threads:
            config["threads"] = given.threads
        if given.memory_limit:
            config["memory_limit"] = given.memory_limit
        try:
            connection = duckdb.connect(":memory:", config=config)
        except duckdb.Error as error:
            raise UsageError(
                f"DuckDB refuses threads={given.threads}, memory_limit={given.memory_limit!r}: {error}. "
                "Correct them in [lake] of lifecycle.toml, or in LIFECYCLE_THREADS and LIFECYCLE_MEMORY_LIMIT."
            ) from error
        prepare(connection, self.extensions)
        return connection

    def snapshot(self, connection: duckdb.DuckDBPyConnection) -> int:
        """Return the newest snapshot's number."""
        row = connection.execute(f"SELECT max(snapshot_id) FROM ducklake_snapshots('{ALIAS}')").fetchone()
        return int(row[0]) if row else 0

    def tables(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Return the name, `schema.table`, of every table and view in the lake."""
        query = """
            SELECT table_schema || '.' || table_name FROM information_schema.tables
            WHERE table_catalog = ? ORDER BY ALL
        """
        return [name for (name,) in connection.execute(query, [ALIAS]).fetchall()]

    def _set_format(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Have files written in PARQUET_VERSION from now on; the catalog remembers it for every writer, dbt too."""
        query = "SELECT value FROM ducklake_options(?) WHERE option_name = 'parquet_version' AND scope = 'GLOBAL'"
        if connection.execute(query, [ALIAS]).fetchall() != [(f"V{PARQUET_VERSION}",)]:
            connection.execute(f"CALL {ALIAS}.set_option('parquet_version', {PARQUET_VERSION})")

    def _create(self) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        Path(self.settings.spill_path).mkdir(parents=True, exist_ok=True)
        if "://" not in self.settings.data_path:
            Path(self.settings.data_path).mkdir(parents=True, exist_ok=True)
        if not self.on_postgres and not self.catalog_path.exists():
            # Readers beside a writer need SQLite's write-ahead log; the mode is kept in the file.
            catalog = sqlite3.connect(self.catalog_path)
            catalog.execute("PRAGMA journal_mode=WAL")
            catalog.close()


def select(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """Run a user's query and return an Arrow table; raises UsageError in DuckDB's own words."""
    try:
        return connection.execute(query).to_arrow_table()
    except duckdb.Error as error:
        raise UsageError(f"{error}\nQuery: {query.strip()}") from error


@lru_cache
def arrow_type(dtype: str) -> pa.DataType:
    """Return the Arrow type in which DuckDB hands over a column of type `dtype`, as its catalog writes it."""
    connection = duckdb.connect(":memory:")
    try:
        prepare(connection, ())
        return connection.execute(f"SELECT CAST(NULL AS {dtype})").to_arrow_table().schema.types[0]
    finally:
        connection.close()


def prepare(connection: duckdb.DuckDBPyConnection, extensions: tuple[str, ...]) -> None:
    """Load extensions from their wheels and set the session to UTC."""
    for name in extensions:
        connection.execute(f"LOAD {literal(str(extension_path(name)))}")
    connection.execute("SET TimeZone = 'UTC'")
