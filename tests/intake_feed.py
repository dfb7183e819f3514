"""Small files for intake, and what of the lake its tests look at."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

from lifecycle.pipeline.intake import ingest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CREATED = 1_740_823_201
RECEIVED = "2025-03-01T10:00:02.120000Z"


def charge(event_id="evt_1", *, kind="charge.succeeded", **fields):
    """Return a Stripe event of a charge; `fields` go into its object."""
    described = {"id": "ch_1", "object": "charge", "amount": 1250, "currency": "gbp", "customer": "cus_1"}
    return {
        "id": event_id, "object": "event", "type": kind, "created": CREATED, "account": "acct_1", "livemode": True,
        "api_version": "2025-02-24.acacia", "data": {"object": described | fields},
    }  # fmt: skip


def received(event, at=RECEIVED):
    return {"received_at": at, "event": event}


def as_bytes(lines):
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)


def write(path, lines):
    """Write lines (dicts as JSON, bytes as they are), gzip where the name says so."""
    content = as_bytes(lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def take_in(settings, lake, source, *paths, now=NOW):
    return ingest(settings, lake, source, paths, clock=lambda: now)


def ask(lake, query, *values):
    """Return the rows of a query on the lake's head."""
    connection = lake.connect()
    try:
        return connection.execute(query, list(values)).fetchall()
    finally:
        connection.close()


def reasons(lake):
    """Return (place, reason) of all that was rejected."""
    return ask(lake, "SELECT place, reason FROM lake.raw.quarantine ORDER BY batch_id, place")


def counts(batch):
    """Return (landed, accepted, repeated, rejected), which must add up."""
    assert batch.landed == batch.accepted + batch.repeated + batch.rejected
    return batch.landed, batch.accepted, batch.repeated, batch.rejected


def payloads(lake):
    """Return (type, payload) of every event in the order of landing."""
    rows = ask(lake, "SELECT type, payload FROM lake.raw.events ORDER BY batch_id, event_id")
    return [(kind, json.loads(payload)) for kind, payload in rows]
