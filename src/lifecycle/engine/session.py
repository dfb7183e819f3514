"""
A frame's own place in DuckDB: a cursor with temporary tables that nothing else sees.

The tables spill to the connection's temporary directory under its memory limit, so they need no memory beside the
batches in flight.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lifecycle.errors import UsageError
from lifecycle.names import quote, relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BATCH_ROWS = 122_880
STREAM_BUFFER = "64MB"


class Session:
    """Runs SQL for one frame; `connection` is the caller's, `cursor` the frame's own."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.cursor.execute("SET TimeZone = 'UTC'")
        # DuckDB's own is under a megabyte: its threads would wait for every batch that a kernel works on.
        self.cursor.execute(f"SET streaming_buffer_size = '{STREAM_BUFFER}'")
        spill = Path(self.value("SELECT current_setting('temp_directory')"))
        # A lake's connection names its folder; DuckDB's own default is one in whatever folder the process runs in.
        self.spill = spill if spill.is_absolute() else Path(tempfile.gettempdir())

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement that returns nothing."""
        self.cursor.execute(sql, list(parameters))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small result."""
        found: list[tuple[Any, ...]] = self.cursor.execute(sql, list(parameters)).fetchall()
        return found

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row."""
        return self.rows(sql, parameters)[0][0]

    def stream(self, sql: str) -> pa.RecordBatchReader:
        """Return a result as Arrow batches; it ends when this session runs anything else."""
        return self.cursor.execute(sql).to_arrow_reader(BATCH_ROWS)

    def append(self, table: str, batch: pa.Table) -> None:
        """Append an Arrow table to a temporary table, made by the first call."""
        self.cursor.register("arriving", batch)
        self.run(f"CREATE TEMP TABLE IF NOT EXISTS {table} AS FROM arriving LIMIT 0")
        self.run(f"INSERT INTO {table} FROM arriving")
        self.cursor.unregister("arriving")

    def spool(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
        """Keep batches in a file that is mapped, not held, and that ends with this process."""
        self.spill.mkdir(parents=True, exist_ok=True)
        number, path = tempfile.mkstemp(prefix="spool-", suffix=".arrow", dir=self.spill)
        os.close(number)
        try:
            # Arrow's stream, for in its file a column keeps one dictionary, and batches may bring others.
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            return pa.ipc.open_stream(pa.memory_map(path)).read_all()
        finally:
            Path(path).unlink()

    def columns(self, name: str) -> dict[str, str]:
        """Return the columns of the lake's relation `schema.table` with DuckDB's names of their types."""
        return columns(self.cursor, name)


def columns(connection: Any, name: str) -> dict[str, str]:
    """Return the columns of the lake's relation `schema.table` with DuckDB's names of their types."""
    try:
        # DuckDB's own tables of tables and columns look at the whole lake, each time.
        found = connection.execute(f"DESCRIBE {relation(name)}").fetchall()
    except Exception:
        if _there(connection, name):
            raise
        raise UsageError(
            f"the lake has no relation {name!r} in this release. Build it (`lifecycle build`), "
            "or correct the name where it is declared."
        ) from None
    return {column: dtype for column, dtype, *_ in found}


def _there(connection: Any, name: str) -> bool:
    query = "SELECT 1 FROM duckdb_columns() WHERE database_name = 'lake' AND schema_name = ? AND table_name = ? LIMIT 1"
    return bool(connection.execute(query, name.split(".")).fetchall())


def require(wanted: Iterable[str | None], have: dict[str, str], name: str, who: str) -> None:
    """Raise UsageError unless relation `name` has all the columns that `who` declares."""
    missing = sorted({one for one in wanted if one is not None and one not in have})
    if missing:
        raise UsageError(
            f"{who} needs columns of {name} that are not there: {', '.join(missing)}. "
            f"There are: {', '.join(sorted(have))}."
        )


def fact_time(column: str, dtype: str) -> str:
    """
    Return SQL for a fact's time as TIMESTAMPTZ in microseconds, rounded up.

    column: SQL of the column. A time without zone is UTC (the session's zone).
    """
    cast = f"CAST({column} AS TIMESTAMPTZ)"
    if not dtype.endswith("_NS"):
        return cast
    return f"({cast} + CASE WHEN epoch_ns({column}) > epoch_us({cast}) * 1000 THEN INTERVAL 1 MICROSECOND ELSE INTERVAL 0 MICROSECOND END)"  # noqa: E501


def col(table: str, name: str) -> str:
    """Return `table.name`, quoted."""
    return f"{table}.{quote(name)}"
