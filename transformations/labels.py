"""
What models learn to predict: each label is judged on what was known by t + horizon + maturity.

A label names the sources whose feeds bring its events. The list exports of `stripe-objects` only fill in the
history before the feed begins, so they do not decide when a label is mature. Where a lake has taken in some of
the named sources only, those decide.

An account takeover is told by no event of any source. dbt_project/DECISIONS.md says what counts as one; it happens
with its charge and is known when that is reported, which the maturity delay waits for.
"""

from __future__ import annotations

from lifecycle.definitions import Label

DAY_US = 86_400_000_000
# Stripe delivers an event again for up to three days, so by then all facts of a time are known.
DELIVERY_US = 3 * DAY_US
# Card schemes take disputes for 120 days after the charge.
REPORT_US = 120 * DAY_US
CHARGE_SOURCES = ("stripe", "online-retail")

LABELS = (
    Label(
        name="repurchase_30d",
        kind="exists",
        relation="features.charge_events",
        join_keys=(("consumer_id", "consumer_id"),),
        horizon_us=30 * DAY_US,
        maturity_us=0,
        sources=CHARGE_SOURCES,
        condition="status = 'succeeded'",
    ),
    Label(
        name="churn_90d",
        kind="absent",
        relation="features.charge_events",
        join_keys=(("consumer_id", "consumer_id"),),
        horizon_us=90 * DAY_US,
        maturity_us=0,
        sources=CHARGE_SOURCES,
        condition="status = 'succeeded'",
    ),
    # The spine's row is a charge; a dispute's own time is already the time at which it was reported.
    Label(
        name="fraud_dispute_120d",
        kind="exists",
        relation="features.dispute_events",
        join_keys=(("charge_id", "charge_id"),),
        horizon_us=120 * DAY_US,
        maturity_us=DELIVERY_US,
        sources=("stripe",),
        condition="reason = 'fraudulent'",
    ),
    # The spine's row is a login, or any moment of a consumer.
    Label(
        name="account_takeover_30d",
        kind="exists",
        relation="features.account_takeover_events",
        join_keys=(("consumer_id", "consumer_id"),),
        horizon_us=30 * DAY_US,
        maturity_us=REPORT_US + DELIVERY_US,
        sources=("stripe",),
    ),
    # The spine's row is an application; any of its account's states within the year may be the late one.
    Label(
        name="past_due_90d_12m",
        kind="exists",
        relation="features.credit_account_events",
        join_keys=(("application_id", "application_id"),),
        horizon_us=365 * DAY_US,
        maturity_us=DELIVERY_US,
        sources=("stripe",),
        condition="days_past_due >= 90",
    ),
    Label(
        name="verified_7d",
        kind="exists",
        relation="features.verification_events",
        join_keys=(("consumer_id", "consumer_id"),),
        horizon_us=7 * DAY_US,
        maturity_us=DELIVERY_US,
        sources=("stripe",),
        condition="status = 'verified'",
    ),
)
