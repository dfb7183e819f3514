"""
The relations of the schema `raw`, and the one transaction that lands a batch in them.

The batch's records wait in two Parquet files; DuckDB reads them from there, so a file larger than memory lands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.errors import PlatformError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

_TABLES = {
    "events": """source VARCHAR NOT NULL, event_id VARCHAR NOT NULL, revision BIGINT, content_hash VARCHAR NOT NULL,
        retracted BOOLEAN NOT NULL, type VARCHAR NOT NULL, event_timestamp TIMESTAMPTZ NOT NULL,
        known_at TIMESTAMPTZ NOT NULL, batch_id BIGINT NOT NULL, sequence BIGINT, payload VARCHAR NOT NULL,
        known_from TIMESTAMPTZ NOT NULL, known_until TIMESTAMPTZ, settled_batch BIGINT NOT NULL""",
    "batches": """batch_id BIGINT NOT NULL, source VARCHAR NOT NULL, file VARCHAR NOT NULL, file_hash VARCHAR NOT NULL,
        landed BIGINT NOT NULL, accepted BIGINT NOT NULL, repeated BIGINT NOT NULL, rejected BIGINT NOT NULL,
        dropped_fields BIGINT NOT NULL, watermark TIMESTAMPTZ, loaded_at TIMESTAMPTZ NOT NULL""",
    "quarantine": """batch_id BIGINT NOT NULL, source VARCHAR NOT NULL, file VARCHAR NOT NULL, place BIGINT NOT NULL,
        reason VARCHAR NOT NULL, detail VARCHAR NOT NULL, record BLOB NOT NULL""",
    "key_check": "value VARCHAR NOT NULL",
}

# A version is (source, event_id, its revision, or where it has none its content hash).
_VERSION = "event_id, revision, CASE WHEN revision IS NULL THEN content_hash END"

_NEWCOMERS = f"""
CREATE OR REPLACE TEMP TABLE newcomers AS
WITH staged AS (SELECT place, event_id, revision, content_hash, known_at, sequence FROM read_parquet($staged)),
firsts AS (
    SELECT * FROM staged
    QUALIFY row_number() OVER (
        PARTITION BY {_VERSION} ORDER BY known_at, content_hash, sequence NULLS FIRST, place
    ) = 1
),
here AS (
    SELECT event_id, revision, content_hash FROM lake.raw.events
    WHERE source = $source AND event_id IN (SELECT event_id FROM firsts)
)
SELECT firsts.place, firsts.event_id, firsts.revision, firsts.content_hash, firsts.known_at FROM firsts
WHERE NOT EXISTS (
    SELECT 1 FROM here
    WHERE here.event_id = firsts.event_id AND here.revision IS NOT DISTINCT FROM firsts.revision
        AND (firsts.revision IS NOT NULL OR here.content_hash = firsts.content_hash)
)"""

# In force from its known_at until the earliest known_at of a version that ranks above it.
_SETTLED = """
CREATE OR REPLACE TEMP TABLE settled AS
WITH versions AS (
    SELECT event_id, revision, content_hash, known_at, NULL::TIMESTAMPTZ AS before, place FROM newcomers
    UNION ALL
    SELECT event_id, revision, content_hash, known_at, known_until, NULL FROM lake.raw.events
    WHERE source = $source AND event_id IN (SELECT event_id FROM newcomers)
),
ranked AS (
    SELECT *, min(known_at) OVER (
        PARTITION BY event_id ORDER BY revision NULLS FIRST, known_at, content_hash
        ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS superseded
    FROM versions
)
SELECT event_id, revision, content_hash, place, before,
    CASE WHEN superseded IS NOT NULL THEN greatest(known_at, superseded) END AS known_until
FROM ranked"""

_INSERT = """
INSERT INTO lake.raw.events
SELECT $source, staged.event_id, staged.revision, staged.content_hash, staged.retracted, staged.type,
    staged.event_timestamp, staged.known_at, $batch, staged.sequence, staged.payload, staged.known_at,
    settled.known_until, $batch
FROM read_parquet($staged) AS staged JOIN settled ON settled.place = staged.place"""

_UPDATE = """
UPDATE lake.raw.events AS events SET known_until = settled.known_until, settled_batch = $batch
FROM settled
WHERE settled.place IS NULL AND settled.known_until IS DISTINCT FROM settled.before
    AND events.source = $source AND events.event_id = settled.event_id
    AND events.revision IS NOT DISTINCT FROM settled.revision AND events.content_hash = settled.content_hash"""

_CHANGED = """
SELECT count(*) FROM settled WHERE place IS NULL AND known_until IS DISTINCT FROM before"""

_QUARANTINE = """
INSERT INTO lake.raw.quarantine
SELECT $batch, $source, $file, place, reason, detail, record FROM read_parquet($staged) ORDER BY place"""


@dataclass(frozen=True)
class Batch:
    """
    One file taken in. landed = accepted + repeated + rejected, always.

    file: the file's name, without folders; file_hash: SHA-256 of its bytes. watermark: the greatest known time
    among the facts that the file delivered, accepted or repeated (None when all were rejected), no later than
    loaded_at; all facts of the source known up to it are in. dropped_fields: mutable fields left out, which
    would tell today's state as history. Times are UTC.
    """

    batch_id: int
    source: str
    file: str
    file_hash: str
    landed: int
    accepted: int
    repeated: int
    rejected: int
    dropped_fields: int
    watermark: datetime | None
    loaded_at: datetime

    def __str__(self) -> str:
        dropped = f"; {self.dropped_fields:,} mutable fields dropped" if self.dropped_fields else ""
        return (
            f"batch {self.batch_id}, {self.file}: {self.landed:,} landed = {self.accepted:,} accepted + "
            f"{self.repeated:,} repeated + {self.rejected:,} rejected{dropped}"
        )


@dataclass(frozen=True)
class Staged:
    """
    A file's records, ready to land: Parquet files of events and of rejections (None where there are none).

    landed: records read. watermark as in Batch.
    """

    source: str
    file: str
    file_hash: str
    landed: int
    rejected: int
    dropped_fields: int
    watermark: datetime | None
    loaded_at: datetime
    events: Path | None
    rejections: Path | None


def refuse_other_key(connection: Any, value: str) -> None:
    """Raise UsageError when this lake's hashes were made with another key."""
    if not has_table(connection, "key_check"):
        return
    row = connection.execute("SELECT value FROM lake.raw.key_check").fetchone()
    if row is not None and row[0] != value:
        raise UsageError(
            "LIFECYCLE_KEY is not the key that this lake was filled with: every person, card and device would "
            "get a second hash and count as a stranger. Set the key of the earlier runs, or begin an empty lake "
            "by setting LIFECYCLE_HOME to another folder."
        )


def has_table(connection: Any, name: str) -> bool:
    """Whether `raw.NAME` exists in the lake."""
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = 'raw' AND table_name = ?", [name]
    ).fetchone()
    return found is not None


def land(connection: Any, staged: Staged, key_check: str) -> Batch:
    """Write a batch: events, settled versions, quarantine and the batch's row, all in one transaction or not at all."""
    connection.execute("BEGIN")
    try:
        _create(connection, key_check)
        number = _one(connection, "SELECT coalesce(max(batch_id), 0) + 1 FROM lake.raw.batches")
        accepted = _land_events(connection, staged, number) if staged.events else 0
        if staged.rejections:
            values = {"batch": number, "source": staged.source, "file": staged.file, "staged": str(staged.rejections)}
            connection.execute(_QUARANTINE, values)
        batch = _batch(connection, staged, number, accepted)
        row = [getattr(batch, name) for name in Batch.__dataclass_fields__]
        connection.execute(f"INSERT INTO lake.raw.batches VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return batch


def _create(connection: Any, key_check: str) -> None:
    if has_table(connection, "key_check"):
        return
    connection.execute("CREATE SCHEMA IF NOT EXISTS lake.raw")
    for name, columns in _TABLES.items():
        connection.execute(f"CREATE TABLE lake.raw.{name} ({columns})")
    connection.execute("INSERT INTO lake.raw.key_check VALUES (?)", [key_check])


def _land_events(connection: Any, staged: Staged, number: int) -> int:
    """Insert what is new, settle what it supersedes, and return how many rows were inserted."""
    file = str(staged.events)
    connection.execute(_NEWCOMERS, {"staged": file, "source": staged.source})
    accepted = _one(connection, "SELECT count(*) FROM newcomers")
    if accepted:
        connection.execute(_SETTLED, {"source": staged.source})
        if _one(connection, _CHANGED):
            connection.execute(_UPDATE, {"source": staged.source, "batch": number})
        connection.execute(_INSERT, {"staged": file, "source": staged.source, "batch": number})
    connection.execute("DROP TABLE IF EXISTS newcomers; DROP TABLE IF EXISTS settled")
    return accepted


def _batch(connection: Any, staged: Staged, number: int, accepted: int) -> Batch:
    """Count what is in the lake now against what was read; PlatformError where a record went missing."""
    inside = _one(connection, "SELECT count(*) FROM lake.raw.events WHERE batch_id = ?", [number])
    aside = _one(connection, "SELECT count(*) FROM lake.raw.quarantine WHERE batch_id = ?", [number])
    repeated = staged.landed - staged.rejected - accepted
    if inside != accepted or aside != staged.rejected or repeated < 0:
        raise PlatformError(
            f"{staged.file} does not reconcile: {staged.landed} records were read, {accepted} accepted and "
            f"{staged.rejected} rejected, but {inside} and {aside} landed. Nothing of it was kept; report this."
        )
    return Batch(
        number, staged.source, staged.file, staged.file_hash, staged.landed, accepted, repeated, staged.rejected,
        staged.dropped_fields, staged.watermark, staged.loaded_at,
    )  # fmt: skip


def _one(connection: Any, query: str, values: list[Any] | None = None) -> int:
    return int(connection.execute(query, values or []).fetchone()[0])


def watermarks(connection: Any) -> dict[str, datetime]:
    """Return each source's watermark (UTC): all its facts with `known_at` up to it are in."""
    if not has_table(connection, "batches"):
        return {}
    rows: Iterator[tuple[str, datetime]] = connection.execute(
        "SELECT source, max(watermark) FROM lake.raw.batches WHERE watermark IS NOT NULL "
        "GROUP BY source ORDER BY source"
    ).fetchall()
    return dict(rows)
