"""
The relations that views read; the dbt models in dbt_project/models/features say what their columns mean.

`at_t="exclude"` marks a source whose rows can describe the very event that is scored: a charge, a login, an
application. A row at exactly the observation time is then left out, so the event never explains itself. A shop's
invoice carries its buyer's country, so the profile is among them.
"""

from lifecycle.feast_plugin.source import LifecycleSource

consumer_profile = LifecycleSource(relation="features.consumer_profile", at_t="exclude")
consumer_payment = LifecycleSource(relation="features.consumer_payment", at_t="exclude")
consumer_refund = LifecycleSource(relation="features.consumer_refund")
consumer_dispute = LifecycleSource(relation="features.consumer_dispute")
consumer_identity = LifecycleSource(relation="features.consumer_identity", at_t="exclude")
consumer_session = LifecycleSource(
    relation="features.consumer_session",
    at_t="exclude",
    field_mapping={"device_id": "session_device_id"},  # `device_id` is the key by which a spine names a device
)
device_session = LifecycleSource(relation="features.device_session", at_t="exclude")
consumer_credit = LifecycleSource(relation="features.consumer_credit", at_t="exclude")
consumer_credit_application = LifecycleSource(relation="features.consumer_credit_application", at_t="exclude")
consumer_lifecycle = LifecycleSource(relation="features.consumer_lifecycle", at_t="exclude")
consumer_score = LifecycleSource(relation="features.consumer_score")
charge_status = LifecycleSource(relation="features.charge_status", at_t="exclude")
payment_method_profile = LifecycleSource(relation="features.payment_method_profile")
