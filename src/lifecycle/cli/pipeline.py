"""Commands that write: run, ingest, build, check, materialize, generate, demo, dev, warm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lifecycle.cli.common import JsonOption, project

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.pipeline.run import Run

_Source = Annotated[str, typer.Option("--source", "-s", help="A [sources.NAME] of lifecycle.toml.")]
_Paths = Annotated[list[Path], typer.Argument(help="Files to take in.", metavar="FILE...")]


def run(
    files: Annotated[list[Path] | None, typer.Argument(help="Files to take in.", metavar="FILE...")] = None,
    source: Annotated[str | None, typer.Option("--source", "-s", help="A [sources.NAME] of lifecycle.toml.")] = None,
    full_refresh: Annotated[bool, typer.Option(help="Rebuild every table from raw events.")] = False,
    json: JsonOption = False,
) -> None:
    """
    Take files in, build, check, release and materialize. Running it again changes nothing.

    Example: `lifecycle run --source online-retail online_retail.csv.gz`
    """
    from lifecycle.cli import show
    from lifecycle.errors import UsageError

    if bool(files) != bool(source):
        raise UsageError("name both a source and its files: lifecycle run --source online-retail FILE...")
    with show.Steps(quiet=json) as steps:
        done = project().run(source, files or (), full_refresh=full_refresh, progress=steps.say)
    summary = _summary(done)
    if json:
        show.as_json(summary)
        return
    for batch in done.batches:
        show.console.print(f"  {batch}", markup=False)
    show.console.print(f"release {summary['release']} serves, made at {show.cell(summary['made_at'])} UTC")


def _summary(done: Run) -> dict[str, object]:
    from dataclasses import asdict

    release = done.release or done.ledger.get()
    return {
        "release": release.number,
        "made_at": release.made_at,
        "watermarks": dict(release.watermarks),
        "batches": [asdict(batch) for batch in done.batches],
        "seconds": {name: round(value, 1) for name, value in done.seconds.items()},
    }


def ingest(files: _Paths, source: _Source, json: JsonOption = False) -> None:
    """
    Take files in, without building or releasing.

    Example: `lifecycle ingest --source stripe events-*.ndjson.gz`
    """
    from dataclasses import asdict

    from lifecycle.cli import show
    from lifecycle.pipeline.intake import ingest as take_in

    here = project()
    with show.Steps(quiet=json) as steps:
        batches = take_in(here.settings, here.lake, source, files, progress=lambda text: steps.say("ingest", text))
    if json:
        show.as_json([asdict(batch) for batch in batches])
        return
    for batch in batches:
        show.console.print(f"  {batch}", markup=False)


def build(
    full_refresh: Annotated[bool, typer.Option(help="Rebuild every table from raw events.")] = False,
    select: Annotated[str | None, typer.Option(help="dbt's selection, such as +consumer_identity.")] = None,
) -> None:
    """
    Build the marts with dbt at the lake's head; readers see nothing of it before a release.

    Example: `lifecycle build --select +consumer_identity`
    """
    from lifecycle.cli import show
    from lifecycle.pipeline.build import build as build_marts

    here = project()
    with show.Steps() as steps:
        build_marts(
            here.settings,
            here.lake,
            full_refresh=full_refresh,
            select=select,
            progress=lambda text: steps.say("build", text),
        )


def check(json: JsonOption = False) -> None:
    """
    Check raw events and marts with Great Expectations and write Data Docs.

    Example: `lifecycle check`
    """
    from dataclasses import asdict

    from lifecycle.cli import show
    from lifecycle.pipeline.gate import check as check_marts

    here = project()
    with show.Steps(quiet=json) as steps:
        report = check_marts(here.settings, here.lake, progress=lambda text: steps.say("check", text))
    if json:
        show.as_json(asdict(report))
    else:
        show.console.print(str(report), markup=False)


def materialize(json: JsonOption = False) -> None:
    """
    Fill the online store from the served release; what changed since the release it holds is all that is written.

    Example: `lifecycle materialize`
    """
    from dataclasses import asdict

    from lifecycle.cli import show
    from lifecycle.pipeline.materialize import materialize as fill

    here = project()
    with show.Steps(quiet=json) as steps:
        done = fill(here.settings, here.lake, here.release(), progress=lambda text: steps.say("materialize", text))
    if json:
        show.as_json(asdict(done))


def generate(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    consumers: Annotated[int, typer.Option(min=10, help="How many consumers.")] = 20_000,
    months: Annotated[int, typer.Option(min=1, help="How many months of life.")] = 18,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 1,
    json: JsonOption = False,
) -> None:
    """
    Generate consumers' lives in Stripe's event form, with the dirt of real feeds.

    Example: `lifecycle generate feed --consumers 2000`
    """
    from dataclasses import asdict

    from lifecycle.cli import show
    from lifecycle.synth import generate as make

    with show.Steps(quiet=json) as steps:
        made = make(folder, consumers=consumers, months=months, seed=seed, progress=lambda t: steps.say("generate", t))
    if json:
        show.as_json({key: str(value) if isinstance(value, Path) else value for key, value in asdict(made).items()})
    else:
        show.pairs({"folder": made.folder, "consumers": made.consumers, "lines": made.lines} | made.counts)


def demo(
    consumers: Annotated[int, typer.Option(min=50, help="How many consumers to generate.")] = 5_000,
    home: Annotated[Path | None, typer.Option(help="Where the demo's lake goes.")] = None,
) -> None:
    """
    Run everything end to end on generated consumers, then say what to try next.

    Example: `lifecycle demo --consumers 1000`
    """
    from lifecycle.cli.demo import show_demo

    show_demo(consumers, home)


def dev(
    features: Annotated[str, typer.Option("--features", "-f", help="A service, or view:feature names by comma.")],
    spine: Annotated[str, typer.Option("--spine", help="A SELECT, or a Parquet file.")],
    limit: Annotated[int, typer.Option(help="Rows to show.")] = 10,
    full_refresh: Annotated[bool, typer.Option(help="Rebuild every table from raw events.")] = False,
) -> None:
    """
    Try a changed or new feature in a sandbox lake: a frame without a release.

    Example: `lifecycle dev -f consumer_identity --spine "select consumer_id, event_timestamp from
    features.charge_events"`
    """
    from lifecycle.cli import show
    from lifecycle.cli.common import names
    from lifecycle.pipeline.build import build as build_marts
    from lifecycle.pipeline.release import make_release

    box = project().sandbox()
    with show.Steps() as steps:
        say: Callable[[str], None] = lambda text: steps.say("sandbox", text)  # noqa: E731
        build_marts(box.settings, box.lake, full_refresh=full_refresh, progress=say)
        make_release(box.settings, box.lake, box.ledger, progress=say)
    frame = box.training_frame(spine, names(features))
    show.arrow(frame.table, limit=limit)
    show.console.print(f"sandbox: LIFECYCLE_HOME={box.settings.lake.home}", markup=False, style="dim")


def warm() -> None:
    """
    Compile what is compiled once, so that the first frame does not wait for it.

    Example: `lifecycle warm`
    """
    from lifecycle.engine import warm as compile_kernels

    compile_kernels()


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (run, demo, generate, ingest, build, check, materialize, dev, warm):
        app.command()(command)
