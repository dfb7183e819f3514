"""The command about labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lifecycle.cli.common import JsonOption, ReleaseOption, project


def label(
    name: Annotated[str | None, typer.Argument(help="A label; without one, all are listed.")] = None,
    spine: Annotated[str | None, typer.Option("--spine", help="A SELECT over the release, or a Parquet file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the maturity curve into this PNG or SVG.")] = None,
    release: ReleaseOption = None,
    json: JsonOption = False,
) -> None:
    """
    Count a label's rows by status, and show how soon its final answers were known; or list the labels.

    Example: `lifecycle label fraud_dispute_120d --spine "select charge_id, event_timestamp from
    features.charge_events where known_until is null" --picture curve.png`
    """
    from lifecycle.cli import show
    from lifecycle.errors import UsageError

    here = project()
    if name is None:
        listed = here.labels(release=release)
        show.arrow_json(listed) if json else show.arrow(listed)
        return
    if spine is None:
        raise UsageError(f'name the rows to judge: lifecycle label {name} --spine "select ..."')
    counts = here.training_frame(spine, [], name, release=release).receipt["label"]
    curve = here.maturity_curve(spine, name, release=release)
    if picture is not None:
        from lifecycle.cli.pictures import maturity

        maturity({name: curve}, picture)
    if json:
        show.as_json({"counts": counts, "curve": curve.to_pylist()})
        return
    show.pairs(counts)
    show.title("known after so many days, of the answers that a fact decided")
    show.arrow(curve, limit=curve.num_rows)
    if picture is not None:
        show.console.print(f"written to {picture}", markup=False)


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(label)
