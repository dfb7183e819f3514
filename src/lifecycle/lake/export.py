"""One release as one plain DuckDB file, readable anywhere without the lake."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import duckdb

from lifecycle.errors import PlatformError, UsageError
from lifecycle.lake import macros
from lifecycle.lake.connection import ALIAS
from lifecycle.names import literal, quote, relation

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.lake.connection import Lake
    from lifecycle.lake.ledger import Release

_TARGET = "target"


def export(lake: Lake, release: Release, path: Path, *, force: bool = False) -> None:
    """
    Write every table of `release` to the DuckDB file `path`, under the same `schema.table`; views become tables.

    `main.lifecycle_release` names the release in one row, and the as-of macros are there too. The file appears
    whole or not at all. Raises UsageError when it exists already (unless `force`) or its folder does not.
    """
    if path.exists() and (not force or not path.is_file()):
        raise UsageError(f"{path} exists already. Choose another name, or replace the file with --force.")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} to. Make it first.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    connection = lake.connect(release.snapshot)
    try:
        connection.execute(f"ATTACH {literal(str(part))} AS {_TARGET}")
        for table in lake.tables(connection):
            _copy(connection, table)
        for statement in macros.statements(f"MACRO {_TARGET}.main."):
            connection.execute(statement)
        _sign(connection, release)
        connection.execute(f"DETACH {_TARGET}")
        part.replace(path)
    except (duckdb.Error, OSError) as error:
        raise PlatformError(f"release {release.number} could not be written to {path}: {error}") from error
    finally:
        connection.close()
        part.unlink(missing_ok=True)
        part.with_name(part.name + ".wal").unlink(missing_ok=True)


def _copy(connection: Any, table: str) -> None:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_TARGET}.{quote(table.split('.', maxsplit=1)[0])}")
    connection.execute(f"CREATE TABLE {relation(table, _TARGET)} AS FROM {relation(table, ALIAS)}")


def _sign(connection: Any, release: Release) -> None:
    connection.execute(
        f"CREATE TABLE {relation('main.lifecycle_release', _TARGET)} AS SELECT $number::BIGINT AS number, "
        "$made_at::TIMESTAMPTZ AS made_at, $code_hash AS code_hash, $definitions_hash AS definitions_hash",
        {
            "number": release.number,
            "made_at": release.made_at,
            "code_hash": release.code_hash,
            "definitions_hash": release.definitions.hash,
        },
    )
