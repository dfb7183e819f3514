"""Commands that read: sql, online, export, quarantine, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lifecycle.cli.common import JsonOption, ReleaseOption, project


def sql(
    query: Annotated[str | None, typer.Argument(help="One SELECT; tables are named schema.table.")] = None,
    release: ReleaseOption = None,
    limit: Annotated[int, typer.Option(help="Rows to show.")] = 40,
    json: JsonOption = False,
) -> None:
    """
    Ask a release a question; without a query, list its tables and how any DuckDB client attaches it.

    Example: `lifecycle sql "select * from metrics.growth_accounting limit 10"`
    """
    from lifecycle.cli import show

    here = project()
    if query is None:
        chosen = here.release(release)
        listing = (
            "select table_schema as schema, table_name as name, count(*) as columns from information_schema.columns "
            "where table_catalog = 'lake' group by all order by all"
        )
        show.arrow(here.sql(listing, release=release), limit=200)
        show.title("any DuckDB client, with the extensions ducklake and sqlite")
        show.console.print(here.lake.attach_statement(chosen.snapshot) + ";", markup=False, soft_wrap=True)
        return
    table = here.sql(query, release=release)
    if json:
        show.arrow_json(table)
    else:
        show.arrow(table, limit=limit)


def online(
    service: Annotated[str, typer.Argument(help="A service, such as fraud_v1.")],
    keys: Annotated[list[str], typer.Argument(help="Entity keys.", metavar="COLUMN=VALUE...")],
    json: JsonOption = False,
) -> None:
    """
    Read one key's features from the online store, with their ages.

    Example: `lifecycle online lifecycle_v1 consumer_id=cus_1`
    """
    from dataclasses import asdict

    from lifecycle.cli import show
    from lifecycle.errors import UsageError

    pairs = dict(pair.split("=", 1) for pair in keys if "=" in pair)
    if len(pairs) != len(keys):
        raise UsageError(f"keys are written column=value, such as consumer_id=cus_1; got {' '.join(keys)!r}.")
    [values] = project().online_features(service, pairs)
    if json:
        show.as_json({name: asdict(value) for name, value in values.items()})
        return
    show.online_values(values)


def export(
    path: Annotated[Path, typer.Argument(help="The .duckdb file to write.")],
    release: ReleaseOption = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """
    Write a release into one plain DuckDB file.

    Example: `lifecycle export release.duckdb`
    """
    from lifecycle.cli import show
    from lifecycle.lake.export import export as write

    here = project()
    write(here.lake, here.release(release), path, force=force)
    show.console.print(f"written to {path}", markup=False)


def quarantine(
    batch: Annotated[int | None, typer.Option(help="One batch's records only.")] = None,
    limit: Annotated[int, typer.Option(help="Records to show.")] = 20,
    records: Annotated[bool, typer.Option(help="Show the records too, decrypted: personal data.")] = False,
    json: JsonOption = False,
) -> None:
    """
    List rejected records with their reasons and places.

    Example: `lifecycle quarantine --limit 5`
    """
    from lifecycle.cli import show
    from lifecycle.pipeline.intake import read_quarantine

    here = project()
    connection = here.lake.connect()
    try:
        table = read_quarantine(connection, batch=batch, limit=limit, decrypt=records)
    finally:
        connection.close()
    if json:
        show.arrow_json(table)
    else:
        show.arrow(table, limit=limit)


def doctor(json: JsonOption = False) -> None:
    """
    Check this installation and this project, with the next step for what is not right.

    Example: `lifecycle doctor`
    """
    from lifecycle.cli import show
    from lifecycle.doctor import examine

    findings = examine()
    if json:
        show.as_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok[/green]  " if finding.ok else "[red]look[/red]"
            show.console.print(f"{mark} ", end="")
            show.console.print(f"{finding.name:<22} {finding.detail}", markup=False)
            if not finding.ok and finding.next_step:
                show.console.print(f"     → {finding.next_step}", markup=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(4)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (sql, online, export, quarantine, doctor):
        app.command()(command)
