"""
Sources of window features: what happened to a key in the hours and days before the observed moment.

A feature's name is its stem and its window, such as `charges_7d`; docs/add-a-feature.md has the convention. Sums of
money are keyed by the currency besides (`charge_currency`), so that none mixes two.
"""

from lifecycle.feast_plugin.aggregations import WindowAggregation
from lifecycle.feast_plugin.source import LifecycleSource

VELOCITY = ("1h", "24h", "7d", "30d", "90d")
SLOW = ("7d", "30d", "90d")
CREDIT = ("30d", "90d", "365d")
CHARGES = "features.charge_events"
CHARGE_ID = "charge_id"  # several events may tell of one charge
SUCCEEDED = "status = 'succeeded'"


def spend(prefix: str) -> list[WindowAggregation]:
    """Return what was paid, in minor units of the key's currency."""
    return [
        WindowAggregation(f"{prefix}spend", "sum", "amount", windows=VELOCITY, where=SUCCEEDED),
        WindowAggregation(f"{prefix}mean_charge", "mean", "amount", windows=VELOCITY, where=SUCCEEDED),
        WindowAggregation(f"{prefix}max_charge", "max", "amount", windows=VELOCITY, where=SUCCEEDED),
    ]


def velocity(prefix: str) -> list[WindowAggregation]:
    """Return how often a thing that is no consumer pays, how often in vain, and for how many consumers."""
    return [
        WindowAggregation(f"{prefix}_charges", "count", windows=VELOCITY),
        WindowAggregation(f"{prefix}_failure_rate", "rate", "failed", windows=VELOCITY),
        WindowAggregation(f"{prefix}_consumers", "count_distinct", "consumer_id", windows=VELOCITY),
        WindowAggregation(f"{prefix}_merchants", "count_distinct", "merchant", windows=VELOCITY),
    ]


consumer_charges = LifecycleSource(
    name="consumer_charges",
    relation=CHARGES,
    event_id=CHARGE_ID,
    aggregations=[
        WindowAggregation("charges", "count", windows=VELOCITY),
        WindowAggregation("failure_rate", "rate", "failed", windows=VELOCITY),
        WindowAggregation("merchants", "count_distinct", "merchant", windows=VELOCITY),
        WindowAggregation("cards", "count_distinct", "card_hash", windows=VELOCITY),
        WindowAggregation("seconds_since_charge", "seconds_since_last"),
        WindowAggregation("seconds_since_first_charge", "seconds_since_first"),
    ],
)
consumer_spend = LifecycleSource(
    name="consumer_spend",
    relation=CHARGES,
    event_id=CHARGE_ID,
    money={"amount": "currency"},
    field_mapping={"currency": "charge_currency"},
    aggregations=[*spend(""), WindowAggregation("std_charge", "std", "amount", windows=("90d",), where=SUCCEEDED)],
)
card_spend = LifecycleSource(
    name="card_spend",
    relation=CHARGES,
    event_id=CHARGE_ID,
    money={"amount": "currency"},
    field_mapping={"currency": "charge_currency"},
    aggregations=spend("card_"),
)
card_charges = LifecycleSource(name="card_charges", relation=CHARGES, event_id=CHARGE_ID, aggregations=velocity("card"))
device_charges = LifecycleSource(
    name="device_charges",
    relation=CHARGES,
    event_id=CHARGE_ID,
    aggregations=[
        *velocity("device"),
        WindowAggregation("device_cards", "count_distinct", "card_hash", windows=VELOCITY),
    ],
)
ip_charges = LifecycleSource(
    name="ip_charges",
    relation=CHARGES,
    event_id=CHARGE_ID,
    aggregations=[
        *velocity("ip"),
        WindowAggregation("ip_cards", "count_distinct", "card_hash", windows=VELOCITY),
    ],
)
# The consumer's last charges in order of time, as lists of one length: what a sequence model reads.
consumer_recent_charges = LifecycleSource(
    name="consumer_recent_charges",
    relation=CHARGES,
    event_id=CHARGE_ID,
    aggregations=[
        WindowAggregation(
            "recent_charge",
            "last_k",
            ("event_timestamp", "status", "amount", "currency", "merchant"),
            windows=("90d",),
            parameter=20,
        ),
    ],
)
consumer_verifications = LifecycleSource(
    name="consumer_verifications",
    relation="features.verification_events",
    aggregations=[
        WindowAggregation("identity_checks", "count_distinct", "session_id", windows=VELOCITY),
        WindowAggregation(
            "identity_events", "count", windows=SLOW, bucket="status", values=("requires_input", "verified", "canceled")
        ),
        WindowAggregation("seconds_since_verified", "seconds_since_last", where="status = 'verified'"),
    ],
)
consumer_logins = LifecycleSource(
    name="consumer_logins",
    relation="features.session_events",
    aggregations=[
        WindowAggregation("logins", "count", windows=VELOCITY, bucket="status", values=("authenticated", "failed")),
        WindowAggregation("login_devices", "count_distinct", "device_id", windows=VELOCITY),
        WindowAggregation("login_ip_countries", "count_distinct", "ip_country", windows=VELOCITY),
        WindowAggregation("login_ip_prefixes", "count_distinct", "ip_prefix_hash", windows=VELOCITY),
    ],
)
device_logins = LifecycleSource(
    name="device_logins",
    relation="features.session_events",
    aggregations=[
        WindowAggregation(
            "device_logins", "count", windows=VELOCITY, bucket="status", values=("authenticated", "failed")
        ),
        WindowAggregation("device_login_consumers", "count_distinct", "consumer_id", windows=VELOCITY),
    ],
)
consumer_disputes = LifecycleSource(
    name="consumer_disputes",
    relation="features.dispute_events",
    event_id="dispute_id",
    aggregations=[
        WindowAggregation("disputes", "count", windows=("30d", "90d", "all")),
        WindowAggregation("fraud_disputes", "count", windows=("30d", "90d", "all"), where="reason = 'fraudulent'"),
    ],
)
card_disputes = LifecycleSource(
    name="card_disputes",
    relation="features.dispute_events",
    event_id="dispute_id",
    aggregations=[WindowAggregation("card_disputes", "count", windows=("30d", "90d", "all"))],
)
consumer_refunds = LifecycleSource(
    name="consumer_refunds",
    relation="features.refund_events",
    event_id="refund_id",
    aggregations=[WindowAggregation("refunds", "count", windows=SLOW)],
)
consumer_credit_applications = LifecycleSource(
    name="consumer_credit_applications",
    relation="features.credit_application_events",
    aggregations=[
        WindowAggregation(
            "applications", "count", windows=CREDIT, bucket="status", values=("submitted", "approved", "declined")
        ),
    ],
)
consumer_credit_payments = LifecycleSource(
    name="consumer_credit_payments",
    relation="features.credit_payment_events",
    aggregations=[
        WindowAggregation(
            "credit_payments", "count", windows=CREDIT, bucket="status", values=("succeeded", "failed", "returned")
        ),
    ],
)
consumer_credit_lateness = LifecycleSource(
    name="consumer_credit_lateness",
    relation="features.credit_account_events",
    money={"days_past_due": None},
    aggregations=[
        WindowAggregation("past_due_reports", "count", windows=CREDIT, where="status = 'past_due'"),
        WindowAggregation("max_days_past_due", "max", "days_past_due", windows=CREDIT),
    ],
)
consumer_credit_statements = LifecycleSource(
    name="consumer_credit_statements",
    relation="features.credit_statement_events",
    aggregations=[
        WindowAggregation("statements", "count", windows=CREDIT),
        WindowAggregation("statements_owing", "count", windows=CREDIT, where="balance > 0"),
    ],
)
