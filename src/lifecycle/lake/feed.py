"""What a table of the lake gained and lost between two snapshots, by DuckLake's change feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.lake.connection import ALIAS
from lifecycle.names import literal, quote, quote_all, relation

if TYPE_CHECKING:
    from collections.abc import Sequence

# What the feed tells row by row. After anything else that names the table's number (altered, merged, rewritten, ...) it
# cannot be trusted; a table that was renamed keeps number and rows.
_TOLD = ("tables_inserted_into", "tables_deleted_from", "inlined_insert", "inlined_delete")
_METADATA = f"__ducklake_metadata_{ALIAS}"


@dataclass(frozen=True)
class Changes:
    """
    SQL, to be read FROM, of the rows that came and of those that went; a row that came and went again is in both.

    Which rows is right, how often each is told is not: DuckLake (DuckDB 1.5.5) tells a row twice that one statement of
    a transaction takes out of a file which another statement empties.
    """

    came: str
    went: str

    def of(self, columns: Sequence[str]) -> str:
        """Return SQL of these columns of all of them, each value once, those with a NULL left out."""
        listed, known = quote_all(columns), " AND ".join(f"{quote(name)} IS NOT NULL" for name in columns)
        both = f"SELECT {listed} FROM {self.came} UNION SELECT {listed} FROM {self.went}"
        return f"SELECT * FROM ({both}) WHERE {known}"


def table_number(connection: Any, name: str, snapshot: int) -> int | None:
    """Return DuckLake's number of the table `schema.table` at a snapshot: another once it was replaced, or None."""
    stands = "{0}.begin_snapshot <= $at AND ({0}.end_snapshot IS NULL OR {0}.end_snapshot > $at)"
    schema, table = name.split(".")
    row = connection.execute(
        f"""
        SELECT tables.table_id
        FROM {_METADATA}.ducklake_table AS tables JOIN {_METADATA}.ducklake_schema AS schemas USING (schema_id)
        WHERE lower(schemas.schema_name) = lower($schema) AND lower(tables.table_name) = lower($table)
            AND {stands.format("tables")} AND {stands.format("schemas")}
        """,
        {"schema": schema, "table": table, "at": snapshot},
    ).fetchone()
    return int(row[0]) if row else None


def changes(connection: Any, name: str, since: int, until: int) -> Changes | None:
    """
    Return what changed in the table `schema.table` after snapshot `since`, up to snapshot `until`.

    None where the feed cannot tell: a snapshot from the earlier one on is there no more, or the table was not the same
    one then, or was changed in another way than by rows that come and go.
    """
    number = table_number(connection, name, until)
    if number is None or table_number(connection, name, since) != number:
        return None
    kept, otherwise = connection.execute(
        f"""
        WITH snapshots AS (SELECT snapshot_id, changes FROM ducklake_snapshots('{ALIAS}')),
        later AS (
            SELECT unnest(map_entries(changes)) AS change FROM snapshots
            WHERE snapshot_id > $since AND snapshot_id <= $until
        )
        SELECT
            (SELECT count(*) FROM snapshots WHERE snapshot_id BETWEEN $since AND $until),
            (SELECT count(*) FROM later WHERE change.key NOT IN $told AND list_contains(change.value, $number))
        """,
        {"since": since, "until": until, "told": _TOLD, "number": str(number)},
    ).fetchone()
    # Snapshots are numbered without gaps, and one that has expired tells no more what it changed.
    if kept != until - since + 1 or otherwise:
        return None
    if since == until:
        nothing = f"(FROM {relation(name)} LIMIT 0)"
        return Changes(nothing, nothing)
    place = f"'{ALIAS}', {', '.join(map(literal, name.split('.')))}, {since + 1}, {until}"
    return Changes(f"ducklake_table_insertions({place})", f"ducklake_table_deletions({place})")
