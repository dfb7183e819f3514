"""What models train on and read: one service per model, with the event it scores."""

from feast import FeatureService
from views import (
    card,
    credit,
    credit_application,
    device_login,
    dispute,
    identity,
    lifecycle,
    payment,
    profile,
    refund,
    session,
)

fraud_v1 = FeatureService(
    name="fraud_v1",
    features=[profile, payment, refund, dispute, identity, session, device_login, card, lifecycle],
    description="Scores a charge, before it is made.",
)
credit_risk_v1 = FeatureService(
    name="credit_risk_v1",
    features=[profile, payment, refund, dispute, identity, credit, credit_application, lifecycle],
    description="Scores a credit application.",
)
identity_theft_v1 = FeatureService(
    name="identity_theft_v1",
    features=[profile, identity, session, device_login, payment, credit_application],
    description="Scores a login or an identity check.",
)
lifecycle_v1 = FeatureService(
    name="lifecycle_v1",
    features=[profile, lifecycle, payment, refund, session],
    description="Describes a consumer at any time, such as the end of a month.",
)
