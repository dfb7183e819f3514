"""A small lake with every relation that feature_repo reads, and one release of it: neither intake nor dbt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lifecycle.lake import Lake, Ledger, Release
from lifecycle.names import quote, relation

if TYPE_CHECKING:
    from lifecycle.config import Settings
    from lifecycle.definitions import Definitions

DAY_0 = datetime(2026, 3, 1, tzinfo=UTC)
WATERMARK = DAY_0 + timedelta(days=30)
EVENT = "event_timestamp TIMESTAMPTZ, known_at TIMESTAMPTZ, sequence BIGINT, event_id VARCHAR, content_hash VARCHAR, "
EVENT += "deleted BOOLEAN"
VERSION = EVENT.replace("known_at TIMESTAMPTZ", "known_from TIMESTAMPTZ, known_until TIMESTAMPTZ").removesuffix(
    ", deleted BOOLEAN"
)

# relation: (key, features with types)
RELATIONS = {
    "consumer_profile": (
        "consumer_id",
        "country VARCHAR, currency VARCHAR, email_domain VARCHAR, delinquent BOOLEAN, signed_up_at TIMESTAMPTZ",
    ),
    "consumer_payment": (
        "consumer_id",
        (
            "last_charge_amount BIGINT, last_charge_currency VARCHAR, last_charge_status VARCHAR, "
            "last_charge_failure_code VARCHAR, last_charge_merchant VARCHAR, last_charge_risk_score BIGINT, "
            "last_charge_device VARCHAR, last_charge_ip_country VARCHAR, last_card_country VARCHAR, "
            "last_charge_at TIMESTAMPTZ"
        ),
    ),
    "consumer_refund": (
        "consumer_id",
        "last_refund_amount BIGINT, last_refund_currency VARCHAR, last_refund_at TIMESTAMPTZ",
    ),
    "consumer_dispute": (
        "consumer_id",
        (
            "last_dispute_amount BIGINT, last_dispute_currency VARCHAR, last_dispute_reason VARCHAR, "
            "last_dispute_status VARCHAR, "
            "last_dispute_at TIMESTAMPTZ"
        ),
    ),
    "consumer_identity": (
        "consumer_id",
        (
            "verification_status VARCHAR, verification_type VARCHAR, verification_error_code VARCHAR, "
            "document_type VARCHAR, document_country VARCHAR, verification_at TIMESTAMPTZ"
        ),
    ),
    "consumer_session": (
        "consumer_id",
        (
            "session_status VARCHAR, auth_method VARCHAR, device_id VARCHAR, device_type VARCHAR, device_os VARCHAR, "
            "session_ip_country VARCHAR, session_merchant VARCHAR, session_at TIMESTAMPTZ"
        ),
    ),
    "device_session": (
        "device_id",
        "last_consumer_id VARCHAR, last_session_status VARCHAR, last_ip_country VARCHAR, last_session_at TIMESTAMPTZ",
    ),
    "consumer_credit": (
        "consumer_id",
        "credit_status VARCHAR, days_past_due BIGINT, credit_limit BIGINT, balance BIGINT, credit_currency VARCHAR",
    ),
    "consumer_credit_application": (
        "consumer_id",
        "application_status VARCHAR, amount_requested BIGINT, term_months BIGINT, application_at TIMESTAMPTZ",
    ),
    "consumer_lifecycle": ("consumer_id", "lifecycle_stage VARCHAR, stage_since TIMESTAMPTZ"),
    "consumer_score": (
        "consumer_id",
        (
            "score_model VARCHAR, value_currency VARCHAR, horizon_days BIGINT, purchase_days BIGINT, p_alive DOUBLE, "
            "expected_purchases DOUBLE, expected_amount BIGINT, expected_value BIGINT, scored_at TIMESTAMPTZ"
        ),
    ),
    "charge_status": (
        "charge_id",
        (
            "charge_status VARCHAR, charge_amount BIGINT, charge_currency VARCHAR, amount_refunded BIGINT, "
            "dispute_status VARCHAR, fraud_warning BOOLEAN"
        ),
    ),
    "payment_method_profile": (
        "payment_method_id",
        (
            "card_brand VARCHAR, card_country VARCHAR, card_funding VARCHAR, card_exp_year BIGINT, "
            "card_fingerprint_hash VARCHAR, attached_consumer_id VARCHAR"
        ),
    ),
    # Versions of events, which windows read.
    "charge_events": (
        "consumer_id",
        (
            "charge_id VARCHAR, device_id VARCHAR, card_hash VARCHAR, ip_prefix_hash VARCHAR, ip_country VARCHAR, "
            "merchant VARCHAR, amount BIGINT, currency VARCHAR, status VARCHAR, failed BOOLEAN, risk_score BIGINT"
        ),
    ),
    "refund_events": ("consumer_id", "refund_id VARCHAR, amount BIGINT, currency VARCHAR"),
    "dispute_events": (
        "consumer_id",
        "dispute_id VARCHAR, charge_id VARCHAR, card_hash VARCHAR, amount BIGINT, reason VARCHAR",
    ),
    "verification_events": ("consumer_id", "session_id VARCHAR, status VARCHAR, type VARCHAR"),
    "session_events": (
        "consumer_id",
        "session_id VARCHAR, device_id VARCHAR, status VARCHAR, ip_country VARCHAR, ip_prefix_hash VARCHAR",
    ),
    "credit_application_events": ("consumer_id", "application_id VARCHAR, status VARCHAR, amount_requested BIGINT"),
    "credit_payment_events": ("consumer_id", "credit_payment_id VARCHAR, status VARCHAR, amount BIGINT"),
    "credit_statement_events": ("consumer_id", "statement_id VARCHAR, balance BIGINT, currency VARCHAR"),
    "credit_account_events": ("consumer_id", "status VARCHAR, days_past_due BIGINT, balance BIGINT, currency VARCHAR"),
}
BIG = 2**53 + 1  # the first whole number that a float cannot hold


def day(number: float) -> datetime:
    """Return a moment, in days after DAY_0."""
    return DAY_0 + timedelta(days=number)


CHARGE = {
    "device_id": "d1",
    "card_hash": "k1",
    "ip_prefix_hash": "i1",
    "merchant": "m1",
    "currency": "usd",
    "status": "succeeded",
    "failed": False,
}
# (relation, key, event day, known day, event id, features; None is a tombstone)
ROWS: list[tuple[str, str, float, float, str, dict[str, Any] | None]] = [
    ("consumer_profile", "c1", 1, 1, "p1", {"country": "DE", "delinquent": False}),
    ("consumer_profile", "c1", 5, 5, "p2", {"country": "FR", "delinquent": True}),
    ("consumer_profile", "c2", 1, 1, "p3", {"country": "IE"}),
    ("consumer_profile", "c2", 9, 9, "p4", None),
    ("consumer_payment", "c1", 2, 2, "ch_1", {"last_charge_amount": BIG, "last_charge_status": "succeeded"}),
    ("consumer_payment", "c1", 4, 4, "ch_2", {"last_charge_amount": 400, "last_charge_status": "failed"}),
    ("consumer_payment", "c3", 4, 4, "ch_3", {"last_charge_amount": BIG}),
    # True on day 3, known only on day 20: a frame before day 20 must not have it.
    ("consumer_identity", "c1", 3, 20, "v2", {"verification_status": "verified"}),
    ("consumer_identity", "c1", 1, 1, "v1", {"verification_status": "requires_input"}),
    # The same moment twice: the greater event id wins.
    ("consumer_lifecycle", "c1", 6, 6, "l1", {"lifecycle_stage": "active"}),
    ("consumer_lifecycle", "c1", 6, 6, "l2", {"lifecycle_stage": "paused"}),
    ("consumer_session", "c1", 7, 7, "s1", {"session_status": "authenticated", "device_id": "d1"}),
    ("device_session", "d1", 7, 7, "s1", {"last_consumer_id": "c1"}),
    ("charge_status", "ch_1", 2, 2, "ch_1", {"charge_amount": BIG, "fraud_warning": False}),
    ("payment_method_profile", "pm1", 1, 1, "pm1", {"card_brand": "visa", "card_exp_year": 2030}),
    ("consumer_credit", "c1", 8, 8, "cr1", {"credit_status": "current", "balance": 100}),
    ("charge_events", "c1", 2, 2, "ch_1", CHARGE | {"amount": BIG}),
    ("charge_events", "c1", 4, 4, "ch_2", CHARGE | {"amount": 400, "status": "failed", "failed": True}),
    # In another currency, on the same card, and known only on day 20.
    ("charge_events", "c1", 6, 20, "ch_4", CHARGE | {"amount": 700, "currency": "eur", "merchant": "m2"}),
    ("charge_events", "c3", 4, 4, "ch_3", CHARGE | {"amount": BIG, "device_id": None}),
    ("session_events", "c1", 7, 7, "s1", {"status": "authenticated", "device_id": "d1", "ip_country": "DE"}),
    ("verification_events", "c1", 1, 1, "v1", {"session_id": "vs1", "status": "requires_input"}),
    ("verification_events", "c1", 3, 20, "v2", {"session_id": "vs1", "status": "verified"}),
]


def make_lake(settings: Settings) -> Lake:
    """Write every relation with its rows."""
    lake = Lake(settings.lake)
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("BEGIN")
        connection.execute("CREATE SCHEMA lake.features")
        for name, (key, features) in RELATIONS.items():
            times = VERSION if name.endswith("_events") else EVENT
            connection.execute(f"CREATE TABLE {relation(f'features.{name}')} ({key} VARCHAR, {times}, {features})")
        for row in ROWS:
            add_row(connection, *row)
        connection.execute("COMMIT")
        connection.close()
    return lake


def add_row(
    connection: Any, name: str, key: str, event: float, known: float, event_id: str, values: dict[str, Any] | None
) -> None:
    """Add one version of a state (without values, a tombstone) or of an event."""
    row = {
        RELATIONS[name][0]: key,
        "event_timestamp": day(event),
        "event_id": event_id,
        "content_hash": event_id,
        **(values or {}),
    }
    row |= (
        {"known_from": day(known)} if name.endswith("_events") else {"known_at": day(known), "deleted": values is None}
    )
    columns = ", ".join(quote(column) for column in row)
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {relation(f'features.{name}')} ({columns}) VALUES ({marks})", list(row.values()))


def make_release(lake: Lake, definitions: Definitions, number: int = 1) -> Release:
    """Put a release of the lake's head into the ledger."""
    connection = lake.connect()
    snapshot = lake.snapshot(connection)
    connection.close()
    release = Release(
        number=number,
        made_at=WATERMARK,
        high_water=number,
        code_hash="test",
        snapshot=snapshot,
        watermarks={"stripe": WATERMARK},
        definitions=definitions,
    )
    Ledger(lake).append(release)
    return release
