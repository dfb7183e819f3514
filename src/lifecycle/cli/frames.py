"""Commands about training frames."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from threading import Thread, get_ident
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lifecycle.cli.common import JsonOption, ReleaseOption, mode, names, project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_group = typer.Typer(invoke_without_command=True)


@_group.callback()
def frame(
    context: typer.Context,
    spine: Annotated[str | None, typer.Option("--spine", help="A SELECT over the release, or a Parquet file.")] = None,
    features: Annotated[
        str | None, typer.Option("--features", "-f", help="A service, or view:feature names by comma.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", "-l", help="A label of the project.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write Parquet here, receipt inside.")] = None,
    release: ReleaseOption = None,
    known_time: Annotated[
        str | None, typer.Option(help="as_known or feast (event time only); the project's own by default.")
    ] = None,
    full_feature_names: Annotated[bool, typer.Option(help="Name columns view__feature.")] = False,
    start: Annotated[datetime | None, typer.Option(help="Without a spine: every change of a state from here,")] = None,
    end: Annotated[datetime | None, typer.Option(help="to here (UTC).")] = None,
    limit: Annotated[int, typer.Option(help="Rows to show.")] = 10,
    json: JsonOption = False,
) -> None:
    """
    Fetch a training frame: one row per spine row, every feature as known at that row's time.

    Example: `lifecycle frame -f lifecycle_v1 --spine "select consumer_id, event_timestamp from
    features.charge_events limit 1000" -o frame.parquet`
    """
    if context.invoked_subcommand is not None:
        return
    from lifecycle.cli import show
    from lifecycle.errors import UsageError

    if features is None or (spine is None and (start is None or end is None)):
        raise UsageError(
            'name features and a spine, or dates: lifecycle frame --features SERVICE --spine "select ..." '
            "(or --start 2025-01-01 --end 2025-02-01)"
        )
    _begin_loading()
    made = project().training_frame(
        spine,
        names(features),
        label,
        release=release,
        known_time=mode(known_time),
        full_feature_names=full_feature_names,
        start=_utc(start),
        end=_utc(end),
    )
    if out is not None:
        made.write_parquet(out)
    if json:
        show.as_json(made.receipt.summary())
        return
    if out is None:
        show.arrow(made.table, limit=limit)
    show.title("receipt")
    show.pairs(made.receipt.summary())
    if out is not None:
        show.console.print(f"written to {out}", markup=False)


@_group.command()
def rebuild(
    receipt: Annotated[Path, typer.Argument(help="A frame's Parquet file, or its receipt as JSON.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the frame here.")],
    spine: Annotated[str | None, typer.Option(help="The spine again, where the receipt cannot hold it.")] = None,
) -> None:
    """
    Compute a frame again from its receipt: the same bytes, or precisely what is gone.

    Example: `lifecycle frame rebuild frame.parquet -o again.parquet`
    """
    from lifecycle.cli import show

    _begin_loading()
    project().rebuild_frame(receipt, spine=spine).write_parquet(out)
    show.console.print(f"written to {out}", markup=False)


@_group.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A frame's Parquet file.")],
    second: Annotated[Path, typer.Argument(help="Another frame's Parquet file.")],
    limit: Annotated[int, typer.Option(help="Changed cells to show.")] = 20,
    json: JsonOption = False,
) -> None:
    """
    Attribute each cell that differs between two frames to definitions, late data, spine or label.

    Inside the project whose releases they are of, definitions and late data are told apart by a frame between them.

    Example: `lifecycle frame diff monday.parquet friday.parquet`
    """
    from lifecycle.cli import show
    from lifecycle.config import find_root
    from lifecycle.engine import diff as compare
    from lifecycle.errors import UsageError

    try:
        find_root()
    except UsageError:  # outside a project there are the files alone
        found = compare(first, second)
    else:
        found = project().diff_frames(first, second)
    if json:
        show.as_json({"summary": found.summary(), "cells": found.cells.to_pylist(), "rows": found.rows.to_pylist()})
        return
    show.title("differences")
    show.pairs(found.summary() or {"none": 0})
    if found.cells.num_rows:
        show.arrow(found.cells, limit=limit)


@_group.command()
def audit(
    spine: Annotated[str, typer.Option("--spine", help="A SELECT over the release, or a Parquet file.")],
    features: Annotated[str, typer.Option("--features", "-f", help="A service, or view:feature names by comma.")],
    label: Annotated[str | None, typer.Option("--label", "-l", help="A label of the project.")] = None,
    mistakes: Annotated[
        str | None, typer.Option(help="What naive retrieval gets wrong: of event_time, closed, today, by comma; all.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Exit with 3 where a greater share of a feature's rows changed.")
    ] = None,
    auc_budget: Annotated[
        float | None, typer.Option(help="Exit with 3 where a feature's AUC for the label gained more.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the greatest gains into this PNG or SVG.")] = None,
    release: ReleaseOption = None,
    limit: Annotated[int, typer.Option(help="Features to show.")] = 20,
    json: JsonOption = False,
) -> None:
    """
    Show what naive retrieval would have leaked into a frame, by feature: changed rows, and what they tell the label.

    Example: `lifecycle frame audit -f fraud_v1 -l fraud_dispute_120d --auc-budget 0.05 --spine "select charge_id,
    consumer_id, device_id, payment_method_id, event_timestamp from features.charge_events where known_until is null"`
    """
    from lifecycle.cli import show

    wrong = None if mistakes is None else [one.strip() for one in mistakes.split(",")]
    found = project().audit(spine, names(features), label, release=release, mistakes=wrong)
    over = found.over(changed=budget, gain=auc_budget)
    if picture is not None:
        from lifecycle.cli.pictures import leakage

        leakage(found, picture)
    if json:
        show.as_json(found.to_dict() | {"over_budget": over})
    else:
        about = {"rows": found.rows} | ({} if label is None else {"label": label, "positive": found.positive})
        show.pairs(about | {"mistakes": ", ".join(found.mistakes)})
        show.audit(found, limit=limit)
        if over:
            show.title(f"over the budget: {', '.join(over)}")
    if over:
        raise typer.Exit(3)


def _utc(given: datetime | None) -> datetime | None:
    return None if given is None else given.replace(tzinfo=given.tzinfo or UTC)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(_group, name="frame")


def _begin_loading() -> None:
    """
    Load the kernels while DuckDB opens the lake, and of other libraries only what a frame needs: a third of its time.

    Arrow loads pandas when it makes its first value, to know a Series when it sees one; this command shows Arrow and
    writes Parquet, and what asks for pandas later (`to_pandas`) still finds it. numba looks for scipy's linear algebra
    and for coverage, which no kernel uses.
    """

    def load() -> None:
        with _without("coverage", "scipy.linalg"):
            import_module("lifecycle.engine.merge")

    Thread(target=load, daemon=True).start()
    if "pandas" not in sys.modules:
        import pyarrow as pa

        with _without("pandas"):
            pa.scalar(0)


@contextmanager
def _without(*modules: str) -> Iterator[None]:
    """Let this thread find no such modules, as if they were not installed."""
    finder = _Without(modules)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Without(MetaPathFinder):
    def __init__(self, modules: Sequence[str]) -> None:
        self._modules, self._thread = modules, get_ident()

    def find_spec(self, fullname: str, *_: Any) -> None:
        if fullname in self._modules and get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is not wanted here", name=fullname)
