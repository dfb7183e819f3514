"""Request-time features: transformations/on_demand computes them from the features and columns named here."""

from entities import device
from feast import Field
from feast.types import Bool, Float64, Int64, String
from views import card, payment, profile, session
from window_views import charges, charges_of_card, spend, verifications

from lifecycle.feast_plugin.on_demand import on_demand_view

amount_habit = on_demand_view(
    "amount_habit",
    "transformations.on_demand.charges:against_habit",
    inputs=[
        (
            spend,
            [
                Field(name="mean_charge_90d", dtype=Float64),
                Field(name="max_charge_90d", dtype=Int64),
                Field(name="std_charge_90d", dtype=Float64),
            ],
        ),
    ],
    request=[Field(name="amount", dtype=Int64)],
    schema=[Field(name=name, dtype=Float64) for name in ("amount_to_mean_90d", "amount_to_max_90d", "amount_z_90d")],
    description="The charge's amount against what the consumer usually pays in its currency.",
)
country_mismatch = on_demand_view(
    "country_mismatch",
    "transformations.on_demand.charges:countries",
    inputs=[
        (profile, [Field(name="country", dtype=String)]),
        (card, [Field(name="card_country", dtype=String)]),
    ],
    request=[Field(name="ip_country", dtype=String)],
    schema=[
        Field(name=name, dtype=Bool)
        for name in ("ip_card_country_differ", "ip_profile_country_differ", "card_profile_country_differ")
    ],
    description="Whether IP address, card and profile are of different countries.",
)
device_mismatch = on_demand_view(
    "device_mismatch",
    "transformations.on_demand.charges:devices",
    inputs=[
        (payment, [Field(name="last_charge_device", dtype=String)]),
        (session, [Field(name="session_device_id", dtype=String)]),
    ],
    keys=[device],
    schema=[
        Field(name=name, dtype=Bool) for name in ("device_differs_from_last_charge", "device_differs_from_last_login")
    ],
    description="Whether the device is another than the consumer used before.",
)
velocity_ratios = on_demand_view(
    "velocity_ratios",
    "transformations.on_demand.charges:velocities",
    inputs=[
        (view, [Field(name=f"{stem}_{window}", dtype=Int64) for window in ("1h", "24h", "90d")])
        for view, stem in ((charges, "charges"), (charges_of_card, "card_charges"))
    ],
    schema=[
        Field(name=f"{stem}_velocity_{window}", dtype=Float64)
        for stem in ("charges", "card_charges")
        for window in ("1h", "24h")
    ],
    description="How much faster than in 90 days the consumer and the card pay now.",
)
verification_age = on_demand_view(
    "verification_age",
    "transformations.on_demand.charges:verification",
    inputs=[(verifications, [Field(name="seconds_since_verified_all", dtype=Float64)])],
    schema=[Field(name="hours_since_verified", dtype=Float64), Field(name="verified_within_24h", dtype=Bool)],
    description="How long ago the consumer was last verified.",
)
