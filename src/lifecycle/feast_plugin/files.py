"""Parquet files as relations: what a Feast FileSource names, read in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.file_source import FileSource

from lifecycle.errors import UsageError
from lifecycle.feast_plugin.source import column_of
from lifecycle.names import literal, quote, relation

if TYPE_CHECKING:
    from feast.data_source import DataSource
    from feast.repo_config import RepoConfig

_NANOSECONDS = 1000


def parquet_path(config: RepoConfig, source: DataSource) -> Path:
    """Return a FileSource's Parquet file, folder of files, or pattern (`*.parquet`); raises UsageError for others."""
    if not isinstance(source, FileSource):
        raise UsageError(
            f"source {source.name!r} is a {type(source).__name__}; this offline store reads LifecycleSource "
            "(relations of the lake) and FileSource (Parquet)."
        )
    path = str(FileSource.get_uri_for_file_path(config.repo_path, source.path)).removeprefix("file://")
    if "://" in path or not isinstance(source.file_format, ParquetFormat | None):
        raise UsageError(f"source {source.name!r} is {source.path!r}; only local Parquet files can be read in place.")
    if not Path(path).exists() and not _matching(Path(path)):
        raise UsageError(f"source {source.name!r} names {path}, and there is no such file or folder.")
    return Path(path)


def create_relation(connection: Any, name: str, config: RepoConfig, source: DataSource) -> None:
    """Make `lake.schema.table` show the file's rows as they are now."""
    path = parquet_path(config, source)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{quote(name.split('.', maxsplit=1)[0])}")
    rows = ds.dataset(path if path.exists() else _matching(path), format="parquet", partitioning="hive")
    fine = _finer_than_microseconds(rows, source)
    if fine:
        connection.register("given", _rounded_up(rows.to_table(), fine))
        connection.execute(f"CREATE TABLE {relation(name)} AS FROM given")
        connection.unregister("given")
        return
    pattern = literal(str(path / "**" / "*.parquet") if path.is_dir() else str(path))
    connection.execute(
        f"CREATE VIEW {relation(name)} AS FROM "
        f"read_parquet({pattern}, union_by_name = true, hive_partitioning = {str(path.is_dir()).lower()})"
    )


def _matching(pattern: Path) -> list[Path]:
    """Return the files of a pattern such as `folder/**/*.parquet`."""
    return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))


def _finer_than_microseconds(rows: ds.Dataset, source: DataSource) -> list[str]:
    """
    Return the times with a zone that hold fractions of a microsecond.

    DuckDB reads such a column as TIMESTAMPTZ and cuts the fraction off, so that a fact would be known too early.
    """
    named = [column_of(source, name) for name in (source.timestamp_field, source.created_timestamp_column) if name]
    found = []
    for name in named:
        dtype = rows.schema.field(name).type if name in rows.schema.names else None
        if dtype is not None and pa.types.is_timestamp(dtype) and dtype.unit == "ns" and dtype.tz is not None:
            exact = rows.to_table(columns=[name])[name]
            whole = exact.cast(pa.timestamp("us", dtype.tz), safe=False).cast(dtype)
            if pc.any(pc.not_equal(whole, exact)).as_py():
                found.append(name)
    return found


def _rounded_up(table: pa.Table, names: list[str]) -> pa.Table:
    """Return the table with these times as microseconds, fractions rounded up."""
    for name in names:
        exact = table[name].cast(pa.int64())
        down = pc.divide(exact, _NANOSECONDS)  # towards zero: before 1970 that is up already
        below = pc.less(pc.multiply(down, _NANOSECONDS), exact)
        up = pc.add(down, below.cast(pa.int64())).cast(pa.timestamp("us", "UTC"))
        table = table.set_column(table.column_names.index(name), name, up)
    return table
