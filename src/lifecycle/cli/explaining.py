"""The command that explains a value."""

from __future__ import annotations

from typing import Annotated

import typer

from lifecycle.cli.common import JsonOption, ReleaseOption, mode, project


def explain(
    feature: Annotated[str, typer.Argument(help="view:feature, or a label's name.")],
    keys: Annotated[list[str], typer.Argument(help="Entity keys.", metavar="COLUMN=VALUE...")],
    at: Annotated[str, typer.Option("--at", help="The observation time, ISO 8601; UTC where it states no zone.")],
    known_time: Annotated[
        str | None, typer.Option(help="as_known or feast (event time only); the project's own by default.")
    ] = None,
    release: ReleaseOption = None,
    limit: Annotated[int, typer.Option(help="Rows to show of each list.")] = 10,
    json: JsonOption = False,
) -> None:
    """
    Say which rows made a feature's value at a time, and why the others of that key did not.

    Example: `lifecycle explain consumer_payment:last_charge_amount consumer_id=cus_1 --at 2025-06-01T12:00:00`
    """
    from lifecycle import times
    from lifecycle.cli import show
    from lifecycle.engine.explain import OUTCOMES
    from lifecycle.errors import UsageError

    pairs = dict(pair.split("=", 1) for pair in keys if "=" in pair)
    if len(pairs) != len(keys):
        raise UsageError(f"keys are written column=value, such as consumer_id=cus_1; got {' '.join(keys)!r}.")
    try:
        moment = times.parse(at)
    except ValueError as error:
        raise UsageError(f"--at {at!r} is no ISO 8601 time; write it as 2025-06-01T12:00:00.") from error
    found = project().explain(pairs, feature, moment, known_time=mode(known_time), release=release)
    if json:
        show.as_json(found.to_dict())
        return
    about = {"value": found.value} | ({} if found.status is None else {"status": found.status})
    show.pairs(about | {"at": found.at, "known time": found.known_time})
    show.title("the rows of this key, and what became of each")
    show.rows(
        ("rows", "outcome", "that is"),
        ((count, why, OUTCOMES[why]) for why, count in found.counts().items()),
        right=("rows",),
    )
    past = found.left_out.filter([why != "after_t" for why in found.left_out["why"].to_pylist()])
    for heading, rows in (("used, newest first", found.used), ("left out, newest before t first", past)):
        if rows.num_rows:
            show.title(heading)
            show.arrow(rows.select(found.deciding)[::-1], limit=limit)


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(explain)
