"""Every proportion of the generated lives, in one place. Shares are of 1, times in days."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """
    How often things happen. The defaults resemble a consumer wallet; they are plausible, not measured.

    A rate "per charge" is per succeeded charge, "per event" per event before the feed's dirt is added.
    """

    # People: each share of fraud is of all consumers, and one consumer of each kind exists at least.
    account_takeover_victim: float = 0.006
    synthetic_identity: float = 0.004
    bust_out: float = 0.006
    friendly_fraud: float = 0.0025
    ring_size: int = 6  # synthetic identities that share a device, a network and a card
    household: float = 0.06  # shares its network with another consumer
    merged: float = 0.001  # duplicates merged into another customer, one at least
    deleted: float = 0.01
    moved_or_renamed: float = 0.18  # customer.updated, other than for a takeover

    # Habit
    never_pays: float = 0.15
    payments_per_month: float = 0.62  # median over consumers; the tail is lognormal
    payments_sigma: float = 1.15
    spend_minor: float = 2_600.0  # median of a consumer's usual amount, in US cents' worth
    spend_sigma: float = 0.75
    amount_sigma: float = 0.55
    churn_monthly: float = 0.065  # mean hazard; it differs between consumers
    paused: float = 0.28
    weekend: float = 0.85  # mean appetite for Saturday and Sunday, against weekdays
    travelling: float = 0.02  # a payment from another country
    mobile_network: float = 0.22
    no_device: float = 0.05  # a charge without metadata.device

    # Payments
    second_card: float = 0.35
    detached: float = 0.05
    card_renewed: float = 0.08
    card_updated: float = 0.01
    failed: float = 0.055  # a first attempt; individual
    failed_again: float = 0.35
    retried: float = 0.70
    blocked_fraud: float = 0.15
    blocked: float = 0.001
    authorised_first: float = 0.30  # of travel: captured days later
    never_captured: float = 0.04
    pending: float = 0.003
    updated: float = 0.005
    requires_action: float = 0.06
    canceled: float = 0.40  # of intents without a succeeded charge

    # After a payment
    refunded: float = 0.035
    refunded_in_part: float = 0.015
    refunded_twice: float = 0.25  # of refunds in part
    refund_failed: float = 0.01
    disputed_fraud: float = 0.75  # of fraudulent charges; all disputes together are 0.5 to 1 % of charges
    disputed: float = 0.0030
    dispute_delay: float = 24.0  # median; the tail reaches months
    dispute_delay_sigma: float = 0.9
    inquiry: float = 0.18  # starts as warning_*
    inquiry_escalates: float = 0.15
    dispute_won: float = 0.33
    warned_fraud: float = 0.55  # early fraud warning
    warned: float = 0.001
    reviewed: float = 0.003
    reviewed_elevated: float = 0.25

    # Identity
    checked: float = 0.55  # of consumers, around sign-up
    pass_first: float = 0.70  # about 85 % of those checked pass within three attempts
    pass_retry: float = 0.55
    tries_again: float = 0.80
    canceled_check: float = 0.03
    redacted: float = 0.02
    by_related_customer: float = 0.70
    by_client_reference: float = 0.25  # the rest stays unlinked

    # Link sessions
    with_session: float = 0.60  # of payments
    browsing: float = 0.25  # sessions without a payment, per payment
    session_failed: float = 0.05
    session_failed_attack: float = 0.40
    session_unlinked: float = 0.30  # of failed sessions

    # Credit
    applies: float = 0.30
    approved: float = 0.62
    application_canceled: float = 0.05
    misses_payment: float = 0.035  # median per month; individual
    misses_again: float = 0.55  # once behind
    pays_in_full: float = 0.45
    payment_failed: float = 0.04
    payment_returned: float = 0.008
    closes_monthly: float = 0.01

    # Delivery and dirt
    repeated: float = 0.01
    late: float = 0.05
    late_hours: float = 20.0  # median hours; up to three weeks
    amended: float = 0.007
    retracted: float = 0.002  # of the platform's own types
    malformed: float = 1 / 400  # lines per consumer, six at least
