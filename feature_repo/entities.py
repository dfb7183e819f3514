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
card = Entity(
    name="card",
    join_keys=["card_hash"],
    value_type=ValueType.STRING,
    description="A card, by the keyed hash of its fingerprint: the same card on every consumer who uses it.",
)
ip_prefix = Entity(
    name="ip_prefix",
    join_keys=["ip_prefix_hash"],
    value_type=ValueType.STRING,
    description="A neighbourhood of the network, by the keyed hash of its IP prefix.",
)
currency = Entity(
    name="currency",
    join_keys=["charge_currency"],
    value_type=ValueType.STRING,
    description="The currency of the amount in question: a sum of money is over one, so it is a key of it.",
)
