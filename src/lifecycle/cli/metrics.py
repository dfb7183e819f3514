"""Commands about metrics and customer value: mf, value."""

from __future__ import annotations

from typing import Annotated

import typer

from lifecycle.cli.common import ReleaseOption, project


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


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    passing = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(context_settings=passing)(mf)
