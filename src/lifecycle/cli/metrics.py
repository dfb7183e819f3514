"""Commands about metrics and customer value: mf, value."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from lifecycle.cli.common import JsonOption, ReleaseOption, project


def mf(
    arguments: Annotated[list[str], typer.Argument(help="What `mf` takes: query, list, ...", metavar="ARGUMENTS...")],
    release: ReleaseOption = None,
) -> None:
    """
    Ask MetricFlow for metrics of a release; `lifecycle mf list metrics` shows them.

    Example: `lifecycle mf query --metrics spend,charges --group-by charge__currency,metric_time__month`
    """
    from lifecycle.pipeline.metrics import run_metricflow

    here = project()
    raise typer.Exit(run_metricflow(here.settings, here.release(release), arguments))


def value(
    at: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Score as known at this midnight, UTC.")
    ] = None,
    weeks: Annotated[int, typer.Option(help="How far ahead.")] = 52,
    model: Annotated[str, typer.Option(help="bg_nbd or pareto_nbd.")] = "bg_nbd",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write Parquet here, for intake.")] = None,
    release: ReleaseOption = None,
    limit: Annotated[int, typer.Option(help="Consumers to show.")] = 10,
    json: JsonOption = False,
) -> None:
    """
    Score every consumer: P(alive), expected purchases and value.

    Example: `lifecycle value --at 2026-06-01 -o scores.parquet`, then `lifecycle run --source consumer-scores
    scores.parquet` to have them as a table and as features.
    """
    from dataclasses import asdict

    from lifecycle.cli import show

    scores = project().customer_value(at.date() if at else None, model=model, weeks=weeks, release=release)
    if out is not None:
        import pyarrow.parquet as pq

        pq.write_table(scores.table, out)
    fitted = {"purchases": asdict(scores.purchases), "spend": {k: asdict(v) for k, v in scores.spend.items()}}
    if json:
        show.as_json({**fitted, "unfitted": scores.unfitted, "consumers": scores.table.num_rows})
        return
    for name, found in {model: fitted["purchases"], **fitted["spend"]}.items():
        show.title(name if name == model else f"Gamma-Gamma, {name}")
        show.pairs(found)
    for currency, why in scores.unfitted.items():
        show.console.print(f"no value in {currency}: {why}", markup=False, style="dim")
    show.title("the most valuable, in minor units")
    show.arrow(scores.table.sort_by([("value", "descending")]), limit=limit)
    if out is not None:
        show.console.print(f"written to {out}", markup=False)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    passing = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(context_settings=passing)(mf)
    app.command()(value)
