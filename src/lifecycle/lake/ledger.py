"""
The ledger of releases. A release is visible when, and only when, its row stands here.

Two tables beside the lake's catalog: `releases`, one row each, never changed; and `serving`, one row for
each time the served release changed (a new release, or a rollback), the last of which counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lifecycle.definitions import Definitions
from lifecycle.errors import UsageError
from lifecycle.times import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.lake.connection import Lake

_METADATA = sa.MetaData()
_RELEASES = sa.Table(
    "lifecycle_releases",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("made_at", sa.String, nullable=False),
    sa.Column("high_water", sa.BigInteger, nullable=False),
    sa.Column("code_hash", sa.String, nullable=False),
    sa.Column("definitions_hash", sa.String, nullable=False),
    sa.Column("snapshot", sa.BigInteger, nullable=False),
    sa.Column("watermarks", sa.Text, nullable=False),
    sa.Column("definitions", sa.Text, nullable=False),
)
_SERVING = sa.Table(
    "lifecycle_serving",
    _METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("since", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
)


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
    """Reads and appends releases."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        home = lake.settings.home
        if lake.on_postgres:
            url = sa.make_url(lake.settings.catalog).set(drivername="postgresql+psycopg")
        else:
            url = sa.make_url(f"sqlite:///{home / 'ledger.sqlite'}")
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def append(self, release: Release) -> None:
        """Write a release and serve it, in one transaction."""
        self._lake.settings.home.mkdir(parents=True, exist_ok=True)
        _METADATA.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(sa.insert(_RELEASES).values(**_to_row(release)))
            _serve(connection, release.number, "released")

    def all(self) -> list[Release]:
        """Return every release, oldest first."""
        if not self._ready():
            return []
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(_RELEASES).order_by(_RELEASES.c.number)).mappings().all()
        return [_from_row(row) for row in rows]

    def serving(self) -> int | None:
        """Return the number of the release that readers get by default, or None."""
        if not self._ready():
            return None
        newest = sa.select(_SERVING.c.number).order_by(_SERVING.c.position.desc()).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(newest).scalar()

    def get(self, number: int | None = None) -> Release:
        """Return release `number`, or the served one."""
        wanted = self.serving() if number is None else number
        if wanted is None:
            raise UsageError("there is no release yet. Make one with `lifecycle run`, or try `lifecycle demo`.")
        if self._ready():
            with self._engine.connect() as connection:
                query = sa.select(_RELEASES).where(_RELEASES.c.number == wanted)
                row = connection.execute(query).mappings().first()
            if row is not None:
                return _from_row(row)
        known = ", ".join(str(release.number) for release in self.all()) or "none"
        raise UsageError(f"there is no release {wanted}. There are: {known}. `lifecycle releases` lists them.")

    def roll_back(self, number: int) -> Release:
        """Serve an earlier release again; nothing is deleted."""
        release = self.get(number)
        with self._engine.begin() as connection:
            _serve(connection, release.number, "rolled back")
        return release

    def _ready(self) -> bool:
        if not self._lake.on_postgres and not (self._lake.settings.home / "ledger.sqlite").is_file():
            return False
        return bool(sa.inspect(self._engine).has_table(_RELEASES.name))


def last_midnight(watermarks: Mapping[str, datetime], wanted: date | None = None) -> date:
    """Return the last UTC day that begins before the facts end, or `wanted` where it is no later; else UsageError."""
    latest = max(watermarks.values()).astimezone(UTC).date() if watermarks else None
    if latest is None or (wanted is not None and wanted > latest):
        raise UsageError(
            f"facts are in up to {latest or 'no day'}, and {wanted or 'a day'} begins after them: what will be "
            "known then is not known yet. Name an earlier day, or take in what has come since."
        )
    return latest if wanted is None else wanted


def _serve(connection: sa.Connection, number: int, reason: str) -> None:
    now = datetime.now(UTC).isoformat()
    connection.execute(sa.insert(_SERVING).values(number=number, since=now, reason=reason))


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
