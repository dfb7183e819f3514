"""What features are about."""

from feast import Entity, ValueType

consumer = Entity(
    name="consumer",
    join_keys=["consumer_id"],
    value_type=ValueType.STRING,
    description="A person who pays: a Stripe customer, merged customers as one.",
)
charge = Entity(
    name="charge",
    join_keys=["charge_id"],
    value_type=ValueType.STRING,
    description="One attempt to take money.",
)
payment_method = Entity(
    name="payment_method",
    join_keys=["payment_method_id"],
    value_type=ValueType.STRING,
    description="A card or another way to pay, as attached to a consumer.",
)
device = Entity(
    name="device",
    join_keys=["device_id"],
    value_type=ValueType.STRING,
    description="A device that consumers log in from.",
)
