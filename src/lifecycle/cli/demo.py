"""The demo: everything end to end on generated consumers, in a lake and under a key of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.config import KEY_VARIABLE

if TYPE_CHECKING:
    from lifecycle.project import Project

DEMO_KEY = "the demo's key is public: generated people only"
DEMO_HOME = ".lifecycle/demo"
SPINE = (
    "select charge_id, consumer_id, payment_method_id, device_id, card_hash, ip_prefix_hash, ip_country, "
    "currency as charge_currency, amount, event_timestamp from features.charge_events "
    "where status = 'succeeded' and known_until is null order by charge_id limit 5000"
)


SHOWN_ONLINE = (
    "country",
    "lifecycle_stage",
    "last_charge_amount",
    "last_refund_amount",
    "charges_1h",
    "charges_7d",
    "charges_90d",
    "failure_rate_90d",
    "seconds_since_charge_all",
    "disputes_all",
)


def show_demo(consumers: int, home: Path | None) -> None:
    """Generate, run the pipeline, show a frame, online values and a lifecycle table, and what to try next."""
    from lifecycle.cli import show
    from lifecycle.config import find_root
    from lifecycle.project import open_project
    from lifecycle.synth import generate

    os.environ[KEY_VARIABLE] = DEMO_KEY
    place = home or find_root() / DEMO_HOME
    project = open_project(home=place)
    with show.Steps() as steps:
        made = generate(place / "feed", consumers=consumers, progress=lambda text: steps.say("generate", text))
        done = project.run("stripe", made.events, progress=steps.say)
    for batch in done.batches:
        show.console.print(f"  {batch}", markup=False)
    _show_frame(project)
    _show_online(project)
    _show_table(project)
    _say_what_next(place)


def _show_frame(project: Project) -> None:
    from lifecycle.cli import show

    frame = project.training_frame(SPINE, "fraud_v1", "fraud_dispute_120d")
    show.title("A training frame: each charge with what was known just before it, and whether it became fraud")
    table = frame.table
    shown = [
        name
        for name in (
            "event_timestamp",
            "amount",
            "last_charge_amount",
            "verification_status",
            "charges_7d",
            "card_consumers_30d",
            "amount_to_mean_90d",
        )
        if name in table.column_names
    ]
    show.arrow(table.select([*shown, frame.receipt["label"]["name"]]), limit=8)
    show.title("Its receipt")
    show.pairs(frame.receipt.summary())


def _show_online(project: Project) -> None:
    from lifecycle.cli import show

    query = "select consumer_id from features.consumer_payment where not deleted order by event_timestamp desc limit 1"
    consumer = project.sql(query).to_pylist()[0]["consumer_id"]
    [values] = project.online_features("lifecycle_v1", {"consumer_id": consumer})
    show.title(f"Online, service lifecycle_v1: consumer {consumer}")
    show.online_values({name: values[name] for name in SHOWN_ONLINE if name in values})
    show.console.print(f"… {len(values)} features in all")


def _show_table(project: Project) -> None:
    from lifecycle.cli import show

    show.title("SQL: consumers by month, who came, stayed, came back and went silent (metrics.growth_accounting)")
    show.arrow(project.sql(GROWTH_QUERY), limit=20)


NEXT_SPINE = "select consumer_id, event_timestamp from features.charge_events limit 1000"
GROWTH_QUERY = """
    select period as month, active_consumers as active, new_consumers as new, returning_consumers as "returning",
        resurrecting_consumers as resurrecting, dormant_consumers as dormant, quick_ratio, is_partial
    from metrics.growth_accounting
    where grain = 'month'
    order by period
"""


def _say_what_next(home: Path) -> None:
    from lifecycle.cli import show

    here = Path.cwd()
    where = home.relative_to(here) if home.is_relative_to(here) else home
    show.title("Try next (the consumers above are generated, not real)")
    for line in (
        f"source .venv/bin/activate; export LIFECYCLE_HOME={where}   # the demo's lake",
        "lifecycle sql                                  # its tables, and how any DuckDB client attaches it",
        f'lifecycle frame -f lifecycle_v1 -o frame.parquet --spine "{NEXT_SPINE}"',
        "lifecycle quarantine                           # what was rejected, and why",
        "lifecycle releases",
        "then, on your own data: README.md, and docs/add-a-feature.md for a feature of your own",
    ):
        show.console.print("  " + line, markup=False, soft_wrap=True)
