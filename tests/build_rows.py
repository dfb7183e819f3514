"""Raw events straight into a lake, in docs/events.md's form and settled as intake does; and what was built of them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa

SCHEMAS = ("staging", "intermediate", "core", "metrics", "features")
START = datetime(2025, 1, 1, tzinfo=UTC)
COLUMNS = {
    "source": "VARCHAR NOT NULL",
    "event_id": "VARCHAR NOT NULL",
    "revision": "BIGINT",
    "content_hash": "VARCHAR NOT NULL",
    "retracted": "BOOLEAN NOT NULL",
    "type": "VARCHAR NOT NULL",
    "event_timestamp": "TIMESTAMPTZ NOT NULL",
    "known_at": "TIMESTAMPTZ NOT NULL",
    "batch_id": "BIGINT NOT NULL",
    "sequence": "BIGINT",
    "payload": "VARCHAR NOT NULL",
    "known_from": "TIMESTAMPTZ NOT NULL",
    "known_until": "TIMESTAMPTZ",
    "settled_batch": "BIGINT NOT NULL",
}
BATCHES = """batch_id BIGINT, source VARCHAR, file VARCHAR, file_hash VARCHAR, landed BIGINT, accepted BIGINT,
    repeated BIGINT, rejected BIGINT, watermark TIMESTAMPTZ, loaded_at TIMESTAMPTZ"""
TYPES = {
    "customer.created": lambda pick: {"id": pick("cus"), "created": 1735689600, "country": pick("country")},
    "customer.updated": lambda pick: {"id": pick("cus"), "country": pick("country"), "delinquent": True},
    "customer.deleted": lambda pick: {"id": pick("cus")},
    "payment_method.attached": lambda pick: {
        "id": pick("pm"), "customer": pick("cus"), "card": {"brand": "visa", "exp_year": 2030},
    },
    "payment_intent.created": lambda pick: {"id": pick("pi"), "customer": pick("cus"), "amount": pick("money")},
    "charge.succeeded": lambda pick: {
        "id": pick("ch"), "customer": pick("cus"), "amount": pick("money"), "currency": "gbp",
        "status": "succeeded", "amount_refunded": 0, "device": pick("dev"), "outcome": {"risk_score": 20},
    },
    "charge.failed": lambda pick: {"id": pick("ch"), "customer": pick("cus"), "amount": 5, "currency": "gbp"},
    "charge.refunded": lambda pick: {
        "id": pick("ch"), "customer": pick("cus"), "amount_refunded": 300, "currency": "gbp", "status": "succeeded",
    },
    "charge.refund.updated": lambda pick: {"id": pick("re"), "charge": pick("ch"), "amount": 300},
    "charge.dispute.created": lambda pick: {
        "id": pick("dp"), "charge": pick("ch"), "amount": 100, "currency": "gbp", "status": "needs_response",
    },
    "charge.dispute.closed": lambda pick: {"id": pick("dp"), "charge": pick("ch"), "status": "lost"},
    "radar.early_fraud_warning.created": lambda pick: {"id": pick("issfr"), "charge": pick("ch")},
    "review.opened": lambda pick: {"id": pick("prv"), "charge": pick("ch"), "open": True},
    "identity.verification_session.created": lambda pick: {"id": pick("vs"), "customer": pick("cus")},
    "identity.verification_session.verified": lambda pick: {
        "id": pick("vs"), "customer": pick("cus"), "status": "verified",
    },
    "link.session.authenticated": lambda pick: {
        "id": pick("ls"), "customer": pick("cus"), "status": "authenticated", "device": {"id": pick("dev")},
    },
    "credit.application.submitted": lambda pick: {"id": pick("ca"), "customer": pick("cus"), "status": "submitted"},
    "credit.account.updated": lambda pick: {
        "id": pick("acc"), "customer": pick("cus"), "status": "current", "balance": pick("money"),
    },
    "credit.statement.issued": lambda pick: {
        "id": pick("stm"), "credit_account": pick("acc"), "customer": pick("cus"), "balance": pick("money"),
        "period_start": 1735689600, "period_end": 1738368000.5,
    },
    "credit.payment.succeeded": lambda pick: {"id": pick("cp"), "credit_account": pick("acc"), "amount": 10},
    "retail.line": lambda pick: {
        "id": pick("line"), "invoice": pick("invoice"), "cancellation": False, "quantity": 2, "line": 1,
        "unit_price": "2.555", "amount": 511, "currency": "gbp", "customer": "17850", "country": "France",
    },
}  # fmt: skip
LISTED = (
    "charge.succeeded",
    "charge.refund.updated",
    "charge.dispute.created",
    "identity.verification_session.created",
)


def random_batches(seed, batches=3, size=150, sizes=None):
    """Return batches of random versions: new, late, amended, moved, key-changed and retracted events of all types."""
    rng = random.Random(seed)
    events, made = [], []
    for number, count in enumerate(sizes or [size] * batches, start=1):
        batch = []
        for _ in range(count):
            if events and rng.random() < 0.25:
                source, event_id, kind, at = rng.choice(events)
            else:
                kind = rng.choice(list(TYPES))
                source = "online-retail" if kind == "retail.line" else "stripe"
                event_id = f"evt_{len(events)}"
                if kind in LISTED and rng.random() < 0.3:
                    source, event_id = "stripe-objects", f"object:{len(events)}"
                at = START + timedelta(minutes=rng.randrange(60 * 24 * 90))
                events.append((source, event_id, kind, at))
            batch.append(_version(rng, number, source, event_id, kind, at))
        made.append(batch)
    return made


def _version(rng, number, source, event_id, kind, at):
    def pick(prefix):
        if prefix == "money":
            return rng.randrange(0, 10**6)
        if prefix == "country":
            return rng.choice(["GB", "FR"])
        return f"{prefix}_{rng.randrange(12)}"

    moved = at + timedelta(days=rng.choice([0, 0, 0, 0, -3, 5]))
    known = moved + timedelta(seconds=rng.choice([0, 1, 60])) + timedelta(days=rng.choice([0, 0, 0, 7, 40]))
    content = TYPES[kind](pick)
    payload = json.dumps({"account": "acct_1", "object": content, "previous": {}}, sort_keys=True)
    return {
        "source": source, "event_id": event_id, "revision": None, "content_hash": f"{rng.getrandbits(64):016x}",
        "retracted": rng.random() < 0.05, "type": kind, "event_timestamp": moved, "known_at": known,
        "batch_id": number, "sequence": rng.choice([None, 1, 2]), "payload": payload,
    }  # fmt: skip


def settle(versions, number):
    """Return every version with the known times in which it is in force, as docs/events.md ranks them."""
    settled = []
    for key in {(row["source"], row["event_id"]) for row in versions}:
        mine = [row for row in versions if (row["source"], row["event_id"]) == key]
        mine.sort(key=lambda row: (row["known_at"], row["content_hash"]))
        for row, following in zip(mine, [*mine[1:], None], strict=True):
            until = None if following is None else following["known_at"]
            changed = "settled_batch" not in row or row["known_until"] != until
            kept = {"known_from": row["known_at"], "known_until": until}
            settled.append(row | kept | {"settled_batch": number if changed else row["settled_batch"]})
    return settled


def write(lake, versions):
    """Make `raw` hold these settled versions and nothing else, writing only what differs, as intake does."""
    types = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    rows = pa.table({name: [row[name] for row in versions] for name in COLUMNS})
    columns = ", ".join(COLUMNS)
    same = " AND ".join(f"rows.{name} IS NOT DISTINCT FROM events.{name}" for name in COLUMNS)
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.raw")
        connection.execute(f"CREATE TABLE IF NOT EXISTS lake.raw.events ({types})")
        connection.execute(f"CREATE TABLE IF NOT EXISTS lake.raw.batches ({BATCHES})")
        connection.register("given", rows)
        connection.execute(f"CREATE TEMP TABLE rows ({types})")
        connection.execute(f"INSERT INTO rows SELECT {columns} FROM given")
        connection.execute("BEGIN")
        connection.execute(f"DELETE FROM lake.raw.events AS events WHERE NOT EXISTS (SELECT 1 FROM rows WHERE {same})")
        connection.execute(f"INSERT INTO lake.raw.events SELECT {columns} FROM rows EXCEPT FROM lake.raw.events")
        connection.execute("COMMIT")
        connection.close()


def contents(lake):
    """Return every built relation's rows, as a sorted list of text."""
    connection = lake.connect()
    tables = connection.execute(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_catalog = 'lake' AND list_contains($schemas, table_schema) ORDER BY 1",
        {"schemas": list(SCHEMAS)},
    ).fetchall()
    found = {
        table: connection.execute(f"SELECT t::VARCHAR FROM lake.{table} AS t ORDER BY 1").fetchall()
        for (table,) in tables
    }
    connection.close()
    return found


def snapshot(lake):
    """Return the number of the lake's newest snapshot."""
    connection = lake.connect()
    newest = lake.snapshot(connection)
    connection.close()
    return newest
