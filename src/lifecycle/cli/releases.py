"""Commands about releases: release, release rollback, releases."""

from __future__ import annotations

from typing import Annotated

import typer

from lifecycle.cli.common import JsonOption, project

_group = typer.Typer(invoke_without_command=True)


@_group.callback()
def release(context: typer.Context) -> None:
    """
    Make a release of the lake's head, as built and checked. See also `lifecycle run`.

    Example: `lifecycle release`
    """
    if context.invoked_subcommand is not None:
        return
    from lifecycle.cli import show
    from lifecycle.pipeline.release import make_release

    here = project()
    with show.Steps() as steps:
        made = make_release(here.settings, here.lake, here.ledger, progress=lambda text: steps.say("release", text))
    show.console.print(f"release {made.number} serves")


@_group.command()
def rollback(number: Annotated[int, typer.Argument(help="The release to serve again.")]) -> None:
    """
    Serve an earlier release again; nothing is deleted.

    Example: `lifecycle release rollback 1`
    """
    from lifecycle.cli import show

    here = project()
    with here.lake.lock():
        served = here.ledger.roll_back(number)
    show.console.print(f"release {served.number} serves again")
    show.console.print("the online store follows with: lifecycle materialize", style="dim")


@_group.command()
def backfills(
    number: Annotated[int | None, typer.Argument(help="The release; the served one by default.")] = None,
    json: JsonOption = False,
) -> None:
    """
    List the old facts that a release brought: they alone can change labels that were mature before it.

    Example: `lifecycle release backfills 2`
    """
    from lifecycle.cli import show

    found = project().backfills(number)
    show.arrow_json(found) if json else show.arrow(found)


def releases(json: JsonOption = False) -> None:
    """
    List the releases, and which one serves.

    Example: `lifecycle releases`
    """
    from lifecycle.cli import show

    here = project()
    served = here.ledger.serving()
    listed = [
        {
            "release": one.number,
            "serves": one.number == served,
            "made_at": one.made_at.replace(microsecond=0),
            "batch": one.high_water,
            "snapshot": one.snapshot,
            "code": one.code_hash[:8],
            "definitions": one.definitions.hash[:8],
        }
        for one in here.releases()
    ]
    if json:
        show.as_json(listed)
    elif not listed:
        show.console.print("there is no release yet; make one with: lifecycle run")
    else:
        show.rows(
            list(listed[0]),
            (tuple(one.values()) for one in listed),
            right=["release", "batch", "snapshot"],
        )


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(_group, name="release")
    app.command()(releases)
