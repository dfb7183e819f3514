"""How results look: tables and progress for people on a terminal, JSON on request."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    import pyarrow as pa

    from lifecycle.engine import Audit
    from lifecycle.online import OnlineValue

console = Console(highlight=False)


class Steps:
    """
    Progress of a pipeline on standard error: the step under way, then a line with its time when it is done.

    Use as a context manager and pass `.say` as the pipeline's `progress`.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._status = self._console.status("")
        self._step = ""
        self._text = ""
        self._begun = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end("[red]✗[/red]" if error is not None else "[green]✓[/green]")

    def say(self, step: str, text: str) -> None:
        """Show what a step is doing; a new step's name ends the one before."""
        if step != self._step:
            self._end("[green]✓[/green]")
            self._step, self._begun = step, time.monotonic()
            self._status.start()
        self._text = text
        self._status.update(f"{step:<12} {escape(text)}")

    def _end(self, mark: str) -> None:
        self._status.stop()
        if self._step:
            seconds = time.monotonic() - self._begun
            self._console.print(f"{mark} {self._step:<12} {seconds:6.1f} s  {escape(self._text)}")
        self._step = ""


def title(text: str) -> None:
    """Print a heading."""
    console.print()
    console.print(text, style="bold", markup=False)


def as_json(value: Any) -> None:
    """Print JSON; times are ISO 8601 in UTC, decimals are text."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def rows(columns: Sequence[str], values: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Print rows as a table; columns named in `right` are aligned right."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(escape(name), justify="right" if name in right else "left", overflow="fold")
    for row in values:
        table.add_row(*(escape(cell(value)) for value in row))
    console.print(table)


def arrow(table: pa.Table, *, limit: int = 20) -> None:
    """
    Print the first `limit` rows of an Arrow table, and how many there are.

    A table wider than the terminal is turned on its side: a line per column, the first rows beside each other.
    """
    from pyarrow import types

    lines = [[cell(value) for value in row.values()] for row in table.slice(0, limit).to_pylist()]
    widths = [max(map(len, column)) for column in zip(table.column_names, *lines, strict=True)]
    if sum(widths) + 2 * len(widths) > console.width and len(lines) > 0:
        fitting = _on_its_side(table.column_names, lines)
        _say_more(table.num_rows, fitting)
        return
    numeric = [field.name for field in table.schema if types.is_primitive(field.type) and _is_number(field.type)]
    rows(table.column_names, lines, right=numeric)
    _say_more(table.num_rows, len(lines))


def _on_its_side(names: Sequence[str], lines: Sequence[Sequence[str]]) -> int:
    """Print a line per column and as many rows beside each other as fit; return how many rows those were."""
    left = console.width - max(map(len, names))
    shown: list[Sequence[str]] = []
    for line in lines:
        left -= 2 + max(map(len, line))
        if left < 0 and shown:
            break
        shown.append(line)
    header = ["column", *(f"row {number}" for number in range(1, len(shown) + 1))]
    rows(header, zip(names, *shown, strict=True))
    return len(shown)


def _say_more(total: int, shown: int) -> None:
    if total > shown:
        console.print(f"… {total:,} rows in all", style="dim")


def arrow_json(table: pa.Table) -> None:
    """Print an Arrow table as a JSON list of objects."""
    as_json(table.to_pylist())


def pairs(values: Mapping[str, Any]) -> None:
    """Print names with their values, one a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        console.print(f"  {name:<{width}}  {cell(value)}", markup=False, soft_wrap=True)


def online_values(values: Mapping[str, OnlineValue]) -> None:
    """Print online values with their status and age."""
    rows(
        ("feature", "value", "status", "age", "since"),
        ((name, one.value, one.status, one.age, one.event_timestamp) for name, one in values.items()),
    )


def audit(found: Audit, *, limit: int = 20) -> None:
    """Print an audit: its features, and the most changed row of each."""
    title("as known, and naively")
    head = {
        "feature": "feature", "share": "changed", "median_change": "median change", "auc_known": "AUC as known",
        "auc_naive": "naively", "auc_gain": "gain",
    }  # fmt: skip
    listed = found.features.select(list(head)).slice(0, limit).to_pylist()
    shown = [{**one, "share": f"{one['share']:.2%}"} for one in listed]
    rows(list(head.values()), ([one[name] for name in head] for one in shown), right=list(head.values())[1:])
    _say_more(found.features.num_rows, len(listed))
    first: dict[str, dict[str, Any]] = {}
    for row in found.worst.to_pylist():
        first.setdefault(row["feature"], row)
    worst = [first[one["feature"]] for one in listed if one["feature"] in first]
    if worst:
        title("the most changed row of each")
        names = ["feature", "row", "known", "naive"]
        rows(names, ([one[name] for name in names] for one in worst), right=["row"])


def cell(value: Any) -> str:
    """Write one value for a terminal."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{moment.microsecond:06d}" if moment.microsecond else "")
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"  # noqa: PLR2004
    if isinstance(value, timedelta):
        return age(value)
    return str(value)


def age(value: timedelta) -> str:
    """Write a duration in its two greatest units, such as 3 d 4 h."""
    left = int(value.total_seconds())
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
