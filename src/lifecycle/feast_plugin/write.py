"""What Feast writes offline: rows into a source, saved data sets, logs of served features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource, SavedDatasetFileStorage

from lifecycle.errors import DataError, UsageError
from lifecycle.feast_plugin.files import parquet_path
from lifecycle.feast_plugin.scope import columns_of, lake_settings
from lifecycle.feast_plugin.source import LifecycleSource, SavedDatasetLifecycleStorage
from lifecycle.lake import Lake
from lifecycle.names import quote, quote_all, relation

if TYPE_CHECKING:
    from feast.data_source import DataSource
    from feast.feature_logging import LoggingConfig
    from feast.repo_config import RepoConfig
    from feast.saved_dataset import SavedDatasetStorage

    from lifecycle.config import LakeSettings


class _ColumnsError(DataError, ValueError):
    """Rows that do not fit their source: a ValueError as well, which is what Feast's own stores raise."""


def write_relation(
    settings: LakeSettings, name: str, table: pa.Table, *, mode: Literal["create", "replace", "append"] = "create"
) -> None:
    """
    Write a table as `schema.table` at the lake's head, under its lock.

    create refuses an existing relation, replace drops it, append adds rows by column name. A release made
    before does not show it.
    """
    lake = Lake(settings)
    with lake.lock():
        connection = lake.connect(write=True)
        try:
            exists = bool(columns_of(connection, name))
            if exists and mode == "create":
                raise UsageError(f"{name} is already in the lake. Take another name, or allow overwriting it.")
            connection.register("given", table)
            if exists and mode == "append":
                columns = quote_all(table.column_names)
                connection.execute(f"INSERT INTO {relation(name)} ({columns}) SELECT {columns} FROM given")
                return
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{quote(name.split('.', maxsplit=1)[0])}")
            connection.execute("BEGIN")
            connection.execute(f"DROP TABLE IF EXISTS {relation(name)}")
            connection.execute(f"CREATE TABLE {relation(name)} AS FROM given")
            connection.execute("COMMIT")
        finally:
            connection.close()


def append_rows(config: RepoConfig, source: DataSource, table: pa.Table, expected: dict[str, str]) -> None:
    """
    Append rows to a source.

    expected: the source's columns as Feast sees them. Raises DataError, a ValueError, when the table has others or has
    them in another order, and UsageError for a relation that is derived from events: its rows come through intake
    only, or the next full build would lose them.
    """
    if table.column_names != list(expected):
        raise _ColumnsError(
            f"rows for source {source.name!r} have the columns {table.column_names}; it has {list(expected)}, in this "
            "order. `write_to_offline_store` puts them into it unless it is told reorder_columns=False."
        )
    if not isinstance(source, LifecycleSource):
        _append_parquet(parquet_path(config, source), table)
        return
    settings = lake_settings(config)
    connection = Lake(settings).connect()
    try:
        derived = source.tie_break_in(columns_of(connection, source.relation))
    finally:
        connection.close()
    if derived:
        raise UsageError(
            f"{source.relation} is derived from events ({', '.join(derived)} name the event of each row), so rows "
            "written into it would not survive a rebuild. Take the facts in as events: `lifecycle ingest`."
        )
    write_relation(settings, source.relation, table, mode="append")


def save(config: RepoConfig, storage: SavedDatasetStorage, table: pa.Table, *, overwrite: bool) -> None:
    """
    Write a saved data set into a relation of the lake, a Parquet file or an existing folder of Parquet files.

    overwrite: what is there goes, in a folder every Parquet file. Without it Feast's own error says what is there.
    """
    if isinstance(storage, SavedDatasetLifecycleStorage):
        write_relation(lake_settings(config), storage.relation, table, mode="replace" if overwrite else "create")
        return
    if not isinstance(storage, SavedDatasetFileStorage):
        raise UsageError(
            f"{type(storage).__name__} cannot hold a saved data set here. Use SavedDatasetLifecycleStorage "
            "(a relation of the lake) or SavedDatasetFileStorage (a Parquet file)."
        )
    path = Path(FileSource.get_uri_for_file_path(config.repo_path, storage.file_options.uri))
    if path.exists() and not overwrite:
        raise SavedDatasetLocationAlreadyExists(location=str(path))
    if not path.is_dir():
        _write_parquet(path, table)
        return
    before = list(path.rglob("*.parquet"))
    _write_parquet(path / f"{uuid4().hex}.parquet", table)
    for file in before:
        file.unlink()


def write_logs(config: RepoConfig, data: pa.Table | Path, logging: LoggingConfig, schema: pa.Schema) -> None:
    """Add a Parquet file to the folder of a FileLoggingDestination; `data` is a table or a folder of Parquet."""
    destination = logging.destination
    if not isinstance(destination, FileLoggingDestination):
        raise UsageError(
            f"{type(destination).__name__} cannot hold feature logs here: services never write the lake. "
            "Use FileLoggingDestination (a folder of Parquet files)."
        )
    table = pq.read_table(data) if isinstance(data, Path | str) else data
    table = pa.Table.from_batches(table.cast(schema).to_batches(), schema)
    folder = Path(FileSource.get_uri_for_file_path(config.repo_path, destination.path))
    folder.mkdir(parents=True, exist_ok=True)
    if destination.partition_by:
        pq.write_to_dataset(
            table,
            str(folder),
            partition_cols=destination.partition_by,
            basename_template=f"{uuid4().hex}-{{i}}.parquet",
        )
    else:
        _write_parquet(folder / f"{uuid4().hex}.parquet", table)


def _append_parquet(path: Path, table: pa.Table) -> None:
    if path.is_dir():
        _write_parquet(path / f"{uuid4().hex}.parquet", table)
        return
    before = pq.read_table(path)
    _write_parquet(path, pa.concat_tables([before, table.select(before.column_names).cast(before.schema)]))


def _write_parquet(path: Path, table: pa.Table) -> None:
    """Write beside the target and rename, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    pq.write_table(table, temporary)
    temporary.replace(path)
