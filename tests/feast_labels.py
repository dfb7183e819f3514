"""A labels module for Feast tests: one label over nothing they build."""

from lifecycle.definitions import Label

LABELS = (
    Label(
        name="disputed",
        kind="exists",
        relation="features.dispute_events",
        join_keys=(("charge_id", "charge_id"),),
        horizon_us=86_400_000_000,
        maturity_us=0,
        sources=("stripe",),
    ),
)
