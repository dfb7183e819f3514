"""What a table of the lake gained and lost since an earlier snapshot, by DuckLake's change feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.lake.connection import ALIAS
from lifecycle.names import literal, quote_all, relation

if TYPE_CHECKING:
    from collections.abc import Iterable

# What the feed tells row by row. After anything else (altered, merged, rewritten, ...) it cannot be trusted.
_TOLD = ("tables_inserted_into", "tables_deleted_from", "inlined_insert", "inlined_delete")


def table_number(connection: Any, name: str) -> int | None:
    """Return DuckLake's number of the table `schema.table`, another once it was replaced; None for what is no table."""
    schema, table = name.split(".")
    row = connection.execute(
        f"""
        SELECT tables.table_id FROM __ducklake_metadata_{ALIAS}.ducklake_table AS tables
        JOIN __ducklake_metadata_{ALIAS}.ducklake_schema AS schemas USING (schema_id)
        WHERE schemas.schema_name = ? AND tables.table_name = ?
            AND tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL
        """,
        [schema, table],
    ).fetchone()
    return int(row[0]) if row else None


def rows_changed(connection: Any, name: str, columns: Iterable[str], since: int) -> str | None:
    """
    Return SQL of these columns of the rows that the table `schema.table` gained or lost after snapshot `since`.

    None where the feed cannot tell: the snapshot is there no more, or the table was changed in another way than by
    rows coming and going. The caller makes sure that it was not replaced (`table_number`).
    """
    there, last, otherwise = connection.execute(
        f"""
        WITH snapshots AS (SELECT snapshot_id, changes FROM ducklake_snapshots('{ALIAS}')),
        later AS (
            SELECT unnest(map_entries(changes)) AS change FROM snapshots WHERE snapshot_id > $since
        )
        SELECT
            (SELECT count(*) FROM snapshots WHERE snapshot_id = $since),
            (SELECT max(snapshot_id) FROM snapshots),
            (SELECT count(*) FROM later WHERE change.key NOT IN $told AND list_contains(change.value, $number))
        """,
        {"since": since, "told": _TOLD, "number": str(table_number(connection, name))},
    ).fetchone()
    if not there or otherwise:
        return None
    listed = quote_all(columns)
    if last == since:
        return f"SELECT {listed} FROM {relation(name)} LIMIT 0"
    schema, table = map(literal, name.split("."))
    return " UNION ALL ".join(
        f"SELECT {listed} FROM ducklake_table_{way}('{ALIAS}', {schema}, {table}, {since + 1}, {last})"
        for way in ("insertions", "deletions")
    )
