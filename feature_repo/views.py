"""
Features by entity: each view takes every column of its source but keys, times and tie-break.

No view states a schema: it is the contract of the dbt model behind the source. None has a ttl either, since a
state holds until the next one; give a view `ttl=timedelta(days=…)` to let its values expire.
"""

from entities import charge, consumer, device, payment_method
from feast import FeatureView
from sources import (
    charge_status,
    consumer_credit,
    consumer_credit_application,
    consumer_dispute,
    consumer_identity,
    consumer_lifecycle,
    consumer_payment,
    consumer_profile,
    consumer_refund,
    consumer_score,
    consumer_session,
    device_session,
    payment_method_profile,
)

profile = FeatureView(
    name="consumer_profile",
    entities=[consumer],
    source=consumer_profile,
    description="Who the consumer says to be: country, currency, e-mail domain, delinquency.",
)
payment = FeatureView(
    name="consumer_payment",
    entities=[consumer],
    source=consumer_payment,
    description="The consumer's last charge before the observed one.",
)
refund = FeatureView(
    name="consumer_refund",
    entities=[consumer],
    source=consumer_refund,
    description="The consumer's last refund.",
)
dispute = FeatureView(
    name="consumer_dispute",
    entities=[consumer],
    source=consumer_dispute,
    description="The consumer's last dispute, as reported by then.",
)
identity = FeatureView(
    name="consumer_identity",
    entities=[consumer],
    source=consumer_identity,
    description="The consumer's last identity check.",
)
session = FeatureView(
    name="consumer_session",
    entities=[consumer],
    source=consumer_session,
    description="The consumer's last login, with device and country.",
)
device_login = FeatureView(
    name="device_session",
    entities=[device],
    source=device_session,
    description="The last login from a device, whoever logged in.",
)
credit = FeatureView(
    name="consumer_credit",
    entities=[consumer],
    source=consumer_credit,
    description="The consumer's credit account: status, days past due, limit and balance in minor units.",
)
credit_application = FeatureView(
    name="consumer_credit_application",
    entities=[consumer],
    source=consumer_credit_application,
    description="The consumer's last credit application before the observed one.",
)
lifecycle = FeatureView(
    name="consumer_lifecycle",
    entities=[consumer],
    source=consumer_lifecycle,
    description="The consumer's stage of life and since when.",
)
charge_state = FeatureView(
    name="charge_status",
    entities=[charge],
    source=charge_status,
    online=False,  # as many keys as charges, and no service reads one by its id
    description="What became of a charge: refunds, dispute, fraud warning.",
)
card = FeatureView(
    name="payment_method_profile",
    entities=[payment_method],
    source=payment_method_profile,
    description="A card: brand, country, funding, expiry, hashed fingerprint, whose it is.",
)
score = FeatureView(
    name="consumer_score",
    entities=[consumer],
    source=consumer_score,
    description="What a customer-base model last expected of the consumer: P(alive), purchases and value.",
)
