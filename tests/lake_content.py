"""Small lakes for tests: raw relations as intake writes them, and releases in the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lifecycle.definitions import Definitions
from lifecycle.lake import Ledger, Release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.lake import Lake

MADE_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

RAW = (
    "CREATE SCHEMA lake.raw",
    """CREATE TABLE lake.raw.events AS
    SELECT 'stripe' AS source, 'evt_' || i AS event_id, NULL::BIGINT AS revision, md5(i::VARCHAR) AS content_hash,
        false AS retracted, 'charge.succeeded' AS type, TIMESTAMPTZ '2025-01-01 00:00:00+00' AS event_timestamp,
        TIMESTAMPTZ '2025-01-01 00:00:05+00' AS known_at, 1::BIGINT AS batch_id, NULL::BIGINT AS sequence,
        '{"object": {}}' AS payload, TIMESTAMPTZ '2025-01-01 00:00:05+00' AS known_from,
        NULL::TIMESTAMPTZ AS known_until, 1::BIGINT AS settled_batch
    FROM range(10) AS numbers(i)""",
    """CREATE TABLE lake.raw.batches AS
    SELECT 1::BIGINT AS batch_id, 'stripe' AS source, 'one.ndjson' AS file, 'abc' AS file_hash, 12::BIGINT AS landed,
        10::BIGINT AS accepted, 1::BIGINT AS repeated, 1::BIGINT AS rejected,
        TIMESTAMPTZ '2025-01-01 00:00:05+00' AS watermark, TIMESTAMPTZ '2025-01-02 00:00:00+00' AS loaded_at""",
    """CREATE TABLE lake.raw.quarantine AS
    SELECT 1::BIGINT AS batch_id, 'stripe' AS source, 'one.ndjson' AS file, 12::BIGINT AS place,
        'not_json' AS reason, 'not JSON' AS detail, 'x'::BLOB AS record""",
)
CHARGES = (
    "CREATE SCHEMA lake.core",
    """CREATE TABLE lake.core.charges AS
    SELECT 'ch_' || i AS charge_id, 'cus_' || i % 3 AS consumer_id, (i * 100)::BIGINT AS amount, 'usd' AS currency
    FROM range(10) AS numbers(i)""",
)


def write(lake: Lake, *statements: str) -> int:
    """Run statements as the writer; return the snapshot they left."""
    with lake.lock():
        connection = lake.connect(write=True)
        try:
            for statement in statements:
                connection.execute(statement)
            return lake.snapshot(connection)
        finally:
            connection.close()


def read(lake: Lake, query: str, snapshot: int | None = None) -> Sequence[tuple[object, ...]]:
    """Return a query's rows at a snapshot."""
    connection = lake.connect(snapshot)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def release(lake: Lake, number: int, snapshot: int) -> Release:
    """Append a release to the lake's ledger."""
    made = Release(
        number=number,
        made_at=MADE_AT,
        high_water=number * 10,
        code_hash=f"code {number}",
        snapshot=snapshot,
        watermarks={"stripe": MADE_AT},
        definitions=Definitions(),
    )
    Ledger(lake).append(made)
    return made
