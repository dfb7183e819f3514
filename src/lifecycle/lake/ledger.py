"""
The ledger of releases. A release is visible when, and only when, its row stands here.

Two tables beside the lake's catalog: `releases`, one row each, never changed; and `serving`, one row for
each time the served release changed (a new release, or a rollback), the last of which counts.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from lifecycle.definitions import Definitions
from lifecycle.errors import UsageError
from lifecycle.times import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.lake.connection import Lake

_RELEASES, _SERVING = "lifecycle_releases", "lifecycle_serving"
_TABLES = {
    _RELEASES: {
        "number": "INTEGER PRIMARY KEY",
        "made_at": "TEXT NOT NULL",
        "high_water": "BIGINT NOT NULL",
        "code_hash": "TEXT NOT NULL",
        "definitions_hash": "TEXT NOT NULL",
        "snapshot": "BIGINT NOT NULL",
        "watermarks": "TEXT NOT NULL",
        "definitions": "TEXT NOT NULL",
    },
    _SERVING: {
        "position": "INTEGER PRIMARY KEY",
        "number": "INTEGER NOT NULL",
        "since": "TEXT NOT NULL",
        "reason": "TEXT NOT NULL",
    },
}


@dataclass(frozen=True)
class Release:
    """
    A passing build under a number.

    high_water: the last intake batch it holds. snapshot: the lake's snapshot that readers attach at.
    watermarks: per source, the time up to which all facts are in (UTC).
    """

    number: int
    made_at: datetime
    high_water: int
    code_hash: str
    snapshot: int
    watermarks: Mapping[str, datetime]
    definitions: Definitions = field(repr=False)


class Ledger:
    """
    Reads and appends releases.

    It speaks to SQLite and PostgreSQL by their drivers: every command asks it first, and SQLAlchemy takes a third of a
    second to load.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._file = lake.settings.home / "ledger.sqlite"

    def append(self, release: Release) -> None:
        """Write a release and serve it, in one transaction."""
        self._lake.settings.home.mkdir(parents=True, exist_ok=True)
        row = _to_row(release)
        with self._connected() as ledger:
            for table, columns in _TABLES.items():
                listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
                ledger.run(f"CREATE TABLE IF NOT EXISTS {table} ({listed})")
            marks = ", ".join("?" * len(row))
            ledger.run(f"INSERT INTO {_RELEASES} ({', '.join(row)}) VALUES ({marks})", *row.values())
            _serve(ledger, release.number, "released")

    def all(self) -> list[Release]:
        """Return every release, oldest first."""
        return [_from_row(row) for row in self._rows(f"SELECT * FROM {_RELEASES} ORDER BY number")]

    def serving(self) -> int | None:
        """Return the number of the release that readers get by default, or None."""
        rows = self._rows(f"SELECT number FROM {_SERVING} ORDER BY position DESC LIMIT 1")
        return int(str(rows[0]["number"])) if rows else None

    def get(self, number: int | None = None) -> Release:
        """Return release `number`, or the served one."""
        wanted = self.serving() if number is None else number
        if wanted is None:
            raise UsageError("there is no release yet. Make one with `lifecycle run`, or try `lifecycle demo`.")
        rows = self._rows(f"SELECT * FROM {_RELEASES} WHERE number = ?", wanted)
        if rows:
            return _from_row(rows[0])
        known = ", ".join(str(release.number) for release in self.all()) or "none"
        raise UsageError(f"there is no release {wanted}. There are: {known}. `lifecycle releases` lists them.")

    def roll_back(self, number: int) -> Release:
        """Serve an earlier release again; nothing is deleted."""
        release = self.get(number)
        with self._connected() as ledger:
            _serve(ledger, release.number, "rolled back")
        return release

    def _rows(self, query: str, *values: object) -> list[dict[str, object]]:
        """Return a query's rows; none where nothing was ever released."""
        if not self._lake.on_postgres and not self._file.is_file():
            return []
        with self._connected() as ledger:
            return ledger.rows(query, *values) if ledger.has(_RELEASES) else []

    @contextmanager
    def _connected(self) -> Iterator[_Connection]:
        """Connect for one transaction, which an error undoes."""
        made: _Connection
        if self._lake.on_postgres:
            import psycopg

            made = _Postgres(psycopg.connect(**self._lake.postgres))
        else:
            made = _Connection(sqlite3.connect(self._file))
        with closing(made.driver), made.driver:
            yield made


class _Connection:
    """A connection to SQLite; marks in statements are `?`."""

    tables = "SELECT name FROM sqlite_master WHERE name = ?"

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def run(self, sql: str, *values: object) -> Any:
        """Run a statement and return its cursor."""
        return self.driver.execute(sql, values)

    def rows(self, sql: str, *values: object) -> list[dict[str, object]]:
        """Return a query's rows by column name."""
        cursor = self.run(sql, *values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def has(self, table: str) -> bool:
        """Tell whether there is such a table."""
        return bool(self.rows(self.tables, table))


class _Postgres(_Connection):
    tables = "SELECT 1 FROM pg_catalog.pg_class WHERE oid = to_regclass(?)"

    def run(self, sql: str, *values: object) -> Any:
        return super().run(sql.replace("?", "%s"), *values)


def last_midnight(watermarks: Mapping[str, datetime], wanted: date | None = None) -> date:
    """Return the last UTC day that begins before the facts end, or `wanted` where it is no later; else UsageError."""
    latest = max(watermarks.values()).astimezone(UTC).date() if watermarks else None
    if latest is None or (wanted is not None and wanted > latest):
        raise UsageError(
            f"facts are in up to {latest or 'no day'}, and {wanted or 'a day'} begins after them: what will be "
            "known then is not known yet. Name an earlier day, or take in what has come since."
        )
    return latest if wanted is None else wanted


def _serve(ledger: _Connection, number: int, reason: str) -> None:
    next_position = f"(SELECT coalesce(max(position), 0) + 1 FROM {_SERVING})"
    ledger.run(
        f"INSERT INTO {_SERVING} (position, number, since, reason) VALUES ({next_position}, ?, ?, ?)",
        number, datetime.now(UTC).isoformat(), reason,
    )  # fmt: skip


def _to_row(release: Release) -> dict[str, object]:
    return {
        "number": release.number,
        "made_at": release.made_at.isoformat(),
        "high_water": release.high_water,
        "code_hash": release.code_hash,
        "definitions_hash": release.definitions.hash,
        "snapshot": release.snapshot,
        "watermarks": json.dumps({k: v.isoformat() for k, v in release.watermarks.items()}, sort_keys=True),
        "definitions": release.definitions.to_json(),
    }


def _from_row(row: Mapping[Any, object]) -> Release:
    return Release(
        number=int(str(row["number"])),
        made_at=parse(str(row["made_at"])),
        high_water=int(str(row["high_water"])),
        code_hash=str(row["code_hash"]),
        snapshot=int(str(row["snapshot"])),
        watermarks={k: parse(v) for k, v in json.loads(str(row["watermarks"])).items()},
        definitions=Definitions.from_json(str(row["definitions"])),
    )
