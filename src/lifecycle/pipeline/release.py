"""
Making a release: compile the definitions, settle the as-of records, write the ledger row last.

Until that row stands, nothing of a build is visible: readers attach at a release's snapshot.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lifecycle.errors import DataError
from lifecycle.feast_plugin.compile import compile_repo
from lifecycle.lake.ledger import Release
from lifecycle.pipeline.intake import watermarks
from lifecycle.pipeline.metrics import keep_metrics
from lifecycle.pipeline.settling import settle_view
from lifecycle.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lifecycle.config import Settings
    from lifecycle.lake import Lake, Ledger

_CODE_SUFFIXES = {".py", ".sql", ".yml", ".yaml", ".csv", ".toml"}
_GENERATED = {"target", "logs", "dbt_packages", "__pycache__", "data"}


def make_release(
    settings: Settings, lake: Lake, ledger: Ledger, *, progress: Callable[[str], None] = lambda _: None
) -> Release:
    """
    Turn the lake's head, as built and checked, into the next release and serve it.

    Raises DataError when nothing was taken in yet, and UsageError when the Feast repo names relations that
    the build did not make.
    """
    with lake.lock():
        connection = lake.connect(write=True)
        try:
            progress("compiling definitions")
            definitions = compile_repo(settings, connection)
            settled = []
            for view in definitions.views:
                progress(f"settling {view.name}")
                settled.append(settle_view(connection, lake, view))
            release = Release(
                number=max((one.number for one in ledger.all()), default=0) + 1,
                made_at=datetime.now(UTC),
                high_water=high_water(connection),
                code_hash=code_hash(settings),
                snapshot=lake.snapshot(connection),
                watermarks=watermarks(connection),
                definitions=definitions.with_views(tuple(settled)),
            )
        finally:
            connection.close()
        keep_metrics(settings, lake, release)
        ledger.append(release)
    return release


def high_water(connection: Any) -> int:
    """Return the last intake batch that changed a fact."""
    row = connection.execute("SELECT max(settled_batch) FROM lake.raw.events").fetchone()
    if row is None or row[0] is None:
        raise DataError("no event was taken in yet, so there is nothing to release. Run `lifecycle ingest` first.")
    return int(row[0])


def code_hash(settings: Settings) -> str:
    """Hash all that turns raw events into tables and features: the user's project and the platform's version."""
    digest = hashlib.sha256(__version__.encode())
    folders = (settings.dbt_project, settings.root / "transformations", settings.feature_repo)
    for folder in folders:
        for path in sorted(_code_files(folder)):
            digest.update(f"{folder.name}/{path.relative_to(folder)}".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _code_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inside = set(path.relative_to(folder).parts[:-1])
        if path.suffix in _CODE_SUFFIXES and path.is_file() and not inside & _GENERATED:
            yield path
