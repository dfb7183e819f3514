"""
Where things are: `lifecycle.toml` at a project's root, each line overridable by an environment variable.

The file's folder is the project's root. Relative paths in it are taken from there.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifecycle.errors import UsageError, unknown

FILE_NAME = "lifecycle.toml"
KEY_VARIABLE = "LIFECYCLE_KEY"
MIN_KEY_LENGTH = 16

_LAKE_VARIABLES = {
    "home": "LIFECYCLE_HOME",
    "catalog": "LIFECYCLE_CATALOG",
    "data": "LIFECYCLE_DATA",
    "threads": "LIFECYCLE_THREADS",
    "memory_limit": "LIFECYCLE_MEMORY_LIMIT",
    "spill": "LIFECYCLE_SPILL",
}
_ONLINE_VARIABLE = "LIFECYCLE_ONLINE"


_SECTIONS = {
    "lake": tuple(_LAKE_VARIABLES),
    "dbt": ("project",),
    "feast": ("repo",),
    "labels": ("module",),
    "online": ("place",),
    "value": ("transactions", "key", "amount", "currency", "where"),
}


@dataclass(frozen=True)
class LakeSettings:
    """
    The lake's places and limits.

    home: folder of everything generated (catalog, data, ledger, quarantine, Data Docs).
    catalog: a PostgreSQL URL, or empty for a SQLite file in `home`.
    data: folder or object-store prefix of the Parquet files, or empty for `home/data`.
    threads: 0 means all cores. memory_limit: such as "4GiB"; empty leaves DuckDB's own (80 % of memory).
    spill: folder for work that outgrows memory, or empty for `home/spill`.
    """

    home: Path
    catalog: str = ""
    data: str = ""
    threads: int = 0
    memory_limit: str = ""
    spill: str = ""

    @property
    def data_path(self) -> str:
        """Folder or prefix of the lake's Parquet files."""
        return self.data or str(self.home / "data")

    @property
    def spill_path(self) -> str:
        """Folder DuckDB may spill into."""
        return self.spill or str(self.home / "spill")


@dataclass(frozen=True)
class Settings:
    """
    One project: its root, its lake, and where its dbt project, Feast repo, online store and sources are.

    online: a folder or a redis:// address, or empty for `online` in the lake's home.
    """

    root: Path
    lake: LakeSettings
    dbt_project: Path
    feature_repo: Path
    labels: str = "transformations.labels"
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    online: str = ""
    value: dict[str, str] = field(default_factory=dict)

    @property
    def online_place(self) -> str:
        """Where the online store is: a folder (LMDB), or a `redis://`, `rediss://` or `unix://` address."""
        return self.online or str(self.lake.home / "online")

    def source(self, name: str) -> dict[str, Any]:
        """Return the table `[sources.NAME]`."""
        if name not in self.sources:
            raise unknown("source", name, self.sources)
        return self.sources[name]


def find_root(start: str | Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: the working folder) with a lifecycle.toml."""
    where = Path(start or os.environ.get("LIFECYCLE_PROJECT") or ".").resolve()
    for folder in (where, *where.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise UsageError(
        f"no {FILE_NAME} in {where} or above it. Run inside a project, name one with --project, "
        "or set LIFECYCLE_PROJECT."
    )


def load(start: str | Path | None = None, *, home: str | Path | None = None) -> Settings:
    """Read the project's settings; `home` overrides where generated things go (a sandbox, a test)."""
    root = find_root(start)
    try:
        given = tomllib.loads((root / FILE_NAME).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{root / FILE_NAME} is not valid TOML: {error}.") from error
    for section, known in _SECTIONS.items():
        _check_section(given, section, known)
    _refuse_unknown(given, (*_SECTIONS, "sources"), "section")
    for name in _section(given, "sources"):
        _section(given["sources"], name, "sources.")
    lake = dict(given.get("lake", {}))
    lake |= {key: os.environ[name] for key, name in _LAKE_VARIABLES.items() if os.environ.get(name)}
    online = os.environ.get(_ONLINE_VARIABLE) or given.get("online", {}).get("place", "")
    if home is not None:
        lake |= {"home": str(home), "catalog": "", "data": ""}
        online = ""
    return Settings(
        root=root,
        lake=_lake(root, lake),
        dbt_project=root / given.get("dbt", {}).get("project", "dbt_project"),
        feature_repo=root / given.get("feast", {}).get("repo", "feature_repo"),
        labels=given.get("labels", {}).get("module", "transformations.labels"),
        sources=given.get("sources", {}),
        online=_placed(root, online),
        value=given.get("value", {}),
    )


def secret_key() -> bytes:
    """Return the key behind every hash of personal data and behind the quarantine's encryption."""
    key = os.environ.get(KEY_VARIABLE, "")
    if len(key) < MIN_KEY_LENGTH:
        state = "is not set" if not key else f"has {len(key)} characters, fewer than {MIN_KEY_LENGTH}"
        raise UsageError(
            f"{KEY_VARIABLE} {state}. It keys the hashes that stand for e-mail addresses, cards and devices, "
            "so keep it as you keep a password and use the same one every time. Make one with: "
            f"export {KEY_VARIABLE}=\"$(python3 -c 'import secrets; print(secrets.token_hex(32))')\""
        )
    return key.encode()


def _lake(root: Path, given: dict[str, Any]) -> LakeSettings:
    threads = str(given.get("threads", 0))
    if not threads.isdecimal():
        raise UsageError(f"threads is {threads!r}; it must be a whole number, 0 for all cores.")
    return LakeSettings(
        home=Path(_placed(root, given.get("home", ".lifecycle"))),
        catalog=given.get("catalog", ""),
        data=_placed(root, given.get("data", "")),
        threads=int(threads),
        memory_limit=given.get("memory_limit", ""),
        spill=_placed(root, given.get("spill", "")),
    )


def _placed(root: Path, value: str) -> str:
    return value if not value or "://" in value else str((root / Path(value).expanduser()).resolve())


def _check_section(given: dict[str, Any], section: str, known: tuple[str, ...]) -> None:
    values = _section(given, section)
    _refuse_unknown(values, known, f"setting of [{section}]")
    for name, value in values.items():
        if name != "threads" and not isinstance(value, str):
            raise UsageError(f"{name} is {value!r} in [{section}]; it must be text, in quotes.")


def _section(given: dict[str, Any], name: str, prefix: str = "") -> dict[str, Any]:
    section = given.get(name, {})
    if not isinstance(section, dict):
        raise UsageError(f"{prefix}{name} is {section!r}; it must be a section: [{prefix}{name}].")
    return section


def _refuse_unknown(given: dict[str, Any], possible: tuple[str, ...], kind: str) -> None:
    for name in given:
        if name not in possible:
            raise unknown(kind, name, possible)
