"""Whether this installation and this project can work, one finding a line, each with the next step."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from lifecycle import config
from lifecycle.errors import LifecycleError, LockedError
from lifecycle.lake import Lake, Ledger
from lifecycle.lake.connection import extension_path
from lifecycle.online import open_store
from lifecycle.online.opening import without_password
from lifecycle.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.config import Settings

PYTHON = (3, 11)
LEAST_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is right, what was found, and what to do where it is not."""

    name: str
    ok: bool
    detail: str
    next_step: str = ""


def examine(start: str | Path | None = None) -> list[Finding]:
    """
    Look at Python, packages, extensions, then at the project at or above `start` (default: the working folder).

    Never raises for something that is wrong: that is a finding. Nothing is changed.
    """
    findings = [_python(), _packages(), _key()]
    try:
        settings = config.load(start)
    except LifecycleError as error:
        return [*findings, _wrong("project", str(error), "run this inside a project")]
    findings += [_project(settings), _extensions(settings), _disk(settings), _online(settings)]
    lake = _lake(settings)
    findings.append(lake)
    if lake.ok and Lake(settings.lake).exists:
        findings += [_lock(settings), *_releases(settings)]
    return findings


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "python",
        sys.version_info[:2] == PYTHON,
        f"{version} at {sys.executable}",
        "install Python 3.11, then `make setup`",
    )


def _packages() -> Finding:
    wrong = list(_wrong_packages(metadata.requires("lifecycle") or []))
    return Finding(
        "packages", not wrong, "; ".join(wrong) or "as required", "`make setup` installs the pinned versions"
    )


def _wrong_packages(requirements: list[str]) -> Iterator[str]:
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement} is not installed"
            continue
        if found not in requirement.specifier:
            yield f"{requirement.name} is {found}, needed is {requirement.specifier}"


def _key() -> Finding:
    return _tried("key", lambda: f"{config.KEY_VARIABLE} is set, {len(config.secret_key())} bytes", "")


def _project(settings: Settings) -> Finding:
    missing = [str(path) for path in (settings.dbt_project, settings.feature_repo) if not path.is_dir()]
    detail = f"no folder {', '.join(missing)}" if missing else str(settings.root)
    return Finding("project", not missing, detail, f"correct [dbt] and [feast] in {settings.root / config.FILE_NAME}")


def _extensions(settings: Settings) -> Finding:
    names = Lake(settings.lake).extensions

    def look() -> str:
        for name in names:
            extension_path(name)
        return ", ".join(names)

    return _tried("extensions", look, "`make setup` installs the extension wheels")


def _disk(settings: Settings) -> Finding:
    home = settings.lake.home
    folder = next(path for path in (home, *home.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    return Finding(
        "disk", free >= LEAST_FREE_BYTES, f"{free / 1024**3:.1f} GiB free in {folder}",
        "free some space, or set LIFECYCLE_HOME to a folder on a larger disk",
    )  # fmt: skip


def _online(settings: Settings) -> Finding:
    place = settings.online_place
    if "://" not in place and not Path(place).exists():
        return _right("online store", f"none yet in {place}: `lifecycle materialize` makes it")

    def look() -> str:
        store = open_store(place)
        catalog = store.catalog()[1]
        names = sorted(catalog.views)
        release = f"release {catalog.release}" if catalog.release else "no release"
        return f"{without_password(place)} holds {release}, {len(names)} views"

    return _tried("online store", look, "start Redis, or correct [online] place or LIFECYCLE_ONLINE")


def _lake(settings: Settings) -> Finding:
    lake = Lake(settings.lake)
    if not lake.exists:
        return _right("lake", f"none yet in {settings.lake.home}: `lifecycle run` or `lifecycle demo` makes it")

    def look() -> str:
        connection = lake.connect()
        try:
            text = f"snapshot {lake.snapshot(connection)}, {len(lake.tables(connection))} tables"
        finally:
            connection.close()
        return f"{text}, {'PostgreSQL' if lake.on_postgres else 'SQLite'} catalog"

    finding = _tried("lake", look, "start PostgreSQL and set PGPASSWORD" if lake.on_postgres else "see the error")
    if not finding.ok or lake.on_postgres:
        return finding
    mode = _journal_mode(lake)
    if mode != "wal":
        step = f"sqlite3 {lake.catalog_path} 'PRAGMA journal_mode=WAL'"
        detail = f"{finding.detail} in journal mode {mode}: readers and the writer shut each other out"
        return _wrong("lake", detail, step)
    return finding


def _journal_mode(lake: Lake) -> str:
    with closing(sqlite3.connect(lake.catalog_path)) as catalog:
        return str(catalog.execute("PRAGMA journal_mode").fetchone()[0])


def _lock(settings: Settings) -> Finding:
    try:
        with Lake(settings.lake).lock():
            return _right("lock", "free")
    except LockedError:
        return _right("lock", "held: a run is writing; reading goes on")


def _releases(settings: Settings) -> Iterator[Finding]:
    ledger = Ledger(Lake(settings.lake))
    count = len(ledger.all())
    serving = ledger.serving()
    yield Finding(
        "releases", serving is not None, f"{count}, serving {serving}" if count else "none yet",
        "`lifecycle run` makes one",
    )  # fmt: skip
    if serving is None:
        return
    now = datetime.now(UTC)
    for source, until in sorted(ledger.get(serving).watermarks.items()):
        age = (now - until).total_seconds() / 86_400
        yield _right(f"data of {source}", f"complete up to {iso(until)}, {age:,.1f} days ago")


def _right(name: str, detail: str) -> Finding:
    return Finding(name=name, ok=True, detail=detail)


def _wrong(name: str, detail: str, next_step: str) -> Finding:
    return Finding(name=name, ok=False, detail=detail, next_step=next_step)


def _tried(name: str, look: Callable[[], str], next_step: str) -> Finding:
    try:
        return _right(name, look())
    except LifecycleError as error:
        return _wrong(name, str(error), next_step)
