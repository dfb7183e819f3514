"""
Window features by entity: each view takes every feature that its source in windows.py declares.

They stand apart from the states of views.py, since nothing of them is stored by key: frames and online reads work
them out from the events, as known at the observed moment.
"""

from entities import card, consumer, currency, device, ip_prefix
from feast import FeatureView
from windows import (
    card_charges,
    card_disputes,
    card_spend,
    consumer_charges,
    consumer_credit_applications,
    consumer_credit_lateness,
    consumer_credit_payments,
    consumer_credit_statements,
    consumer_disputes,
    consumer_logins,
    consumer_recent_charges,
    consumer_refunds,
    consumer_spend,
    consumer_verifications,
    device_charges,
    device_logins,
    ip_charges,
)

charges = FeatureView(
    name="consumer_charges",
    entities=[consumer],
    source=consumer_charges,
    description="How often, how successfully and where the consumer paid.",
)
spend = FeatureView(
    name="consumer_spend",
    entities=[consumer, currency],
    source=consumer_spend,
    description="What the consumer paid in one currency, in its minor units.",
)
charges_of_card = FeatureView(
    name="card_charges",
    entities=[card],
    source=card_charges,
    description="How often a card was charged, whoever used it.",
)
spend_of_card = FeatureView(
    name="card_spend",
    entities=[card, currency],
    source=card_spend,
    description="What was paid by a card in one currency, in its minor units.",
)
charges_of_device = FeatureView(
    name="device_charges",
    entities=[device],
    source=device_charges,
    description="How often a device paid, with how many cards and for how many consumers.",
)
charges_of_ip = FeatureView(
    name="ip_charges",
    entities=[ip_prefix],
    source=ip_charges,
    description="How often payments came from an IP prefix, with how many cards and for how many consumers.",
)
recent_charges = FeatureView(
    name="consumer_recent_charges",
    entities=[consumer],
    source=consumer_recent_charges,
    description="The consumer's last 20 charges of 90 days, oldest first, as aligned lists.",
)
verifications = FeatureView(
    name="consumer_verifications",
    entities=[consumer],
    source=consumer_verifications,
    description="Attempts to verify the consumer's identity.",
)
logins = FeatureView(
    name="consumer_logins",
    entities=[consumer],
    source=consumer_logins,
    description="The consumer's logins: how many, from how many devices, networks and countries.",
)
logins_of_device = FeatureView(
    name="device_logins",
    entities=[device],
    source=device_logins,
    description="Logins from a device, and of how many consumers.",
)
disputes = FeatureView(
    name="consumer_disputes",
    entities=[consumer],
    source=consumer_disputes,
    description="Disputes of the consumer's charges, as reported by then.",
)
disputes_of_card = FeatureView(
    name="card_disputes",
    entities=[card],
    source=card_disputes,
    description="Disputes of a card's charges, as reported by then.",
)
refunds = FeatureView(
    name="consumer_refunds",
    entities=[consumer],
    source=consumer_refunds,
    description="Refunds to the consumer.",
)
credit_applications = FeatureView(
    name="consumer_credit_applications",
    entities=[consumer],
    source=consumer_credit_applications,
    description="The consumer's earlier credit applications by outcome.",
)
credit_payments = FeatureView(
    name="consumer_credit_payments",
    entities=[consumer],
    source=consumer_credit_payments,
    description="Payments on the consumer's credit accounts, made, failed and returned.",
)
credit_lateness = FeatureView(
    name="consumer_credit_lateness",
    entities=[consumer],
    source=consumer_credit_lateness,
    description="How often and how far the consumer's credit accounts were past due.",
)
credit_statements = FeatureView(
    name="consumer_credit_statements",
    entities=[consumer],
    source=consumer_credit_statements,
    description="Statements of the consumer's credit accounts.",
)
