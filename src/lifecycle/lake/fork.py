"""A sandbox lake: a copy of the catalog over the same data files, so that trying something out costs no data."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from lifecycle.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.config import LakeSettings
    from lifecycle.lake.connection import Lake


def fork(lake: Lake, home: Path) -> LakeSettings:
    """
    Copy the head's catalog into `home` and return the settings of the forked lake.

    New files go beside the old ones under names of their own, and only the fork's catalog knows them. An
    earlier fork in `home` is replaced. Raises UsageError for a PostgreSQL catalog.
    """
    if lake.on_postgres:
        raise UsageError(
            "a sandbox forks a SQLite catalog, and this project's catalog is PostgreSQL. Give the sandbox a "
            "lake of its own: set LIFECYCLE_HOME to a new folder and LIFECYCLE_CATALOG to nothing."
        )
    with lake.lock():
        lake.connect().close()
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        source = sqlite3.connect(lake.catalog_path)
        copy = sqlite3.connect(home / lake.catalog_path.name)
        with closing(source), closing(copy):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=WAL")
    return replace(lake.settings, home=home, data=lake.settings.data_path)
